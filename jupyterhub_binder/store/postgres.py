"""PostgreSQL connections with a single owner.

The owner's session holds an advisory lock. After a lost connection the lock must be taken again
before any query.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

# "jhbd" in ASCII.
_LOCK = 0x6A686264

_OPTIONS: Mapping[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A lost server is noticed within a minute."""


def make_engine(url: sa.URL) -> sa.Engine:
    """Return an engine. Raises ImportError without the driver."""
    options = {**_OPTIONS, "application_name": f"jupyterhub-binder {secrets.token_hex(8)}"}
    engine = sa.create_engine(
        url,
        # One connection, managed by `Database`.
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={name: value for name, value in options.items() if name not in url.query},
    )
    event.listen(engine, "connect", _keep_no_nul)
    return engine


def _keep_no_nul(connection: Any, _: Any) -> None:
    """Replace NUL, which PostgreSQL's text cannot store."""
    from psycopg.types.string import StrDumper

    class Dumper(StrDumper):
        def dump(self, obj: str) -> Any:
            if "\x00" in obj:
                obj = obj.replace("\x00", "\N{REPLACEMENT CHARACTER}")
            return super().dump(obj)

    connection.adapters.register_dumper(str, Dumper)


def take_lock(connection: sa.Connection) -> bool:
    """Make this session the owner; say whether it worked.

    Ends our own dead session if the server has not noticed.
    """
    try:
        if _try_lock(connection):
            return True
        ended = connection.execute(_END_OUR_OTHERS, {"lock": _LOCK}).all()
        return bool(ended) and _wait_for_lock(connection)
    finally:
        connection.commit()


def _try_lock(connection: sa.Connection) -> bool:
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK))))


def _wait_for_lock(connection: sa.Connection) -> bool:
    for _ in range(50):
        if _try_lock(connection):
            return True
        connection.execute(sa.select(sa.func.pg_sleep(0.1)))
    return False


_END_OUR_OTHERS = sa.text(
    """
    select pg_terminate_backend(held.pid)
    from pg_locks held
    join pg_stat_activity theirs on theirs.pid = held.pid
    join pg_stat_activity ours on ours.pid = pg_backend_pid()
    where held.locktype = 'advisory' and held.objsubid = 1 and held.granted
      and held.database = ours.datid and held.classid = 0 and held.objid = :lock
      and theirs.application_name = ours.application_name and theirs.pid <> ours.pid
    """
)
