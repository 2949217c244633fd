"""Builds: asked for by many, made once, owned by the service.

Owns the queue, who joins whom, who watches, and what becomes of builds when the service stops
or dies. One build's way from fetch to end is in `buildrun`, what earlier ones tell in
`earlierbuilds`; what makes the image is a backend's business; whom it is for, and who may, is
that of `environments`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from traitlets import Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder import buildqueue
from jupyterhub_binder.aio import Lagged, Locks, TaskSet
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.buildlog import EventBatch
from jupyterhub_binder.buildrun import BuildRun, RunLimits
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.command import Command
from jupyterhub_binder.earlierbuilds import EarlierBuilds
from jupyterhub_binder.errors import LimitReached, NotFound
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.logcontext import set_ids
from jupyterhub_binder.logpages import LogPages
from jupyterhub_binder.model import Build, BuildEvent, BuildState, Phase, Reason, Resolved, User
from jupyterhub_binder.oversight import Action, LimitName, Rule
from jupyterhub_binder.slugs import content_key, repository_key
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import BuildWish


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a build is, and how long it may take."""

    queue_position: int | None
    """1 for the next one to begin; None once it runs."""
    expected_seconds: float | None
    """What its like took, from start to end; None where nothing is known."""
    elapsed_seconds: float | None
    """Since its start; None before."""
    people: int
    """How many people wait for it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """All builds that are not finished."""

    running: tuple[Build, ...]
    """Those that began first come first."""
    waiting: tuple[Build, ...]
    """In the order in which they will begin."""


class Met(StrEnum):
    """How a wish for a build was met."""

    BEGUN = "begun"
    JOINED = "joined"
    """The build was waiting or running for somebody else already."""
    REUSED = "reused"
    """It was there already."""


class Builds(LoggingConfigurable):
    """All builds of the service."""

    max_running = Integer(
        2,
        min=1,
        help="""How many builds run at once, whoever wants them.

        A build of the venv backend keeps about one core busy. Raise it on larger machines.
        """,
    ).tag(config=True)

    max_running_per_user = Integer(
        2,
        min=1,
        help="""How many builds of one person run at once; more of them wait in the queue.

        Administrators set other limits for groups and people while the service runs.
        """,
    ).tag(config=True)

    max_active_per_user = Integer(
        10,
        min=1,
        help="""How many builds one person may have waiting or running.

        The next one is refused with a sentence that says so. Administrators set other limits
        for groups and people while the service runs.
        """,
    ).tag(config=True)

    time_limit_seconds = Float(
        3600,
        min=1,
        help="Seconds after which a running build is ended as failed.",
    ).tag(config=True)

    silence_limit_seconds = Float(
        1200,
        min=1,
        help="""Seconds without any output after which a running build is ended as failed.

        Large packages compile in silence for minutes; a build that hangs is silent for ever.
        """,
    ).tag(config=True)

    max_log_characters = Integer(
        32 * 2**20,
        min=1000,
        help="Characters of a build's log that are kept; what comes after is left out.",
    ).tag(config=True)

    work_dir = Unicode(
        help="""Folder for the checkouts of running builds; emptied at every start.

        Default: ``work`` in the service's state folder.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        fetcher: Fetcher,
        command: Command,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.command.limits.register(LimitName.BUILDS, lambda: self.max_active_per_user)
        self.command.limits.register(LimitName.RUNNING, lambda: self.max_running_per_user)
        self.command.drain.when_ended = self._dispatch
        self.store = store
        self.backend = backend
        self.fetcher = fetcher
        self.earlier = EarlierBuilds(store=store, backend=backend)
        self._pages = LogPages(
            lambda build_id, after, limit: store.fetch_events(build_id, after=after, limit=limit)
        )
        self._waiting: dict[str, BuildRun] = {}
        self._running: dict[str, BuildRun] = {}
        self._busy_keys: set[str] = set()
        self.asking: Locks[str] = Locks()
        """By a person's name: held from `prepare` to `accept`, so that their requests at once do
        not exceed what one person may have."""
        self._tasks = TaskSet(self.log)
        self._stopping = False
        self.when_met: Callable[[Met], None] = lambda _: None
        """Told of each wish, for whoever counts; must not raise."""
        self.when_ended: Callable[[Build], None] = lambda _: None
        """Told of each build that has ended, likewise."""

    def _make_run(self, build: Build) -> BuildRun:
        return BuildRun(
            build,
            store=self.store,
            backend=self.backend,
            fetcher=self.fetcher,
            limits=RunLimits(
                time_seconds=self.time_limit_seconds,
                silence_seconds=self.silence_limit_seconds,
                log_characters=self.max_log_characters,
            ),
            checkout=Path(self.work_dir) / build.id,
            on_end=self._ended,
            log=self.log,
        )

    # --- Life of the service -------------------------------------------------------------

    async def start(self) -> None:
        """Take up every build that an earlier run of the service left unfinished."""
        await asyncio.to_thread(_empty_folder, Path(self.work_dir))
        for build in await self.store.list_active_builds():
            if build.state is BuildState.RUNNING:
                build = await self._take_up(build)
            self._waiting[build.id] = self._make_run(build)
        self._dispatch()

    async def _take_up(self, build: Build) -> Build:
        """Queue a build again whose run did not survive; watchers read on where they were."""
        seq = build.lines + 1
        text = "The service was restarted; this build is taken up again."
        await self.store.append_events(build.id, [BuildEvent(seq, utc_now(), Phase.WAITING, text)])
        self.log.info("Build %s is taken up again", build.id)
        return await self.store.update_build(build.id, {"state": BuildState.PENDING})

    async def stop(self) -> None:
        """End what runs, without ending any build: the next start takes them up again."""
        self._stopping = True
        await self._tasks.close()
        for run in self._waiting.values():
            run.feed.close()
        self._waiting.clear()

    # --- Asking for a build ---------------------------------------------------------------

    async def prepare(
        self, resolved: Resolved, options: Mapping[str, Any], *, user: User, force: bool = False
    ) -> BuildWish:
        """Say what a person wants built, and which finished build serves them already.

        Nothing begins before the wish has been kept with its environment (`accept`); hold
        `asking` until then. Raises LimitReached, and NotAllowed for a repository that is
        refused.
        """
        self.command.rules.require(user, resolved)
        await self.command.limits.see(user)
        key = self._key(resolved, options)
        now = utc_now()
        build = Build(
            id="",
            base_key=key,
            generation=0,
            spec=resolved.spec,
            resolved_ref=resolved.resolved_ref,
            label=resolved.label,
            repo_url=resolved.repo_url,
            clone_url=resolved.clone_url,
            options=options,
            backend=self.backend.name,
            state=BuildState.PENDING,
            phase=Phase.WAITING,
            created=now,
            created_by=user.name,
        )
        active = self._find_active(key)
        reuse = None if force or active else await self.earlier.find(key)
        if reuse is None and not active:
            self._check_limit(user)
        return BuildWish(build, by=user.name, at=now, reuse=reuse, force=force)

    async def is_built(self, resolved: Resolved, options: Mapping[str, Any]) -> bool:
        """Say whether a build of this would be there at once."""
        return await self.earlier.find(self._key(resolved, options)) is not None

    def _key(self, resolved: Resolved, options: Mapping[str, Any]) -> str:
        return content_key(
            clone_url=resolved.clone_url,
            resolved_ref=resolved.resolved_ref,
            options=options,
            fingerprint=self.backend.fingerprint(),
        )

    def _find_active(self, base_key: str) -> bool:
        runs = (*self._waiting.values(), *self._running.values())
        return any(run.build.base_key == base_key and not run.ending for run in runs)

    def _check_limit(self, user: User) -> None:
        used = self.count_active(user.name)
        most = self.command.limits.value(LimitName.BUILDS, user.name)
        if used >= most:
            raise LimitReached(
                f"You have reached your limit of builds that wait or run ({used} of {most}). "
                "Wait for one to end, or cancel one.",
                detail={"limit": most, "used": used},
            )

    def count_active(self, user_name: str) -> int:
        """Count a person's builds that wait or run."""
        runs = (*self._waiting.values(), *self._running.values())
        return sum(run.build.created_by == user_name for run in runs)

    def accept(self, build: Build) -> None:
        """Queue a build that the store has kept; one that is known or ended is left alone."""
        known = build.id in self._waiting or build.id in self._running
        if build.state is BuildState.PENDING and not known:
            self.when_met(Met.BEGUN)
            self._waiting[build.id] = self._make_run(build)
            self._dispatch()
        else:
            self.when_met(Met.REUSED if build.state.finished else Met.JOINED)

    # --- Looking at a build ---------------------------------------------------------------

    async def fetch_build(self, build_id: str) -> Build:
        """Return a build as it is now. Raises NotFound."""
        if (run := self._find_run(build_id)) is not None:
            return replace(run.build, lines=run.lines)
        build = await self.store.fetch_build(build_id)
        if build is None:
            raise NotFound("There is no such build.")
        return build

    def _find_run(self, build_id: str) -> BuildRun | None:
        run = self._waiting.get(build_id) or self._running.get(build_id)
        return None if run is None or run.ending else run

    def queue(self) -> Queue:
        """Return every build that waits or runs, whoever wants it."""
        running = [run.build for run in self._running.values() if not run.ending]
        waiting = [run.build for run in self._waiting.values() if not run.ending]
        return Queue(tuple(running), tuple(self._in_order(waiting, running)))

    def _in_order(self, waiting: Sequence[Build], running: Sequence[Build]) -> list[Build]:
        return buildqueue.in_order(waiting, running, share_of=self._share_of)

    def _share_of(self, person: str) -> int:
        return self.command.limits.value(LimitName.SHARE, person)

    async def standing(self, build: Build) -> Standing:
        """Say how far a build is; all of it changes with time but for a finished build."""
        run = self._waiting.get(build.id)
        over = build.state.finished
        return Standing(
            queue_position=run.position if run else None,
            expected_seconds=None
            if over
            else await self.earlier.expected_seconds(repository_key(build.spec)),
            elapsed_seconds=_elapsed(build),
            people=0 if over else await self.store.count_people(build.id),
        )

    async def fetch_log(
        self, build_id: str, *, after: int = 0, limit: int = 5000
    ) -> tuple[BuildEvent, ...]:
        """Return lines of a build's log after a sequence number."""
        return await self.store.fetch_events(build_id, after=after, limit=limit)

    async def watch(self, build_id: str, *, after: int = 0) -> AsyncIterator[EventBatch | Build]:
        """Yield a build now and at every change, and its lines after a sequence number.

        Lines come in order, each once; the last item is the finished Build, unless the service
        stops first. Raises NotFound.
        """
        yield await self.fetch_build(build_id)
        while True:
            # One that is ending counts too: its last lines are on their way to the store.
            run = self._waiting.get(build_id) or self._running.get(build_id)
            position = run.feed.end if run else 0
            async for batch in self._pages.read(build_id, after=after):
                yield batch
                after = batch.last
            if run is None:
                break
            try:
                async for item in run.feed.read(position):
                    if isinstance(item, Build):
                        yield item
                        if item.state.finished:
                            return
                    elif (batch := item.after(after)) is not None:
                        yield batch
                        after = batch.last
            except Lagged:
                continue
            break
        finished = await self.store.fetch_build(build_id)
        if finished is not None and finished.state.finished:
            yield finished

    # --- Ending a build from outside ------------------------------------------------------

    async def cancel(self, build_id: str, *, user: User) -> Build:
        """Withdraw a person's wish for a build; it ends when nobody wants it any more.

        An admin ends it for everybody. A build that has ended is left as it is.
        """
        build = await self.fetch_build(build_id)
        if build.state.finished:
            return build

        def end(left: int) -> Reason | None:
            # Others who wanted it read this, too, and learn no name.
            message = "Cancelled by an administrator." if left else "Cancelled."
            return self._cancelled(build_id, message) if user.admin or not left else None

        ended, left = await self._withdraw(build_id, user.name, end)
        if ended:
            self.log.info("Build %s is cancelled by %s", build_id, user.name)
            self.command.audit.note(
                user.name,
                Action.BUILD_CANCEL,
                build_id,
                always=user.admin,
                repository=build.label,
                of=build.created_by,
                for_everybody=left > 0,
            )
        return await self.fetch_build(build_id)

    def _cancelled(self, build_id: str, message: str) -> Reason:
        run = self._find_run(build_id)
        note = run.cancel_note if run is not None else ""
        return Reason("cancelled", f"{message} {note}".strip())

    async def _withdraw(
        self, build_id: str, owner: str | None, end: Callable[[int], Reason | None]
    ) -> tuple[bool, int]:
        """Take back wishes; say whether that ended the build, and how many people want it."""
        build, left = await self.store.withdraw_wishes(build_id, owner=owner, at=utc_now(), end=end)
        run = self._find_run(build_id)
        if run is None:
            return False, left
        if build.state is BuildState.CANCELLED:
            await run.cancel(build)
            return True, left
        run.belong_to(build.created_by)
        return False, left

    def matched_by(self, rule: Rule) -> tuple[Build, ...]:
        """Return the builds that run or wait and that a rule matches."""
        queue = self.queue()
        return self.command.rules.matched_by(rule, (*queue.running, *queue.waiting))

    async def cancel_matched(self, rule: Rule, *, user: User) -> tuple[Build, ...]:
        """End all builds that a rule matches, as an admin."""
        return tuple([await self.cancel(build.id, user=user) for build in self.matched_by(rule)])

    async def release(self, build_id: str) -> None:
        """End a build if nobody wants it any more."""
        if self._find_run(build_id) is not None:
            message = "Nobody wants this build any more."
            await self._withdraw(
                build_id, None, lambda left: None if left else self._cancelled(build_id, message)
            )

    # --- The queue --------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Begin what may begin, and tell everybody else their place."""
        if self._stopping:
            return
        for build in self._next_builds():
            run = self._waiting.pop(build.id)
            self._running[build.id] = run
            run.position = None
            self._tasks.spawn(self._run(run), name=f"build {build.id}")
        self._tell_positions()

    def _next_builds(self) -> list[Build]:
        if self.command.drain.state is not None:
            return []
        return buildqueue.next_builds(
            [run.build for run in self._waiting.values()],
            [run.build for run in self._running.values()],
            most=self.max_running,
            most_of=lambda person: self.command.limits.value(LimitName.RUNNING, person),
            share_of=self._share_of,
            busy_keys=self._busy_keys,
        )

    def _tell_positions(self) -> None:
        order = self._in_order(
            [run.build for run in self._waiting.values()],
            [run.build for run in self._running.values()],
        )
        for position, build in enumerate(order, start=1):
            run = self._waiting[build.id]
            if run.position != position:
                run.position = position
                run.feed.publish(run.build)

    async def _run(self, run: BuildRun) -> None:
        set_ids(build=run.build.id)
        self._busy_keys.add(run.build.key)
        try:
            refusal = self.command.rules.judge(run.build)
            if refusal is None:
                await run.run()
            else:  # since it was asked for
                self.command.rules.note_hit(run.build.created_by, run.build, refusal)
                await run.refuse(Reason(refusal.code, refusal.message))
        finally:
            self._busy_keys.discard(run.build.key)
            self._running.pop(run.build.id, None)
            self._dispatch()

    def _ended(self, build: Build) -> None:
        """Forget a build that has ended; called by its run, before its watchers know."""
        self._waiting.pop(build.id, None)
        self.earlier.forget()
        self.log.info("Build %s ended: %s", build.id, build.state)
        self.when_ended(build)
        self._dispatch()


def _elapsed(build: Build) -> float | None:
    if build.started is not None and build.finished is None:
        return (utc_now() - build.started).total_seconds()
    return build.duration_seconds


def _empty_folder(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
