"""Database backup, restore and check, for commands. Blocks.

Reading works beside a running service; writing is refused.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.store import alerts, database, migrations, postgres
from jupyterhub_binder.store.tables import build_requests, builds, environments, launches
from jupyterhub_binder.utils.trees import try_to_remove

_SQLITE = b"SQLite format 3\0"
_PG_DUMP = b"PGDMP"
_DATED = re.compile(r"binder-\d{4}-\d\d-\d\dT\d{6}\.(sqlite|pgdump)")
_PG_VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


@dataclass(frozen=True, slots=True)
class DatabaseFinding:
    """A check's result."""

    ok: bool
    about: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    replaced: Path | None
    """The backup of the previous database."""
    revision: str
    """The copy's schema revision."""


# --- Backup -------------------------------------------------------------------------------------


def backup(url: str, target: Path) -> int:
    """Copy a database to a new file, even while in use; return its bytes.

    Raises ConfigurationError.
    """
    return _back_up(database.parse_url(url), target)


def note_backup(url: str, *, now: datetime) -> bool:
    """Tell the service when a backup was made; return whether the database took it."""
    parsed = database.parse_url(url)
    file = database.file_of(parsed)
    engine = (
        postgres.make_engine(parsed)
        if file is None
        else sa.create_engine(sa.URL.create("sqlite", database=str(file.absolute())))
    )
    try:
        with engine.begin() as connection:
            alerts.note_backup(connection, now)
    except exc.DatabaseError:
        return False
    finally:
        engine.dispose()
    return True


def name_backup(url: str, *, now: datetime) -> str:
    """Return the name of a backup in a folder of backups."""
    kind = "pgdump" if database.file_of(database.parse_url(url)) is None else "sqlite"
    return f"binder-{now:%Y-%m-%dT%H%M%S}.{kind}"


def remove_old_backups(folder: Path, *, keep: int) -> list[Path]:
    """Remove all but the newest backups with names of `name_backup`; return the removed."""
    names = sorted(path.name for path in folder.iterdir() if _DATED.fullmatch(path.name))
    old = [folder / name for name in names[:-keep]]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def _back_up(parsed: sa.URL, target: Path) -> int:
    with _new_file(target) as copy:
        if (source := database.file_of(parsed)) is not None:
            _copy_sqlite(source, copy)
        else:
            _run_postgres("pg_dump", parsed, "--format=custom", "--no-owner", f"--file={copy}")
        return copy.stat().st_size


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """Yield a file that becomes `target` on success."""
    if target.exists():
        raise ConfigurationError(f"{target} already exists. Choose another name.")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigurationError(f"Can't write {target}: {error.strerror}") from error
    try:
        made = folder / "copy"
        yield made
        made.chmod(0o600)
        made.rename(target)
    finally:
        try_to_remove(folder)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a consistent snapshot, including the WAL."""
    if not source.is_file():
        raise ConfigurationError(f"There is no database {source}.")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ConfigurationError(f"Can't copy {source}: {error}") from error


def _run_postgres(program: str, url: sa.URL, *args: str) -> str:
    """Run a program with the password in its environment, not its arguments."""
    path = shutil.which(program)
    if path is None:
        raise ConfigurationError(
            f"{program} is not installed here (Debian: postgresql-client). On a machine that has "
            f"it: {program} {' '.join(args)}, with PGHOST, PGUSER, PGPASSWORD and PGDATABASE set."
        )
    done = subprocess.run(
        [path, *args],
        env={**os.environ, **postgres_variables(url)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigurationError(f"{program} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def postgres_variables(url: sa.URL) -> Mapping[str, str]:
    """Return environment variables for PostgreSQL's programs."""
    found = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password is not None else None,
        "PGDATABASE": url.database,
    }
    found |= {
        variable: value
        for name, variable in _PG_VARIABLES.items()
        if isinstance(value := url.query.get(name), str)
    }
    return {name: value for name, value in found.items() if value}


# --- Restore ------------------------------------------------------------------------------------


