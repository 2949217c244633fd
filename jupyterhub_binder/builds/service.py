"""The builds of all users: queue, sharing, watchers and restarts.

`environments` checks permissions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from traitlets import Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.admin.rules import PERSON_BANNED, Rules
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import queue as buildqueue
from jupyterhub_binder.builds.explain.service import LogExplainer
from jupyterhub_binder.builds.history import BuildHistory
from jupyterhub_binder.builds.log import EventBatch
from jupyterhub_binder.builds.log_pages import LogPages
from jupyterhub_binder.builds.positions import Positions
from jupyterhub_binder.builds.run import BuildRun, RunLimits
from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.model import (
    Build,
    BuildEvent,
    BuildState,
    Phase,
    Reason,
    Resolved,
    User,
    repository_key,
)
from jupyterhub_binder.model.admin import Action, LimitName, Rule, RuleKind
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.utils.concurrency import Lagged, Locks, Remembered, TaskSet
from jupyterhub_binder.utils.log_context import set_ids
from jupyterhub_binder.utils.names import content_key
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.trash import Trash

_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """The progress of a build."""

    queue_position: int | None
    """1 is next; None once it runs."""
    expected_seconds: float | None
    """From start to end."""
    elapsed_seconds: float | None
    people: int
    """Waiting users."""
    step: str = ""
    """What the build does now; empty if only its phase is known."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """All unfinished builds."""

    running: tuple[Build, ...]
    waiting: tuple[Build, ...]
    """In order of start."""


class RequestOutcome(StrEnum):
    """The answer to a build request."""

    BEGUN = "begun"
    JOINED = "joined"
    """It was waiting or running."""
    REUSED = "reused"
    """The image existed."""


class Builds(LoggingConfigurable):
    """Runs and queues all builds."""

    max_running = Integer(
        2,
        min=1,
        help="""How many builds run at once on the whole hub. Default: 2.

        A build of the venv backend keeps about one core busy. Raise it on larger machines.
        """,
    ).tag(config=True)

    max_running_per_user = Integer(
        2,
        min=1,
        help="""How many builds of one person run at once; others wait in the queue. Default: 2.

        Administrators can set other limits for groups and people while the service runs.
        """,
    ).tag(config=True)

    max_active_per_user = Integer(
        10,
        min=1,
        help="""How many waiting and running builds one person may have. Default: 10.

        Further requests are refused. Administrators can set other limits for groups and people
        while the service runs.
        """,
    ).tag(config=True)

    time_limit_seconds = Float(
        3600,
        min=1,
        help="Time limit for a build, in seconds. Default: 3600 (1 hour).",
    ).tag(config=True)

    silence_limit_seconds = Float(
        1200,
        min=1,
        help="""How long a build may print nothing before it fails, in seconds. Default: 1200.

        This ends builds that hang. Large packages may compile for minutes without output.
        """,
    ).tag(config=True)

    max_log_characters = Integer(
        32 * 2**20,
        min=1000,
        help="Maximum size of a build's log, in characters. Later lines are not saved. Default: 32 Mi.",
    ).tag(config=True)

    reuse_days = Float(
        7,
        min=0,
        help="""How long a recipe that leaves versions open uses an earlier image, in days.
        Default: 7.

        A commit, a branch or a repository whose configuration files are those of an earlier build
        uses that build's image instead of building one. If the files leave versions open, the
        image is used only until it is this old; then the versions are chosen again. 0: each
        commit gets an image of its own. This needs a backend whose images contain nothing of their
        repository, such as `venv`.
        """,
    ).tag(config=True)

    failure_rules = Unicode(
        help="""A TOML file with rules of your own for explaining failed builds. Default: none.

        They come before the built-in ones. A mistake in the file stops the service at its start,
        with the rule's id. `jupyterhub-binder explain` tries rules on a log.
        """,
    ).tag(config=True)

    work_dir = Unicode(
        help="""Folder for the checkouts of running builds. Default: ``work`` in the state folder.

        The service empties it at every start.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        fetcher: Fetcher,
        history: BuildHistory,
        rules: Rules,
        limits: Limits,
        drain: Draining,
        audit: Audit,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._rules = rules
        self._limits = limits
        self._drain = drain
        self._audit = audit
        limits.register(LimitName.BUILDS, lambda: self.max_active_per_user)
        limits.register(LimitName.RUNNING, lambda: self.max_running_per_user)
        drain.ended.connect(self._dispatch)
        limits.changed.connect(self._dispatch)
        self._store = store
        self._backend = backend
        self._fetcher = fetcher
        self._history = history
        self.explainer = LogExplainer(store, self.log, backend.pythons_of)
        self._pages = LogPages(
            lambda build_id, after, limit: store.fetch_events(build_id, after=after, limit=limit)
        )
        self._people = Remembered(store.count_people, max_keys=_MAX_REMEMBERED)
        self._positions = Positions(lambda: self.queue().waiting, self._tell_position)
        self._waiting: dict[str, BuildRun] = {}
        self._running: dict[str, BuildRun] = {}
        self._busy_keys: set[str] = set()
        self.asking: Locks[str] = Locks()
        """By user; held from `prepare` to `accept`, so that concurrent requests obey the limit."""
        self._tasks = TaskSet(self.log)
        self._stopping = False
        self.answered: Signal[[RequestOutcome]] = Signal()
        """Sent for each request."""
        self.ended: Signal[[Build]] = Signal()

    def _make_run(self, build: Build) -> BuildRun:
        return BuildRun(
            build,
            store=self._store,
            backend=self._backend,
            fetcher=self._fetcher,
            limits=RunLimits(
                time_seconds=self.time_limit_seconds,
                silence_seconds=self.silence_limit_seconds,
                log_characters=self.max_log_characters,
                reuse_days=self.reuse_days,
            ),
            checkout=Path(self.work_dir) / build.id,
            explain=self.explainer.explain,
            on_end=self._ended,
            log=self.log,
        )

    # --- Life of the service -------------------------------------------------------------

    async def start(self) -> None:
        """Resume unfinished builds. Raises ConfigurationError for a wrong rule."""
        await self.explainer.start(self.failure_rules)
        for error in await asyncio.to_thread(_set_aside, Path(self.work_dir)):
            self.log.warning("Can't remove from Builds.work_dir: %s", error)
        for build in await self._store.list_active_builds():
            if build.state is BuildState.RUNNING:
                build = await self._take_up(build)
            self._waiting[build.id] = self._make_run(build)
        self._dispatch()

    async def _take_up(self, build: Build) -> Build:
        """Queue an interrupted build again."""
        seq = build.lines + 1
        text = "The service was restarted. This build is queued again."
        await self._store.append_events(build.id, [BuildEvent(seq, utc_now(), Phase.WAITING, text)])
        self.log.info("Build %s is queued again after a restart", build.id)
        return await self._store.update_build(build.id, {"state": BuildState.PENDING})

    async def stop(self) -> None:
        """Stop without ending builds; the next start resumes them."""
        self._stopping = True
        self._positions.close()
        await self._tasks.close()
        for run in self._waiting.values():
            run.feed.close()
        self._waiting.clear()

    # --- Asking for a build ---------------------------------------------------------------

    async def prepare(
        self, resolved: Resolved, options: Mapping[str, Any], *, user: User, force: bool = False
    ) -> NewBuildRequest:
        """Prepare a build request, which may reuse a finished build.

        Hold `asking` until the request is stored and passed to `accept`. Raises LimitReached,
        NotAllowed.
        """
        self._rules.require(user, resolved)
        await self._limits.see(user)
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
            backend=self._backend.name,
            state=BuildState.PENDING,
            phase=Phase.WAITING,
            created=now,
            created_by=user.name,
        )
        active = self.find_active(key)
        reuse = None if force or active else await self._history.find(key)
        if reuse is None and not active:
            self._check_limit(user)
        return NewBuildRequest(
            build,
            by=user.name,
            at=now,
            reuse=reuse,
            force=force,
            default_branch=resolved.default_branch,
        )

    async def is_built(self, resolved: Resolved, options: Mapping[str, Any]) -> bool:
        """Say whether the image exists."""
        return await self._history.find(self._key(resolved, options)) is not None

    def _key(self, resolved: Resolved, options: Mapping[str, Any]) -> str:
        return content_key(
            clone_url=resolved.clone_url,
            resolved_ref=resolved.resolved_ref,
            options=options,
            fingerprint=self._backend.fingerprint(),
        )

    def find_active(self, base_key: str) -> Build | None:
        """Return the unfinished build that a request would join."""
        runs = (*self._waiting.values(), *self._running.values())
        found = (r.build for r in runs if r.build.base_key == base_key and not r.ending)
        return next(found, None)

    def _check_limit(self, user: User) -> None:
        used = self.count_active(user.name)
        limit = self._limits.value(LimitName.BUILDS, user.name)
        if used >= limit:
            message = Message(
                "You have reached your limit of waiting and running builds (%(used)s of "
                "%(most)s). Wait for one to end, or cancel one.",
                used=used,
                most=limit,
            )
            raise self._limits.reached(LimitName.BUILDS, user.name, message, used=used)

    def count_active(self, user_name: str) -> int:
        """Count a user's unfinished builds."""
        runs = (*self._waiting.values(), *self._running.values())
        return sum(run.build.created_by == user_name for run in runs)

    def accept(self, build: Build) -> None:
        """Queue a stored build."""
        self.forget_people()
        known = build.id in self._waiting or build.id in self._running
        if build.state is BuildState.PENDING and not known:
            self.answered.send(RequestOutcome.BEGUN)
            self._waiting[build.id] = self._make_run(build)
            self._dispatch()
        else:
            finished = build.state.finished
            self.answered.send(RequestOutcome.REUSED if finished else RequestOutcome.JOINED)

    # --- Looking at a build ---------------------------------------------------------------

    async def fetch_build(self, build_id: str) -> Build:
        """Return a build. Raises NotFound."""
        if (run := self._find_run(build_id)) is not None:
            return replace(run.build, lines=run.lines)
        build = await self._store.fetch_build(build_id)
        if build is None:
            raise NotFound("There is no such build.")
        return build

    def _find_run(self, build_id: str) -> BuildRun | None:
        run = self._waiting.get(build_id) or self._running.get(build_id)
        return None if run is None or run.ending else run

    def queue(self) -> QueueState:
        """Return unfinished builds."""
        running = [run.build for run in self._running.values() if not run.ending]
        waiting = [run.build for run in self._waiting.values() if not run.ending]
        in_order = buildqueue.in_order(waiting, running, share_of=self._share_of)
        return QueueState(tuple(running), tuple(in_order))

    def _share_of(self, person: str) -> int:
        return self._limits.value(LimitName.SHARE, person)

    async def progress(self, build: Build) -> BuildProgress:
        """Return the current progress."""
        over = build.state.finished
        run = self._find_run(build.id)
        expected = None if over else await self._expected_seconds(build, run)
        return BuildProgress(
            queue_position=self._positions.find(build.id),
            expected_seconds=expected,
            elapsed_seconds=_elapsed(build),
            people=0 if over else await self._people.get(build.id),
            step=run.step if run else "",
        )

    async def expected_seconds(self, build: Build) -> float | None:
        """Return how long such a build takes, from earlier ones of its repository."""
        return await self._history.expected_seconds(repository_key(build.spec), build.backend)

    async def _expected_seconds(self, build: Build, run: BuildRun | None) -> float | None:
        """Return one estimate for as long as the build lives, whatever ends meanwhile."""
        if run is not None and run.expected_seconds is not None:
            return run.expected_seconds
        expected = await self.expected_seconds(build)
        if run is not None:
            run.expected_seconds = expected
        return expected

    def forget_people(self) -> None:
        """Note that people joined or left builds."""
        self._people.forget_all()

    async def fetch_log(
        self, build_id: str, *, after: int = 0, limit: int = 5000
    ) -> tuple[BuildEvent, ...]:
        """Return a part of the log."""
        return await self._store.fetch_events(build_id, after=after, limit=limit)

    async def watch(self, build_id: str, *, after: int = 0) -> AsyncIterator[EventBatch | Build]:
        """Yield a build at every change, and each new line once.

        The finished Build is last, unless the service stops first. Raises NotFound.
        """
        yield await self.fetch_build(build_id)
        while True:
            # Also a build that is ending: its last lines are not stored yet.
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
        finished = await self._store.fetch_build(build_id)
        if finished is not None and finished.state.finished:
            yield finished

    # --- Ending a build from outside ------------------------------------------------------

    async def cancel(
        self,
        build_id: str,
        *,
        user: User,
        environment_id: str | None = None,
        of: str | None = None,
    ) -> Build:
        """Withdraw a user's requests; the build ends if nobody else wants it.

        With an environment, withdraw only its request. An admin ends the build for everybody, or
        with `of` only for this person. No effect on an ended build.
        """
        build = await self.fetch_build(build_id)
        if build.state.finished:
            return build

        def end(left: int) -> Reason | None:
            # Other users read this too, so it names nobody.
            by_admin = Message("Cancelled by an administrator.")
            message = by_admin if left or of else Message("Cancelled.")
            for_all = user.admin and of is None
            return self._cancelled(build_id, message) if for_all or not left else None

        ended, left = await self._withdraw(build_id, of or user.name, end, environment_id)
        if ended:
            self.log.info("Build %s was cancelled by %s", build_id, user.name)
            self._audit.note(
                user.name,
                Action.BUILD_CANCEL,
                build_id,
                always=user.admin,
                repository=build.label,
                of=build.created_by,
                for_everybody=left > 0,
            )
        return await self.fetch_build(build_id)

    def _cancelled(self, build_id: str, message: Message) -> Reason:
        run = self._find_run(build_id)
        note = run.cancel_note if run is not None else ""
        return Reason("cancelled", Message.joined(message, note))

    async def _withdraw(
        self,
        build_id: str,
        owner: str | None,
        end: Callable[[int], Reason | None],
        environment_id: str | None = None,
    ) -> tuple[bool, int]:
        """Return whether the build ended, and how many users want it."""
        build, left = await self._store.withdraw_requests(
            build_id, owner=owner, environment_id=environment_id, at=utc_now(), end=end
        )
        self.forget_people()
        run = self._find_run(build_id)
        if run is None:
            return False, left
        if build.state is BuildState.CANCELLED:
            await run.cancel(build)
            return True, left
        run.belong_to(build.created_by)
        return False, left

    def matched_by(self, rule: Rule) -> tuple[Build, ...]:
        """Return unfinished builds that match a rule."""
        queue = self.queue()
        return self._rules.matched_by(rule, (*queue.running, *queue.waiting))

    async def cancel_matched(self, rule: Rule, *, user: User) -> tuple[Build, ...]:
        """Cancel builds that match a rule; those of a banned person go on for others who wait."""
        of = rule.pattern if rule.kind is RuleKind.BAN_PERSON else None
        matched = self.matched_by(rule)
        return tuple([await self.cancel(build.id, user=user, of=of) for build in matched])

    async def release(self, build_id: str) -> None:
        """End a build that nobody wants."""
        if self._find_run(build_id) is not None:
            message = Message("Cancelled because nobody is waiting for this build.")
            await self._withdraw(
                build_id, None, lambda left: None if left else self._cancelled(build_id, message)
            )

    # --- The queue --------------------------------------------------------------------------

    def _dispatch(self) -> None:
        if self._stopping:
            return
        for build in self._next_builds():
            run = self._waiting.pop(build.id)
            self._running[build.id] = run
            self._tasks.spawn(self._run(run), name=f"build {build.id}")
        self._positions.change()

    def _next_builds(self) -> list[Build]:
        if self._drain.state is not None:
            return []
        return buildqueue.next_builds(
            [run.build for run in self._waiting.values()],
            [run.build for run in self._running.values()],
            max_running=self.max_running,
            max_per_person=lambda person: self._limits.value(LimitName.RUNNING, person),
            share_of=self._share_of,
            busy_keys=self._busy_keys,
        )

    def _tell_position(self, build_id: str) -> None:
        if (run := self._find_run(build_id)) is not None:
            run.feed.publish(run.build)

    async def _run(self, run: BuildRun) -> None:
        set_ids(build=run.build.id)
        self._busy_keys.add(run.build.key)
        try:
            refusal = self._rules.judge(run.build, run.build.created_by)
            if refusal is not None and refusal.code == PERSON_BANNED:
                others = await self._store.count_people(run.build.id) > 1
                refusal = self._rules.judge(run.build) if others else refusal
            if refusal is None:
                await run.run()
            else:  # a rule that is newer than the request
                self._rules.note_hit(run.build.created_by, run.build, refusal)
                await run.refuse(Reason(refusal.code, refusal.message))
        finally:
            self._busy_keys.discard(run.build.key)
            self._running.pop(run.build.id, None)
            self._dispatch()

    def _ended(self, build: Build) -> None:
        """Remove an ended build; its run calls this before watchers know."""
        self._waiting.pop(build.id, None)
        self._history.forget(build)
        self.log.info("Build %s ended: %s", build.id, build.state)
        self.ended.send(build)
        self._dispatch()


def _elapsed(build: Build) -> float | None:
    if build.started is not None and build.finished is None:
        return (utc_now() - build.started).total_seconds()
    return build.duration_seconds


def _set_aside(folder: Path) -> list[OSError]:
    """Empty or create a folder; what was in it is removed in the background. Return errors."""
    trash = Trash(folder / ".deleted")
    trash.folder.mkdir(parents=True, exist_ok=True)
    errors = []
    for path in folder.iterdir():
        try:
            if path != trash.folder:
                trash.take(path)
        except OSError as error:
            errors.append(error)
    trash.empty_later()
    return errors
