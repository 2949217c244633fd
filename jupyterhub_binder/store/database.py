"""A database with one worker thread and one owning process.

Waiting functions share a transaction, because its start and end cost as much as a statement. A
failure affects no other function.
"""

from __future__ import annotations

import asyncio
import fcntl
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc

from jupyterhub_binder.errors import ConfigurationError, StoreUnavailable
from jupyterhub_binder.store import migrations, postgres
from jupyterhub_binder.utils.signal import Signal

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[[sa.Connection], Any]

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}

_RECONNECT_SECONDS = 5.0
"""For a lost server."""
_RETRY_SECONDS = 0.2

_TOGETHER_SECONDS = 0.01
"""To collect work; short, since the first callers wait."""

_LOST = (exc.OperationalError, exc.InterfaceError, exc.InternalError)
"""Also for a read-only server or a full disk."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Set the result."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _JobRefused(Exception):
    """The database refuses one of several jobs."""


class Database:
    """An open database; use `run`."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[_Job] = deque()
        self._batch: asyncio.Future[list[_Outcome]] | None = None
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._lock: _FileLock | None = None
        self._lost_ownership = False
        self.reconnections = 0
        self.transaction_ended: Signal[[float, bool]] = Signal()
        self.ownership_lost: Signal[[]] = Signal()

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database and create or upgrade its tables.

        Raises ConfigurationError, for example for a second owner or a newer version's tables.
        """
        database = cls(url)
        try:
            await database._in_worker(database._open)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Finish pending work and close. Idempotent."""
        while self._batch is not None:
            await asyncio.wait([self._batch])
        try:
            await self._in_worker(self._close)
        except RuntimeError:
            return  # closed already
        self._worker.shutdown(wait=False)

    async def run(
        self,
        work: Callable[Concatenate[sa.Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a function in a transaction, committed before this returns.

        The function may run again after a failed transaction, so it must only change the database,
        and its arguments must be readable twice. Cancelling the caller does not stop the
        transaction. Raises what the function raises, StoreUnavailable, and RuntimeError once
        closed.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(lambda connection: work(connection, *args, **kwargs), future))
        self._work_off()
        return await future

    def _work_off(self) -> None:
        if self._batch is not None or not self._waiting:
            return
        jobs = [job for job in self._waiting if not job.future.cancelled()]
        self._waiting.clear()
        if not jobs:
            return
        try:
            self._batch = self._in_worker(self._run_first, jobs)
        except RuntimeError as error:  # the worker has ended
            for job in jobs:
                _Outcome(job.future, error=error).tell()
            return
        self._batch.add_done_callback(partial(self._worked_off, jobs))

    def _worked_off(self, jobs: Sequence[_Job], batch: asyncio.Future[list[_Outcome]]) -> None:
        self._batch = None
        outcomes = batch.result()
        self._waiting.extendleft(reversed(jobs[len(outcomes) :]))
        self._work_off()
        for outcome in outcomes:
            outcome.tell()

    def _run_first(self, jobs: Sequence[_Job]) -> list[_Outcome]:
        """Run the first jobs, together if possible."""
        if len(jobs) < 2:
            return [self._run_alone(job) for job in jobs]
        try:
            return self._transaction(lambda connection: _run_for_a_while(connection, jobs))
        except StoreUnavailable as error:
            return [_Outcome(job.future, error=error) for job in jobs]
        except Exception:  # noqa: BLE001 - each is run again alone
            return [self._run_alone(job) for job in jobs]

    def _run_alone(self, job: _Job) -> _Outcome:
        try:
            return _Outcome(job.future, self._transaction(job.work))
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            return _Outcome(job.future, error=error)

    def _in_worker(self, work: Callable[..., R], *args: Any) -> asyncio.Future[R]:
        return asyncio.get_running_loop().run_in_executor(self._worker, work, *args)

    def _transaction(self, work: Callable[[sa.Connection], R]) -> R:
        began = time.monotonic()
        try:
            result = self._insist(work, until=began + _RECONNECT_SECONDS)
        except StoreUnavailable:
            self.transaction_ended.send(time.monotonic() - began, True)
            raise
        except _LOST as error:
            self.transaction_ended.send(time.monotonic() - began, True)
            raise StoreUnavailable(
                "The service can't use its database at the moment. Try again soon. If the "
                "problem continues, an administrator should check the database and the free "
                "disk space."
            ) from error
        self.transaction_ended.send(time.monotonic() - began, False)
        return result

    def _insist(self, work: Callable[[sa.Connection], R], *, until: float) -> R:
        """Reconnect if the connection was lost before the commit."""
        if self._engine is None:
            raise RuntimeError("the database is closed")
        while True:
            done = False
            try:
                connection = self._connection or self._connect_again()
                with connection.begin():
                    result = work(connection)
                    done = True
                return result
            except _LOST as error:
                # After a failed commit, nobody knows whether it was stored: the caller decides.
                lost = self._is_lost(error)
                if not lost or done or time.monotonic() > until:
                    raise
            time.sleep(_RETRY_SECONDS)

    def _is_lost(self, error: exc.DBAPIError) -> bool:
        if self._connection is None:
            return True
        if not error.connection_invalidated:
            return False
        self._connection.close()
        self._connection = None
        return True

    def _connect_again(self) -> sa.Connection:
        """Reconnect as the owner. A new owner makes StoreUnavailable permanent."""
        assert self._engine is not None
        if self._lost_ownership:
            raise _not_the_owner()
        connection = self._engine.connect()
        try:
            if not postgres.take_lock(connection):
                self._lost_ownership = True
                self.ownership_lost.send()
                raise _not_the_owner()
        except BaseException:
            connection.close()
            raise
        self.reconnections += 1
        self._connection = connection
        return connection

    def _open(self) -> None:
        sqlite = self._url.get_backend_name() == "sqlite"
        if sqlite:
            self._lock = lock_file(self._url)
        self._engine = _make_engine(self._url)
        try:
            self._connection = self._engine.connect()
            if not sqlite and not postgres.take_lock(self._connection):
                raise in_use()
            migrations.upgrade(self._connection, file_of(self._url))
        except exc.OperationalError as error:
            raise ConfigurationError(
                f"JupyterHubBinder.database_url: can't open {self._url.render_as_string()}: "
                f"{error.orig}"
            ) from error

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def parse_url(url: str) -> sa.URL:
    """Return the URL with its driver. Raises ConfigurationError."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in _DRIVERS:
        raise ConfigurationError(
            "JupyterHubBinder.database_url is not the URL of an SQLite or PostgreSQL database. "
            "Write sqlite:////absolute/path or postgresql://user@host/name"
        )
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return postgres.make_engine(url)
        except ImportError as error:
            raise ConfigurationError(
                "The driver for JupyterHubBinder.database_url is not installed. For PostgreSQL: "
                "pip install 'jupyterhub-binder[postgres]'"
            ) from error
    engine = sa.create_engine(
        url, connect_args={"check_same_thread": False, "timeout": 30}, hide_parameters=True
    )

    # Replace sqlite3's transaction handling: begin as a writer.
    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def file_of(url: sa.URL) -> Path | None:
    """Return an SQLite database's file, if any."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database)


class _FileLock:
    """A lock that ends with the process."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def lock_file(url: sa.URL) -> _FileLock:
    """Own an SQLite file until the lock is closed. Raises ConfigurationError."""
    path = file_of(url)
    if path is None:
        return _FileLock(None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("w")
        path.touch(mode=0o600)
        # Even in a shared folder. SQLite's other files take the same mode.
        path.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.database_url: can't create {path}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise in_use() from error
    return _FileLock(file)


def in_use() -> ConfigurationError:
    """Return the error for a second owner."""
    return ConfigurationError(
        "Another jupyterhub-binder service is using this database. Stop the other service, or "
        "give this one its own JupyterHubBinder.database_url."
    )


def _not_the_owner() -> StoreUnavailable:
    return StoreUnavailable(
        "The connection to the database was lost, and another jupyterhub-binder service has "
        "taken over the database. An administrator should stop one of the two services and "
        "restart the other."
    )


def _run_for_a_while(connection: sa.Connection, jobs: Sequence[_Job]) -> list[_Outcome]:
    until = time.monotonic() + _TOGETHER_SECONDS
    outcomes: list[_Outcome] = []
    for job in jobs:
        try:
            result = job.work(connection)
        except _LOST as error:
            if error.connection_invalidated:
                raise
            raise _JobRefused from error
        outcomes.append(_Outcome(job.future, result))
        if time.monotonic() > until:
            break
    return outcomes
