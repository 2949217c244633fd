"""One database, one worker thread: opens it, migrates it, runs functions in transactions.

What waits at the same moment shares a transaction, since its beginning and its end cost as much as
a statement; nobody hears of a result that is not kept, or fails with another. SQLite (WAL) or
PostgreSQL by URL. One process owns the database: a second one is refused. A connection that is
lost is taken up again. What the functions ask for is the business of the modules beside this one.
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

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[[sa.Connection], Any]

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}

_RECONNECT_SECONDS = 5.0
"""For how long a transaction waits for a server that is gone, before its caller is told."""
_RETRY_SECONDS = 0.2

_TOGETHER_SECONDS = 0.01
"""For how long one transaction takes up more of what waits: who was first is not kept for long."""

_LOST = (exc.OperationalError, exc.InterfaceError, exc.InternalError)
"""What a driver raises when a server is gone, going or read-only, or a disk is full."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A function that waits for its turn, and where its outcome goes."""

    work: Work
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a job."""

    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def tell(self) -> None:
        """Tell whoever asked, unless they have gone."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class _Refused(Exception):
    """The database is there, and does not do what one of several jobs asks of it."""


class Database:
    """An open database. `run` is the one way in."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[_Job] = deque()
        self._batch: asyncio.Future[list[_Outcome]] | None = None
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._lock: _FileLock | None = None
        self._ousted = False
        self.reconnections = 0
        """How often a lost connection was taken up again."""
        self.when_done: Callable[[float, bool], None] = _ignore
        """Told, in the worker, of each transaction: its seconds, and whether the database failed."""
        self.when_ousted: Callable[[], None] = _ignore
        """Told, in the worker, that another service owns the database: this one is over."""

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database, creating or upgrading its tables.

        Raises ConfigurationError when the URL makes no sense, the server does not answer,
        another process has the database, or a newer version has written it.
        """
        database = cls(url)
        try:
            await database._in_worker(database._open)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Finish the work that was asked for and let go; closing twice is harmless."""
        while self._batch is not None:
            await asyncio.wait([self._batch])
        try:
            await self._in_worker(self._close)
        except RuntimeError:
            return  # the worker has ended: closed before
        self._worker.shutdown(wait=False)

    async def run(
        self,
        work: Callable[Concatenate[sa.Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run a function of a connection in a transaction, committed before this returns.

        The function may be called again, from the start, where its transaction came to nothing:
        it changes only the database, and what it is given can be read twice.
        A caller that is cancelled leaves the transaction to finish by itself.
        Raises what the function raises, StoreUnavailable when the database does not answer or
        cannot be written, and RuntimeError once it is closed.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(lambda connection: work(connection, *args, **kwargs), future))
        self._work_off()
        return await future

    def _work_off(self) -> None:
        """Give the worker what waits; if it is at work, that is done as soon as it ends."""
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
        """Run the first few of some jobs, together if they all go well; return what became of them."""
        if len(jobs) < 2:
            return [self._run_alone(job) for job in jobs]
        try:
            return self._transaction(lambda connection: _run_for_a_while(connection, jobs))
        except StoreUnavailable as error:
            return [_Outcome(job.future, error=error) for job in jobs]
        except Exception:  # noqa: BLE001 - whichever failed fails again by itself
            return [self._run_alone(job) for job in jobs]

    def _run_alone(self, job: _Job) -> _Outcome:
        try:
            return _Outcome(job.future, self._transaction(job.work))
        except BaseException as error:  # noqa: BLE001 - it is for whoever asked
            return _Outcome(job.future, error=error)

    def _in_worker(self, work: Callable[..., R], *args: Any) -> asyncio.Future[R]:
        return asyncio.get_running_loop().run_in_executor(self._worker, work, *args)

    def _transaction(self, work: Callable[[sa.Connection], R]) -> R:
        began = time.monotonic()
        try:
            result = self._insist(work, until=began + _RECONNECT_SECONDS)
        except StoreUnavailable:
            self.when_done(time.monotonic() - began, True)
            raise
        except _LOST as error:
            self.when_done(time.monotonic() - began, True)
            raise StoreUnavailable(
                "The service cannot use its database at the moment; try again soon. If this "
                "stays, an administrator should look at the database and the free disk space."
            ) from error
        self.when_done(time.monotonic() - began, False)
        return result

    def _insist(self, work: Callable[[sa.Connection], R], *, until: float) -> R:
        """Do the work; again on a new connection if the one it had was lost before the commit."""
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
                # After a commit nobody knows whether it was kept: that is for the caller.
                lost = self._is_lost(error)
                if not lost or done or time.monotonic() > until:
                    raise
            time.sleep(_RETRY_SECONDS)

    def _is_lost(self, error: exc.DBAPIError) -> bool:
        """Say whether there is no connection any more; then let go of what is left of it."""
        if self._connection is None:
            return True
        if not error.connection_invalidated:
            return False
        self._connection.close()
        self._connection = None
        return True

    def _connect_again(self) -> sa.Connection:
        """Connect to a server as its owner. Raises StoreUnavailable, for good, if another is."""
        assert self._engine is not None
        if self._ousted:
            raise _ousted()
        connection = self._engine.connect()
        try:
            if not postgres.take_lock(connection):
                self._ousted = True
                self.when_ousted()
                raise _ousted()
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
                f"JupyterHubBinder.database_url: {self._url.render_as_string()} cannot be "
                f"opened: {error.orig}"
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
    """Return a database's URL with its driver. Raises ConfigurationError."""
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in _DRIVERS:
        raise ConfigurationError(
            "JupyterHubBinder.database_url is not a URL of SQLite or PostgreSQL; write "
            "sqlite:////absolute/path or postgresql://user@host/name"
        )
    return parsed.set(drivername=_DRIVERS[parsed.drivername])


def _make_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return postgres.make_engine(url)
        except ImportError as error:
            raise ConfigurationError(
                "JupyterHubBinder.database_url names a server whose driver is not installed; "
                "for PostgreSQL: pip install 'jupyterhub-binder[postgres]'"
            ) from error
    engine = sa.create_engine(
        url, connect_args={"check_same_thread": False, "timeout": 30}, hide_parameters=True
    )

    # sqlite3 begins transactions by rules of its own; take them over, and write from the start.
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
    """Return the file of an SQLite database; None for one in memory or on a server."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database)


class _FileLock:
    """A lock that ends with the process, however it ends."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def lock_file(url: sa.URL) -> _FileLock:
    """Become the owner of an SQLite file until the lock is closed. Raises ConfigurationError."""
    path = file_of(url)
    if path is None:
        return _FileLock(None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("w")
        path.touch(mode=0o600)
        path.chmod(0o600)  # whatever its folder lets others do; what SQLite puts beside follows
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.database_url: {path} cannot be made: {error.strerror}"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise in_use() from error
    return _FileLock(file)


def in_use() -> ConfigurationError:
    """Return what is said to whoever would be a second owner."""
    return ConfigurationError(
        "Another jupyterhub-binder service is using this database. One service owns a "
        "database: stop the other one, or give this one its own JupyterHubBinder.database_url."
    )


def _ousted() -> StoreUnavailable:
    return StoreUnavailable(
        "The connection to the database was lost, and another jupyterhub-binder service owns the "
        "database now. One service owns a database: an administrator should stop one of the two, "
        "and start the other again."
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
            raise _Refused from error
        outcomes.append(_Outcome(job.future, result))
        if time.monotonic() > until:
            break
    return outcomes


def _ignore(*_: object) -> None:
    """Be told, and do nothing."""
