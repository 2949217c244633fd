"""The history of the tables: brings a database from any released version to this one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from jupyterhub_binder.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0027"
"""The newest revision in `versions/`; a test holds it to that."""


def upgrade(connection: sa.Connection, file: Path | None) -> None:
    """Bring the tables up to `HEAD`; an SQLite file that needs it is copied first.

    The copy stands beside the file, named after the revision that it holds.
    Raises ConfigurationError when a newer version of this program has written the database.
    """
    revision = current_revision(connection)
    if revision == HEAD:
        return
    if revision is not None and file is not None:
        _copy_sqlite(file, file.with_name(f"{file.name}.{revision}.bak"))
    _run_alembic(connection, revision)


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision of the database, None for an empty one."""
    known = sa.inspect(connection).has_table("alembic_version")
    revision = (
        connection.scalar(sa.text("select version_num from alembic_version")) if known else None
    )
    connection.commit()
    return revision


def is_known(revision: str | None) -> bool:
    """Say whether this version knows a revision; None is an empty database's."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory.from_config(_config()).get_revision(revision or "base")
    except CommandError:
        return False
    return True


def _run_alembic(connection: sa.Connection, revision: str | None) -> None:
    from alembic import command

    if not is_known(revision):
        raise ConfigurationError(
            f"The database was written by a newer jupyterhub-binder (revision {revision}). "
            "Install that version again, or restore the copy made before its upgrade."
        )
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _copy_sqlite(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        target.chmod(0o600)
        old.backup(new)
