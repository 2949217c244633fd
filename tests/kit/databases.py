"""The databases of the tests: SQLite files, or a PostgreSQL server of our own.

The server is Debian's, runs as nobody or whoever runs the tests, in a folder of its own, on a
Unix socket alone, and ends with the tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

OWNER = "binder"


class PostgresServer:
    """A running cluster; every role has a password."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.password = f"pg-{secrets.token_hex(8)}"
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        self._initialise()

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        subprocess.run(
            [
                *(self._programs / "initdb", "--pgdata", self.folder / "data", "--no-sync"),
                *("--username", OWNER, "--pwfile", password, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._as,
        )
        password.unlink()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "50",
            "shared_buffers": "16MB",
            # Nothing of it has to outlive the machine.
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self.folder / "data", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "log").open("ab"),
            cwd=self.folder,
            **self._as,
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("select 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it and all sessions at once; stopping twice is harmless."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Return a session of the cluster's owner."""
        return psycopg.connect(
            host=str(self.folder),
            user=OWNER,
            password=self.password,
            dbname=database,
            autocommit=True,
        )

    def execute(self, statement: str, *names: str) -> list[Any]:
        """Run a statement, each ``{}`` in it a name; return its rows."""
        query = sql.SQL(statement).format(*map(sql.Identifier, names))  # type: ignore[arg-type]
        with self.connect() as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def url(self, database: str) -> str:
        """Return a database's URL."""
        return f"postgresql://{OWNER}:{self.password}@/{database}?host={self.folder}"

    def new_url(self) -> str:
        """Make an empty database; return its URL."""
        name = f"t{secrets.token_hex(6)}"
        self.execute("create database {}", name)
        return self.url(name)

    def end_sessions(self, url: str) -> int:
        """Cut off whoever is connected to a database; return how many that were."""
        name = url.partition("?")[0].rpartition("/")[2]
        with self.connect() as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )
            return len(ended.fetchall())


@contextlib.contextmanager
def running_postgres(programs: str) -> Iterator[PostgresServer]:
    """Run a server, and leave nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    try:
        server = PostgresServer(Path(programs), folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Which database a service has whose state is in a folder; a folder has the same one always."""

    server: PostgresServer | None = None
    """The server to use instead of SQLite files."""
    _template = ""

    @classmethod
    def use(cls, server: PostgresServer | None) -> None:
        """Have every folder's database on this server, or in SQLite files again."""
        cls.server, cls._template = server, ""

    @classmethod
    def url_for(cls, folder: Path) -> str:
        """Return the URL, of a database that may be there already or not."""
        if cls.server is None:
            return f"sqlite:///{folder}/binder.sqlite"
        name = "f" + hashlib.sha256(str(folder).encode()).hexdigest()[:20]
        with cls.server.connect() as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [name])
            if known.fetchone() is None:
                cls.server.execute("create database {} template {}", name, cls._ensure_template())
        return cls.server.url(name)

    @classmethod
    def _ensure_template(cls) -> str:
        """Make, once, a database that has the tables: a copy of it is there in a moment."""
        if not cls._template:
            import sqlalchemy as sa

            from jupyterhub_binder.store import migrations

            assert cls.server is not None
            cls.server.execute("create database {}", "with_tables")
            url = sa.make_url(cls.server.url("with_tables")).set(drivername="postgresql+psycopg")
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            with engine.connect() as connection:
                migrations.upgrade(connection, None)
            cls._template = "with_tables"
        return cls._template