def restore(url: str, source: Path, *, now: datetime) -> Restored:
    """Replace a database by a copy and keep the old one. The caller upgrades it.

    Raises ConfigurationError for a database in use, and for an incomplete copy, another kind of
    database or a newer version.
    """
    parsed = database.parse_url(url)
    file = database.file_of(parsed)
    _check_kind(source, wanted=_PG_DUMP if file is None else _SQLITE)
    stamp = f"{now:%Y%m%dT%H%M%S}"
    if file is None:
        return _restore_postgres(parsed, source, _free(source, f"replaced-{stamp}.pgdump"))
    revision = _check_copy(source)
    with contextlib.closing(database.lock_file(parsed)):
        replaced = _free(file, f"{file.name}.replaced-{stamp}")
        return Restored(_replace_sqlite(file, source, replaced), revision)


def _free(beside: Path, name: str) -> Path:
    """Return an unused path: backups are never overwritten."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(path for each in names if not (path := beside.with_name(each)).exists())


def _check_kind(source: Path, *, wanted: bytes) -> None:
    try:
        with source.open("rb") as opened:
            begin = opened.read(len(_SQLITE))
    except OSError as error:
        raise ConfigurationError(f"Can't read {source}: {error.strerror}") from error
    if begin.startswith(wanted):
        return
    kinds = {
        _SQLITE: "a backup of an SQLite database",
        _PG_DUMP: "a backup of a PostgreSQL database",
    }
    is_ = next((kind for mark, kind in kinds.items() if begin.startswith(mark)), "not a backup")
    raise ConfigurationError(f"{source} is {is_}. It must be {kinds[wanted]}.")


def _check_copy(source: Path) -> str:
    """Return a complete, supported copy's revision."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(source.absolute())))
    try:
        with engine.connect() as connection:
            wrong = _sqlite_faults(connection)
            revision = migrations.current_revision(connection)
    except exc.DatabaseError as error:
        raise ConfigurationError(f"{source} is damaged: {error.orig}") from error
    finally:
        engine.dispose()
    if wrong:
        raise ConfigurationError(f"{source} is damaged: {wrong[0]}")
    return _known(source, revision)


def _known(source: Path, revision: str | None) -> str:
    if revision is None:
        raise ConfigurationError(f"{source} is not a backup of this service's database.")
    if not migrations.is_known(revision):
        raise ConfigurationError(
            f"{source} was written by a newer jupyterhub-binder (revision {revision}). Install "
            "that version, then restore."
        )
    return revision


def _replace_sqlite(file: Path, source: Path, replaced: Path) -> Path | None:
    kept = file.stat().st_size > 0  # taking the lock makes an empty one
    if kept:
        _make_private(replaced)
        _copy_sqlite(file, replaced)
    new = file.with_name(f"{file.name}.restoring")
    new.unlink(missing_ok=True)  # of an interrupted restore
    _make_private(new)
    shutil.copyfile(source, new)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    new.replace(file)
    return replaced if kept else None


def _make_private(path: Path) -> None:
    """Create a file only for us; follow no link."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _restore_postgres(url: sa.URL, source: Path, replaced: Path) -> Restored:
    data = _run_postgres(
        "pg_restore", url, "--data-only", "--table=alembic_version", "--file=-", str(source)
    )
    lines = iter(data.splitlines())
    copied = any(line.startswith("COPY ") for line in lines)
    revision = _known(source, next(lines, None) if copied else None)
    with contextlib.closing(postgres.make_engine(url).connect()) as owner:
        if not postgres.take_lock(owner):
            raise database.in_use()
        had_tables = migrations.current_revision(owner) is not None
        if had_tables:
            _back_up(url, replaced)
        _run_postgres(
            "pg_restore",
            url,
            *("--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"),
            *(f"--dbname={url.database}", str(source)),
        )
    return Restored(replaced if had_tables else None, revision)


# --- Check --------------------------------------------------------------------------------------


def fetch_revision(url: str) -> str | None:
    """Return the schema's revision. Raises ConfigurationError."""
    with _reading(url) as connection:
        return migrations.current_revision(connection)


def check(url: str) -> list[DatabaseFinding]:
    """Check a database, even while in use. Raises ConfigurationError."""
    with _reading(url) as connection:
        found = list(_check_file(connection))
        revision = migrations.current_revision(connection)
        found.append(_check_revision(revision))
        if revision == migrations.HEAD:
            found += _check_rows(connection)
    return found


