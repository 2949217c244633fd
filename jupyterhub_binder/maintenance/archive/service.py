"""Writes the archive: each day once, after it has ended.

What is in the storage counts as written, so a restart, or a second run, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from traitlets import Float, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.errors import BinderError, NotUnderstood, UpstreamUnavailable
from jupyterhub_binder.maintenance.archive.files import (
    INDEX_HTML,
    INDEX_JSONL,
    PROVIDERS,
    ArchivedDay,
    count_events,
    day_of,
    encode_day,
    encode_index,
    encode_page,
    name_of,
    read_index,
)
from jupyterhub_binder.maintenance.archive.storage import Storage, open_storage
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.model.launch_events import LaunchEvent
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import TaskSet, run_without_waiting_at_exit
from jupyterhub_binder.utils.time import utc_now

P = ParamSpec("P")
T = TypeVar("T")

_DAY = timedelta(days=1)
_MAX_DAYS_PER_RUN = 400
_AT_ONCE = 2
"""Hosts that are asked at a time, so that people's own requests come first."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What a run wrote."""

    days: tuple[ArchivedDay, ...] = ()
    left_out: int = 0
    """Launches of repositories that are not public."""


class Archive(LoggingConfigurable):
    """Publishes launches of public repositories in mybinder.org's format."""

    url = Unicode(
        help="""
        Where the archive of launches is written: the absolute path of a folder, or
        ``s3://bucket/prefix`` for S3-compatible storage, which needs the extra
        ``jupyterhub-binder[s3]``. Its files are public data: a web server or the bucket's policy can
        give them to everybody. Default: empty, no archive.

        The keys of a bucket are read as Amazon's tools do: from ``AWS_ACCESS_KEY_ID`` and
        ``AWS_SECRET_ACCESS_KEY``, the file in ``AWS_SHARED_CREDENTIALS_FILE``, or the role of the
        machine or the pod. Never write them here.
        """,
    ).tag(config=True)
    endpoint = Unicode(
        help="""The address of S3-compatible storage that is not Amazon's, such as
        ``https://s3.example.org``. Default: Amazon's.""",
    ).tag(config=True)
    region = Unicode(help="The bucket's region, if it needs one. Default: none.").tag(config=True)
    title = Unicode("Launches", help="The title of the archive's page. Default: ``Launches``.").tag(
        config=True
    )
    margin_seconds = Float(
        3600,
        min=0,
        help="""How long after the end of a day, in UTC, the day is written, in seconds.
        Default: 3600.""",
    ).tag(config=True)
    patience_days = Float(
        3,
        min=0,
        help="""How many days a day's file waits for a host that does not say whether a repository
        is public. The repository is left out afterwards. Default: 3.""",
    ).tag(config=True)
    interval_seconds = Float(
        3600, min=1, help="Interval between runs, in seconds. Default: 3600."
    ).tag(config=True)

    def __init__(self, *, store: Store, providers: Providers, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._providers = providers
        self._audit = audit
        self._storage: Storage | None = None
        self._running = asyncio.Lock()
        self._tasks = TaskSet(self.log)
        self._written_until = _BEGINNING
        self.problem = ""
        """Why the last run failed, or wrote not all days."""

    @property
    def enabled(self) -> bool:
        """Whether there is an archive."""
        return bool(self.url)

    @property
    def written_until(self) -> datetime | None:
        """The time before which every launch is in the archive; None without an archive."""
        return self._written_until if self.enabled else None

    @property
    def last_day(self) -> date | None:
        """The last day, in UTC, up to which the archive is complete; None before the first run."""
        begun = self._written_until > _BEGINNING
        return (self._written_until - _DAY).date() if begun else None

    async def start(self) -> None:
        """Write regularly. Raises ConfigurationError."""
        if not self.enabled:
            return
        self._storage = await asyncio.to_thread(
            open_storage, self.url, endpoint=self.endpoint, region=self.region
        )
        self._tasks.spawn(self._run_always(), name="archive")

    async def stop(self) -> None:
        """Stop; the next start goes on. Idempotent."""
        await self._tasks.close()

    async def _run_always(self) -> None:
        while True:
            try:
                await self.run()
                self.problem = ""
            except BinderError as error:
                self.problem = error.message
                self.log.warning("The archive waits: %s", error.message)
            except Exception:
                self.problem = Message(
                    "The archive failed because of a bug. The log has the details."
                )
                self.log.exception("The archive failed because of a bug; it is tried again")
            await asyncio.sleep(self.interval_seconds)

    # --- Writing --------------------------------------------------------------------------------

    async def run(self) -> ArchiveReport:
        """Write the days that have ended, and the index. Raises BinderError."""
        if self._storage is None:
            return ArchiveReport()
        async with self._running:
            known, listed = await _use(_read_state, self._storage)
            today = (utc_now() - timedelta(seconds=self.margin_seconds)).date()
            days = await self._missing(known, today)
            written: list[ArchivedDay] = []
            left_out = 0
            try:
                for day in days:
                    archived, hidden = await self._write_day(self._storage, day)
                    written.append(archived)
                    left_out += hidden
                    self._written_until = _begin_of(day + _DAY)
            finally:
                if written or not listed:
                    await _use(_write_index, self._storage, [*known, *written], self.title)
            if len(days) < _MAX_DAYS_PER_RUN:
                self._written_until = _begin_of(today)
        return ArchiveReport(tuple(written), left_out)

    async def _missing(self, known: Iterable[ArchivedDay], today: date) -> list[date]:
        """Return the days before today that have launches, or follow such a day, without a file."""
        there = {each.day for each in known}
        first = await self._store.fetch_first_event_time()
        begins = [first.date()] if first else []
        if there:
            begins.append(max(there) + _DAY)
        if not begins:
            return []
        length = (today - min(begins)).days
        days = (min(begins) + timedelta(days=number) for number in range(max(length, 0)))
        return [day for day in days if day not in there][:_MAX_DAYS_PER_RUN]

    async def _write_day(self, storage: Storage, day: date) -> tuple[ArchivedDay, int]:
        begin = _begin_of(day)
        events = await self._store.list_launch_events(since=begin, until=begin + _DAY)
        late = utc_now() > begin + _DAY + timedelta(days=self.patience_days)
        public = await self._find_public(events, give_up=late)
        data = encode_day(public)
        if not await _use(storage.create, name_of(day), data):
            data = await _use(storage.read, name_of(day)) or b""
        archived = ArchivedDay(day, count_events(data))
        hidden = len(events) - len(public)
        self.log.info("Archived %s launches of %s, left out %s", archived.events, day, hidden)
        await self._audit.record(
            SERVICE,
            Action.ARCHIVE_WRITE,
            day.isoformat(),
            launches=archived.events,
            left_out=hidden,
        )
        return archived, hidden

    async def _find_public(
        self, events: Iterable[LaunchEvent], *, give_up: bool
    ) -> list[LaunchEvent]:
        """Return the events of public repositories.

        Raises UpstreamUnavailable if a host does not say so, unless `give_up`.
        """
        named = [event for event in events if event.provider in PROVIDERS]
        examples = {_repository(event): event for event in named}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ask(event: LaunchEvent) -> bool:
            async with slots:
                try:
                    return await self.fetch_is_public(event)
                except UpstreamUnavailable:
                    if not give_up:
                        raise
                    return False

        async with asyncio.TaskGroup() as group:
            asked = {
                name: group.create_task(_settled(ask(event))) for name, event in examples.items()
            }
        answers = {name: task.result() for name, task in asked.items()}
        for answer in answers.values():
            if isinstance(answer, BinderError):
                raise answer
        return [event for event in named if answers[_repository(event)] is True]

    async def fetch_is_public(self, event: LaunchEvent) -> bool:
        """Say whether anybody can read the repository now. Raises UpstreamUnavailable."""
        try:
            spec = self._providers.parse_spec(event.provider, event.spec)
        except NotUnderstood:
            return False
        return await self._providers.fetch_is_public(
            spec, clone_url=event.clone_url, repo_url=event.repo_url
        )


async def _settled(work: Any) -> bool | BinderError:
    """Return the answer or the error, so that one host's failure ends no other request."""
    try:
        return await work
    except BinderError as error:
        return error


async def _use(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Use the storage. A slow one must not hold up the end of the service: each write is atomic."""
    return await run_without_waiting_at_exit(partial(work, *args, **kwargs))


def _repository(event: LaunchEvent) -> tuple[str, str]:
    return event.provider, event.clone_url or event.spec


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _read_state(storage: Storage) -> tuple[list[ArchivedDay], bool]:
    """Return the days in the storage, and whether its index lists exactly these."""
    storage.remove_unfinished()
    days = {day for name in storage.list() if (day := day_of(name))}
    index = storage.read(INDEX_JSONL)
    counts = read_index(index or b"")
    known = [ArchivedDay(day, counts.get(day, -1)) for day in sorted(days)]
    known = [each if each.events >= 0 else _count(storage, each.day) for each in known]
    return known, index is not None and counts.keys() == days


def _count(storage: Storage, day: date) -> ArchivedDay:
    return ArchivedDay(day, count_events(storage.read(name_of(day)) or b""))


def _write_index(storage: Storage, days: list[ArchivedDay], title: str) -> None:
    storage.replace(INDEX_JSONL, encode_index(days))
    storage.replace(INDEX_HTML, encode_page(days, title=title, now=utc_now()))
