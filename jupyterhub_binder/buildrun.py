"""One build on its way: begun, fetched, assessed, made, ended; its log and its limits.

Whoever ends a build first (its backend, a limit, a person) decides how it ended. What it
waits for before it begins is the business of `builds`.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from jupyterhub_binder.aio import Broadcast
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.buildlog import BuildLog, EventBatch, keep_trying
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import BinderError, BuildFailed
from jupyterhub_binder.escapes import storable
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.model import (
    BackendOutput,
    Build,
    BuildEvent,
    BuildJob,
    BuildState,
    Checkpoint,
    Image,
    Line,
    Phase,
    Reason,
    Recipe,
)
from jupyterhub_binder.recipe import read_recipe
from jupyterhub_binder.store import Store

_MOST_ATTEMPTS = 3
_MOST_LINES_KEPT = 2_000
"""Lines of a build that are held in memory for its watchers; who is further behind reads the store."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run may take."""

    time_seconds: float
    silence_seconds: float
    log_characters: int


class BuildRun:
    """A build as long as it waits or runs."""

    def __init__(
        self,
        build: Build,
        *,
        store: Store,
        backend: BuildBackend,
        fetcher: Fetcher,
        limits: RunLimits,
        checkout: Path,
        on_end: Callable[[Build], None],
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.build = build
        self.feed: Broadcast[EventBatch | Build] = Broadcast(
            most_weight=_MOST_LINES_KEPT, weigh=_lines_of
        )
        self.position: int | None = None
        """Its place in the queue; None once it runs."""
        self.ending = False
        """Set by whoever ends it first; all others find it ended."""
        self._store = store
        self._backend = backend
        self._fetcher = fetcher
        self._limits = limits
        self._checkout = checkout
        self._on_end = on_end
        self._log = log
        self._build_log: BuildLog | None = None
        self._task: asyncio.Task[Any] | None = None
        self._verdict: Reason | None = None
        self._heard = 0.0

    @property
    def lines(self) -> int:
        """Return how many lines its log has."""
        return self._build_log.last_seq if self._build_log else self.build.lines

    async def run(self) -> None:
        """Make the image; leave nothing behind but the log and the image.

        Returns when the build has ended in whatever way. When it is cancelled from outside,
        as the service does when it stops, the build is not ended.
        """
        self._task = asyncio.current_task()
        try:
            image = await self._make_within_limits()
            await self._end(BuildState.BUILT, image=image)
        except asyncio.CancelledError:
            if self._verdict is not None:
                await self._end(BuildState.FAILED, self._verdict)
            elif not self.ending:
                raise
        except BinderError as error:
            await self._end(BuildState.FAILED, _reason(error))
        except Exception:  # noqa: BLE001 - whatever a backend raises ends its build, never the service
            self._log.exception("Build %s failed through a bug", self.build.id)
            await self._end(BuildState.FAILED, _BUG)
        finally:
            if not self.ending:
                if self._build_log is not None:
                    await self._build_log.leave()
                self.feed.close()
            await asyncio.to_thread(shutil.rmtree, self._checkout, ignore_errors=True)

    @property
    def cancel_note(self) -> str:
        """Return what people should know of a cancel, as its backend has it."""
        return self._backend.cancel_note if self._build_log is not None else ""

    async def cancel(self, ended: Build) -> None:
        """Stop what the store has ended as cancelled; clean-up goes on after this returns.

        It is recorded first, since what stops may look like success from afar.
        """
        if await self._end(BuildState.CANCELLED, ended.reason) and self._task is not None:
            self._task.cancel()

    def belong_to(self, person: str) -> None:
        """Count as another one's from now on."""
        if self.build.created_by != person:
            self.build = replace(self.build, created_by=person)

    async def refuse(self, reason: Reason) -> None:
        """End it as failed before it began."""
        await self._end(BuildState.FAILED, reason)

    # --- Making ---------------------------------------------------------------------------

    async def _make_within_limits(self) -> Image:
        watchdog: asyncio.Task[None] | None = None
        try:
            await self._begin()
            watchdog = asyncio.create_task(self._watch_over(), name=f"limits {self.build.id}")
            return await self._make()
        finally:
            if watchdog is not None:
                watchdog.cancel()

    async def _begin(self) -> None:
        build = self.build
        self._listen()
        begun = await self._update(
            {
                "state": BuildState.RUNNING,
                "started": build.started or utc_now(),
                "attempts": build.attempts + 1,
            }
        )
        if begun.state.finished:
            raise BuildFailed("Cancelled.")  # in between; the store knows why
        self.build = begun
        self._build_log = BuildLog(
            lines=self.build.lines,
            keep=lambda events: self._store.append_events(build.id, events),
            show=self._show,
            most_characters=self._limits.log_characters,
            log=self._log,
        )
        self.feed.publish(self.build)
        self._log.info("Build %s begins: %s", build.id, build.label)
        if self.build.attempts > _MOST_ATTEMPTS:
            raise BuildFailed(
                f"The service stopped {_MOST_ATTEMPTS} times while it made this build, so it "
                "is not tried again by itself. Build it again if you think it was chance.",
                code="too_many_attempts",
            )

    async def _make(self) -> Image:
        """Fetch, assess, build: return the image, or raise a BinderError."""
        build = self.build
        async with self._backend.expecting(build):
            if (name := await self._backend.find_image(build.key)) is not None:
                # An earlier run made it, and did not live to say so.
                await self._say(Phase.BUILDING, "The image is there already.")
                return Image(name)
            recipe, checkout = Recipe(), None
            if self._backend.needs_checkout:
                recipe, checkout = await self._fetch(), self._checkout
                if problems := self._backend.assess(recipe, build.options).problems:
                    raise BuildFailed(problems[0].message, code=problems[0].code)
            return await self._follow(BuildJob(build, recipe, checkout))

    async def _fetch(self) -> Recipe:
        build = self.build
        await self._say(Phase.FETCHING, f"Fetching {build.label} at {build.resolved_ref}")
        commit = await self._fetcher.checkout(
            build.resolved, self._checkout, on_line=lambda text: self._add(Phase.FETCHING, text)
        )
        await self._say(Phase.FETCHING, f"Fetched {commit.short} “{commit.subject}”")
        return await asyncio.to_thread(read_recipe, self._checkout)

    async def _follow(self, job: BuildJob) -> Image:
        """Take in what the backend yields, until it yields the image."""
        made = cast("AsyncGenerator[BackendOutput, None]", self._backend.build(job))
        async with aclosing(made) as outputs:
            async for output in outputs:
                match output:
                    case Line(phase, text):
                        await self._say(phase, text)
                    case Checkpoint(data):
                        await self._update({"checkpoint": dict(data)})
                    case Image():
                        return output
        raise BuildFailed("The backend ended without an image and without a reason.")

    async def _update(self, changes: Mapping[str, Any]) -> Build:
        return await keep_trying(
            lambda: self._store.update_build(self.build.id, changes), self._log
        )

    # --- The log and the limits -----------------------------------------------------------

    def _listen(self) -> None:
        self._heard = asyncio.get_running_loop().time()

    def _add(self, phase: Phase, text: str) -> None:
        self._listen()
        if self._build_log is not None:
            self._build_log.add(phase, text)

    async def _say(self, phase: Phase, text: str) -> None:
        self._listen()
        if self._build_log is not None:
            await self._build_log.write(phase, text)

    def _show(self, batch: EventBatch) -> None:
        self.feed.publish(batch)
        phase = batch.events[-1].phase
        if phase is not self.build.phase and not self.ending:
            self.build = replace(self.build, phase=phase)
            self.feed.publish(self.build)

    async def _watch_over(self) -> None:
        """Stop a build that takes too long, or says nothing for too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.time_seconds
        while True:
            silent_at = self._heard + self._limits.silence_seconds
            wait_seconds = min(deadline, silent_at) - loop.time()
            if wait_seconds <= 0:
                break
            await asyncio.sleep(wait_seconds)
        self._verdict = (
            Reason("time_limit", _TOO_LONG.format(_duration(self._limits.time_seconds)))
            if loop.time() >= deadline
            else Reason("silence_limit", _TOO_QUIET.format(_duration(self._limits.silence_seconds)))
        )
        if self._task is not None:
            self._task.cancel()

    # --- The end --------------------------------------------------------------------------

    async def _end(
        self, state: BuildState, reason: Reason | None = None, *, image: Image | None = None
    ) -> bool:
        """End it in the store, then for its watchers; whoever comes second does nothing.

        Returns whether this was the first.
        """
        if self.ending:
            return False
        self.ending = True
        await asyncio.shield(asyncio.ensure_future(self._record(state, reason, image)))
        return True

    async def _record(self, state: BuildState, reason: Reason | None, image: Image | None) -> None:
        try:
            try:
                await self._keep_end(state, reason, image)
            except Exception:  # noqa: BLE001 - an end that cannot be kept is an end all the same
                self._log.exception("The end of build %s cannot be kept as it was", self.build.id)
                await self._keep_end(BuildState.FAILED, _BUG, None)
        finally:
            self._on_end(self.build)
            self.feed.publish(self.build)
            self.feed.close()

    async def _keep_end(
        self, state: BuildState, reason: Reason | None, image: Image | None
    ) -> None:
        if reason is not None:
            reason = replace(reason, message=storable(reason.message))
        last = await self._last_event(state, reason)
        if reason is not None and state is BuildState.FAILED:
            reason = replace(reason, seq=reason.seq or last.seq)
        self.build, last = await keep_trying(
            lambda: self._store.finish_build(
                self.build.id,
                last,
                state=state,
                at=utc_now(),
                image=image.name if image else None,
                size_bytes=image.size_bytes if image else None,
                reason=reason,
            ),
            self._log,
        )
        self.feed.publish(EventBatch((last,)))

    async def _last_event(self, state: BuildState, reason: Reason | None) -> BuildEvent:
        phase = Phase.BUILT if state is BuildState.BUILT else Phase.FAILED
        text = reason.message if reason else "Built."
        if self._build_log is None:
            return BuildEvent(self.build.lines + 1, utc_now(), phase, text)
        await self._build_log.close()
        return self._build_log.last_event(phase, text)


_BUG = Reason(
    "internal_error",
    "The build failed inside the service, not in the repository. Tell the hub's "
    "administrators this build's id; their log has the details.",
)
_TOO_LONG = (
    "The build took longer than {}, the limit of this hub. Make the environment smaller, or "
    "ask the hub's administrators for more time."
)
_TOO_QUIET = (
    "The build said nothing for {}, so it was taken to hang. Build it again if you think it "
    "was only slow."
)


def _lines_of(item: EventBatch | Build) -> int:
    return len(item.events) if isinstance(item, EventBatch) else 1


def _reason(error: BinderError) -> Reason:
    seq = error.detail.get("seq")
    return Reason(error.error_code, error.message, seq if isinstance(seq, int) else None)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