def list_images(url: str) -> Mapping[str, int]:
    """Return each image's number of environments."""
    query = (
        sa.select(builds.c.image, sa.func.count(environments.c.id))
        .join_from(builds, build_requests, build_requests.c.build_id == builds.c.id)
        .join(environments, environments.c.id == build_requests.c.environment_id)
        .where(
            builds.c.state == BuildState.BUILT,
            builds.c.image.is_not(None),
            environments.c.current_number == build_requests.c.number,
            environments.c.deleted.is_(None),
        )
        .group_by(builds.c.image)
    )
    with _reading(url) as connection:
        if migrations.current_revision(connection) != migrations.HEAD:
            return {}
        return {str(row[0]): int(row[1]) for row in connection.execute(query)}


@contextlib.contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    """Connect without becoming the owner."""
    parsed = database.parse_url(url)
    file = database.file_of(parsed)
    if file is not None and not file.is_file():
        raise ConfigurationError(f"There is no database {file}.")
    engine = (
        postgres.make_engine(parsed)
        if file is None
        else sa.create_engine(
            sa.URL.create(
                "sqlite",
                database=file.absolute().as_uri(),
                query={"mode": "ro", "uri": "true"},
            )
        )
    )
    try:
        with engine.connect() as connection:
            yield connection
    except exc.DatabaseError as error:
        shown = parsed.render_as_string()
        raise ConfigurationError(f"Can't read {shown}: {error.orig}") from error
    finally:
        engine.dispose()


def _sqlite_faults(connection: sa.Connection) -> list[str]:
    rows = connection.exec_driver_sql("PRAGMA integrity_check(20)")
    return [str(row[0]) for row in rows if row[0] != "ok"]


def _check_file(connection: sa.Connection) -> Iterator[DatabaseFinding]:
    if connection.dialect.name != "sqlite":
        yield DatabaseFinding(True, "connection", "The server answers.")
        return
    advice = "Restore the newest backup: jupyterhub-binder db restore FILE."
    faults = _sqlite_faults(connection)
    yield DatabaseFinding(
        not faults, "file", faults[0] if faults else "The file is intact.", advice
    )
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    tables = sorted({str(row[0]) for row in rows})
    yield DatabaseFinding(
        not rows,
        "references",
        f"{len(rows)} rows of {', '.join(tables)} refer to missing rows."
        if rows
        else "All references are valid.",
        advice,
    )


def _check_revision(revision: str | None) -> DatabaseFinding:
    if revision == migrations.HEAD:
        return DatabaseFinding(True, "schema", f"Revision {revision}, which this version needs.")
    if revision is None:
        return DatabaseFinding(
            False,
            "schema",
            "The database is empty.",
            "The service creates the tables when it starts.",
        )
    if migrations.is_known(revision):
        message = f"Revision {revision}, but this version needs {migrations.HEAD}."
        return DatabaseFinding(
            False, "schema", message, "Run jupyterhub-binder db upgrade, or start the service."
        )
    message = f"Revision {revision} is of a newer version than this one."
    return DatabaseFinding(
        False, "schema", message, "Install the newer version again, or restore a backup."
    )


def _check_rows(connection: sa.Connection) -> Iterable[DatabaseFinding]:
    """Check for inconsistent rows that no constraint forbids."""
    requests = sa.select(build_requests.c.number).where(
        build_requests.c.environment_id == environments.c.id
    )
    dangling = sa.or_(
        *(
            sa.and_(
                column.is_not(None), ~requests.where(build_requests.c.number == column).exists()
            )
            for column in (environments.c.current_number, environments.c.latest_number)
        )
    )
    lost = sa.and_(
        launches.c.build_id.is_not(None),
        ~sa.exists().where(builds.c.id == launches.c.build_id),
    )
    imageless = sa.and_(builds.c.state == BuildState.BUILT, builds.c.image.is_(None))
    return [
        _count(
            connection, environments, dangling, "environments", "name a build that was never theirs"
        ),
        _count(connection, launches, lost, "launches", "name a build that no longer exists"),
        _count(connection, builds, imageless, "builds", "are marked as built but have no image"),
    ]


def _count(
    connection: sa.Connection,
    table: sa.Table,
    wrong: sa.ColumnElement[bool],
    about: str,
    what: str,
) -> DatabaseFinding:
    found = connection.scalar(sa.select(sa.func.count()).select_from(table).where(wrong)) or 0
    total = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
    if not found:
        return DatabaseFinding(True, about, f"{total} checked, no problems.")
    return DatabaseFinding(
        False,
        about,
        f"{found} of {total} {what}.",
        "This should not happen. Keep a backup and report it. Building the environments "
        "again repairs them.",
    )
