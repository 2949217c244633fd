"""The changes of environments' current builds: entries that stay."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model import Page
from jupyterhub_binder.model.history import Change, ChangeCause
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import UTCTime, metadata, type_of_state

changes = sa.Table(
    "changes",
    metadata,
    sa.Column(
        "environment_id", sa.String(16), sa.ForeignKey("environments.id", ondelete="CASCADE")
    ),
    sa.Column("number", sa.Integer),
    sa.Column("from_number", sa.Integer),
    sa.Column("to_number", sa.Integer, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("cause", type_of_state, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", UTCTime, nullable=False),
    sa.PrimaryKeyConstraint("environment_id", "number"),
)


class ChangeQueries:
    """Changes of current builds."""

    _database: Database

    async def list_changes(
        self, environment_id: str, *, offset: int = 0, limit: int = 50
    ) -> Page[Change]:
        """Return an environment's changes, newest first."""
        return await self._database.run(_list, environment_id, offset, limit)


def add_change(
    connection: sa.Connection,
    environment_id: str,
    from_number: int | None,
    to_number: int,
    *,
    by: str,
    cause: ChangeCause,
    at: datetime,
    reason: str = "",
) -> None:
    """Add an entry, in the transaction of the change itself. No effect without a change."""
    if from_number == to_number:
        return
    newest = connection.scalar(_NEWEST, {"id": environment_id}) or 0
    row = {
        "environment_id": environment_id,
        "number": newest + 1,
        "from_number": from_number,
        "to_number": to_number,
        "by": by,
        "cause": cause,
        "reason": reason,
        "time": at,
    }
    connection.execute(changes.insert(), row)


_NEWEST = sa.select(sa.func.max(changes.c.number)).where(
    changes.c.environment_id == sa.bindparam("id")
)


def _list(connection: sa.Connection, environment_id: str, offset: int, limit: int) -> Page[Change]:
    of_one = changes.c.environment_id == environment_id
    total = connection.scalar(sa.select(sa.func.count()).select_from(changes).where(of_one))
    query = (
        changes.select().where(of_one).order_by(changes.c.number.desc()).offset(offset).limit(limit)
    )
    rows = connection.execute(query).mappings()
    return Page(tuple(_read(row) for row in rows), total or 0, offset, limit)


def _read(row: sa.RowMapping) -> Change:
    return Change(**{**row, "cause": ChangeCause(row["cause"])})
