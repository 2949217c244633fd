"""One build: begin, fetch, assess, build, end.

The first end counts: the backend's, a limit's or a user's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import packages
from jupyterhub_binder.builds.explain.service import Explain
from jupyterhub_binder.builds.log import BuildLog, EventBatch
from jupyterhub_binder.builds.reuse import digest_of, find_reusable
from jupyterhub_binder.errors import BinderError, BuildFailed
from jupyterhub_binder.model import (
    BackendOutput,
    Build,
    BuildEvent,
    BuildJob,
    BuildState,
    Checkpoint,
    Finding,
    Image,
    Inventory,
    Line,
    Phase,
    Reason,
    Recipe,
    Severity,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.retry import keep_trying
from jupyterhub_binder.utils.concurrency import Broadcast
from jupyterhub_binder.utils.text import storable
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.trees import try_to_remove

_MAX_ATTEMPTS = 3
_MAX_LINES_KEPT = 2_000
"""Lines in memory for watchers; slower ones read the store."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of a run."""

    time_seconds: float
    silence_seconds: float
    log_characters: int
    reuse_days: float = 0


class BuildRun:
    """A waiting or running build."""

    def __init__(
        self,
        build: Build,
        *,
        store: Store,
        backend: BuildBackend,
        fetcher: Fetcher,
        limits: RunLimits,
        checkout: Path,
        explain: Explain,
        on_end: Callable[[Build], None],
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.build = build
        self.feed: Broadcast[EventBatch | Build] = Broadcast(
            max_weight=_MAX_LINES_KEPT, weigh=_lines_of
        )
        self.step = ""
        """As in `Line`."""
        self.expected_seconds: float | None = None
        """As people were first told."""
        self.ending = False
        self._store = store
        self._backend = backend
        self._maker = backend.maker(build.backend)
        """The backend that makes the image, once it is chosen."""
        self._fetcher = fetcher
        self._limits = limits
        self._checkout = checkout
        self._explain = explain
        self._recipe = Recipe()
        self._on_end = on_end
        self._log = log
        self._build_log: BuildLog | None = None
        self._task: asyncio.Task[Any] | None = None
        self._verdict: Reason | None = None
        self._heard = 0.0
        self._packages_from: datetime | None = None
        """Of an earlier build's image."""

    @property
    def lines(self) -> int:
        """The log lines so far."""
        return self._build_log.last_seq if self._build_log else self.build.lines

    async def run(self) -> None:
        """Build the image and clean up.

        Cancelling this task, as when the service stops, does not end the build.
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
            await self._end(BuildState.FAILED, reason_of(error))
        except Exception:  # noqa: BLE001 - a backend may fail its build, never the service
            self._log.exception("Build %s failed because of a bug", self.build.id)
            await self._end(BuildState.FAILED, _BUG)
        finally:
            if not self.ending:
                if self._build_log is not None:
                    await self._build_log.leave()
                self.feed.close()
            await self._remove_checkout()

    async def _remove_checkout(self) -> None:
        if error := await asyncio.to_thread(try_to_remove, self._checkout):
            self._log.warning("Can't remove the checkout %s: %s", self._checkout, error)

    @property
    def cancel_note(self) -> str:
        """The backend's note on a cancelled build."""
        return self._maker.cancel_note if self._build_log is not None else ""

    async def cancel(self, ended: Build) -> None:
        """Stop a build that the store has cancelled; clean-up continues later.

        The store comes first, because a stopped build may look successful.
        """
        if await self._end(BuildState.CANCELLED, ended.reason) and self._task is not None:
            self._task.cancel()

    def belong_to(self, person: str) -> None:
        """Count the build for another user."""
        if self.build.created_by != person:
            self.build = replace(self.build, created_by=person)

    async def refuse(self, reason: Reason) -> None:
        """Fail a build before it begins."""
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
            raise BuildFailed("Cancelled.")  # meanwhile; the store has the reason
        self.build = begun
        self._build_log = BuildLog(
            lines=self.build.lines,
            keep=lambda events: self._store.append_events(build.id, events),
            show=self._show,
            max_characters=self._limits.log_characters,
            log=self._log,
        )
        self.feed.publish(self.build)
        self._log.info("Build %s begins: %s", build.id, build.label)
        if self.build.attempts > _MAX_ATTEMPTS:
            raise BuildFailed(
                "The service stopped %(times)s times during this build, so the build is not "
                "retried automatically. Build again if you think that the build did not cause "
                "this.",
                times=_MAX_ATTEMPTS,
                code="too_many_attempts",
            )

    async def _make(self) -> Image:
        await self._choose_maker()
        if (name := await self._maker.find_image(self.build.key)) is not None:
            # An earlier run made it, but stopped before it was recorded.
            await self._say(Phase.BUILDING, "The image already exists.")
            return Image(name)
        recipe, checkout = Recipe(), None
        if self._maker.needs_checkout:
            recipe, checkout = await self._fetch(), self._checkout
            self._recipe = recipe
            await self._tell_findings(recipe)
            if (image := await self._reuse(recipe)) is not None:
                return image
        return await self._follow(BuildJob(self.build, recipe, checkout))

    async def _choose_maker(self) -> None:
        """Choose among several backends by the recipe, once; a restart keeps the choice.

        Raises BuildFailed if none can serve it.
        """
        if self._maker in self._backend.makers:
            if self._maker.start_failure:
                raise BuildFailed(self._maker.not_now, code="backend_unavailable")
            return
        recipe, build = await self._peek(), self.build
        choice = await asyncio.to_thread(
            self._backend.choose, recipe, build.options, build.spec.provider
        )
        problems = (*(recipe.problems if recipe else ()), *choice.assessment.problems)
        if problems:
            raise BuildFailed(problems[0].message, code=problems[0].code)
        await self._note({"backend": choice.backend.name})
        self._maker = choice.backend
        why = f"{choice.why}: " if choice.why else ""
        await self._say(Phase.FETCHING, f"{why}{choice.backend.made}.")
        if recipe is not None and not self._maker.needs_checkout:
            await self._tell((*recipe.findings, *choice.assessment.findings))

    async def _peek(self) -> Recipe | None:
        """Read only the configuration files; None if only a backend may reach the repository."""
        resolved = self.build.resolved
        try:
            async with self._fetcher.peek(resolved) as peek:
                read = self._fetcher.read_recipe
                return await asyncio.to_thread(read, peek.path, resolved)
        except BinderError:
            if all(maker.needs_checkout for maker in self._backend.makers):
                raise
            return None

    async def _tell_findings(self, recipe: Recipe) -> None:
        """Log warnings. Raises BuildFailed for a problem."""
        assess = self._maker.assess
        assessment = await asyncio.to_thread(assess, recipe, self.build.options)
        await self._tell((*recipe.findings, *assessment.findings))

    async def _tell(self, findings: Iterable[Finding]) -> None:
        for finding in dict.fromkeys(findings):
            if finding.severity is Severity.PROBLEM:
                raise BuildFailed(finding.message, code=finding.code)
            if finding.severity is Severity.WARNING:
                await self._say(Phase.FETCHING, f"Warning: {finding.message}")

    async def _fetch(self) -> Recipe:
        build = self.build
        await self._say(Phase.FETCHING, f"Fetching {build.label} at {build.resolved_ref}")
        commit = await self._fetcher.checkout(
            build.resolved, self._checkout, on_line=lambda text: self._add(Phase.FETCHING, text)
        )
        await self._say(Phase.FETCHING, f"Fetched {commit.short} “{commit.subject}”")
        return await asyncio.to_thread(self._fetcher.read_recipe, self._checkout, build.resolved)

    async def _reuse(self, recipe: Recipe) -> Image | None:
        """Return the image of an earlier build with the same recipe."""
        digest, reuse = await asyncio.to_thread(digest_of, self._maker, self.build, recipe)
        if digest is None:
            return None
        # Stored first, so that clean-up knows that somebody may want the image.
        await self._note({"recipe_digest": digest})
        if self.build.forced or not self._limits.reuse_days:
            return None
        found = await find_reusable(
            self._store,
            self._maker,
            digest,
            clone_url=self.build.clone_url,
            serves=self._fetcher.serves,
            open_versions=reuse.open_versions,
            max_days=self._limits.reuse_days,
            now=utc_now(),
        )
        if (old := found.too_old) is not None and old.packages_from is not None:
            await self._say(
                Phase.FETCHING,
                f"The recipe is the same as in build {old.id}, but it leaves versions open and "
                f"that build is from {old.packages_from:%Y-%m-%d}. Versions are chosen again.",
            )
        if (earlier := found.build) is None or earlier.image is None:
            return None
        await self._say(
            Phase.BUILDING,
            f"The recipe is the same as in build {earlier.id}; its image is used. No build was "
            "needed.",
        )
        await self._maker.keep_files(self.build, self._checkout)
        await self._note({"reused_key": earlier.image_key})
        self._packages_from = earlier.packages_from
        return Image(earlier.image, earlier.size_bytes)

    async def _follow(self, job: BuildJob) -> Image:
        made = cast("AsyncGenerator[BackendOutput, None]", self._maker.build(job))
        async with aclosing(made) as outputs:
            async for output in outputs:
                match output:
                    case Line(phase, text, step):
                        await self._say(phase, text)
                        self._note_step(step or (self.step if phase is Phase.BUILDING else ""))
                    case Checkpoint(data):
                        await self._update({"checkpoint": dict(data)})
                    case Inventory():
                        await self._keep_inventory(output)
                    case Image():
                        return output
        raise BuildFailed(
            "The backend ended without an image and without a reason. Tell your administrator."
        )

    async def _keep_inventory(self, inventory: Inventory) -> None:
        tools = {**inventory.tools, "jupyterhub-binder": __version__}
        clean = packages.clean(replace(inventory, tools=tools))
        await keep_trying(lambda: self._store.put_inventory(self.build.id, clean), self._log)

    def _note_step(self, step: str) -> None:
        if step != self.step:
            self.step = step
            self.feed.publish(self.build)

    async def _note(self, changes: Mapping[str, Any]) -> None:
        noted = await self._update(changes)
        self.build = replace(noted, phase=self.build.phase)

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
        """Stop a build that exceeds a limit."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.time_seconds
        while True:
            silent_at = self._heard + self._limits.silence_seconds
            wait_seconds = min(deadline, silent_at) - loop.time()
            if wait_seconds <= 0:
                break
            await asyncio.sleep(wait_seconds)
        self._verdict = (
            Reason("time_limit", _too_long(self._limits.time_seconds))
            if loop.time() >= deadline
            else Reason("silence_limit", _too_quiet(self._limits.silence_seconds))
        )
        if self._task is not None:
            self._task.cancel()

    # --- The end --------------------------------------------------------------------------

    async def _end(
        self, state: BuildState, reason: Reason | None = None, *, image: Image | None = None
    ) -> bool:
        """End the build in the store, then for watchers; return False if not the first."""
        if self.ending:
            return False
        self.ending = True
        await asyncio.shield(asyncio.ensure_future(self._record(state, reason, image)))
        return True

    async def _record(self, state: BuildState, reason: Reason | None, image: Image | None) -> None:
        try:
            try:
                await self._keep_end(state, reason, image)
            except Exception:  # noqa: BLE001 - the build ends even if that cannot be stored
                self._log.exception("The result of build %s could not be saved", self.build.id)
                await self._keep_end(BuildState.FAILED, _BUG, None)
        finally:
            self._on_end(self.build)
            self.feed.publish(self.build)
            self.feed.close()

    async def _keep_end(
        self, state: BuildState, reason: Reason | None, image: Image | None
    ) -> None:
        if reason is not None and state is BuildState.FAILED:
            reason = await self._explained(reason)
        if reason is not None:
            message = Message.verbatim(reason.message).map(storable)
            if (plain := storable(str(message))) != message:  # the template itself is at fault
                message = Message.verbatim(plain)
            reason = replace(reason, message=message)
        last = await self._last_event(state, reason)
        if reason is not None and state is BuildState.FAILED:
            reason = replace(reason, seq=reason.seq or last.seq)
        self.build, last = await keep_trying(
            lambda: self._store.finish_build(
                self.build.id,
                last,
                state=state,
                at=(now := utc_now()),
                image=image.name if image else None,
                size_bytes=image.size_bytes if image else None,
                packages_from=(self._packages_from or now) if image else None,
                reason=reason,
            ),
            self._log,
        )
        self.feed.publish(EventBatch((last,)))

    async def _explained(self, reason: Reason) -> Reason:
        """Look for the cause in the log."""
        if self._build_log is not None:
            await self._build_log.close()
        build = replace(self.build, lines=self.lines)
        return await self._explain(build, reason, self._recipe, self._checkout)

    async def _last_event(self, state: BuildState, reason: Reason | None) -> BuildEvent:
        phase = Phase.BUILT if state is BuildState.BUILT else Phase.FAILED
        text = reason.message if reason else "Built."
        if self._build_log is None:
            return BuildEvent(self.build.lines + 1, utc_now(), phase, text)
        await self._build_log.close()
        return self._build_log.last_event(phase, text)


_BUG = Reason(
    "internal_error",
    Message(
        "The build failed because of an error in the service, not in the repository. Give your "
        "administrator this build's id; the service's log has the details."
    ),
)


def _too_long(seconds: float) -> Message:
    return Message(
        "The build took longer than %(time)s, the limit of this hub. Make the environment "
        "smaller, or ask an administrator for more time.",
        time=_duration(seconds),
    )


def _too_quiet(seconds: float) -> Message:
    return Message(
        "The build was stopped because it printed nothing for %(time)s. Build again if you "
        "think that it was only slow.",
        time=_duration(seconds),
    )


def _lines_of(item: EventBatch | Build) -> int:
    return len(item.events) if isinstance(item, EventBatch) else 1


def reason_of(error: BinderError) -> Reason:
    """Return why a build failed, as its backend says it."""
    seq, hint = error.detail.get("seq"), error.detail.get("hint", "")
    seq = seq if isinstance(seq, int) else None
    return Reason(error.error_code, error.message, seq, hint=hint if isinstance(hint, str) else "")


def _duration(seconds: float) -> Message:
    if seconds >= 120:
        return Message.counted("%(num)s minute", "%(num)s minutes", round(seconds / 60, 1))
    return Message.counted("%(num)s second", "%(num)s seconds", round(seconds, 1))
