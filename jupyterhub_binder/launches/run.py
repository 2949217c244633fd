"""One launch: wait for the build, start the server, report progress.

Keeps the user's token in memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import (
    BinderError,
    BuildFailed,
    Conflict,
    HubError,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.launches.reports import LaunchReports
from jupyterhub_binder.model import Build, BuildState, Launch, LaunchState, Phase, Reason
from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.retry import keep_trying
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.log_context import set_ids
from jupyterhub_binder.utils.text import without_escapes
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import split_address

BUILD_SHARE = 50
"""Percent of progress for builds."""


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """What every launch needs."""

    store: Store
    builds: Builds
    environments: Environments
    hub: HubClient
    tasks: TaskSet
    log: logging.Logger | logging.LoggerAdapter[Any]
    build_limit_seconds: float
    start_limit_seconds: float
    on_end: Callable[[Launch], None]
    reports: LaunchReports


class LaunchRun:
    """An unfinished launch."""

    def __init__(
        self,
        launch: Launch,
        context: LaunchContext,
        *,
        restart: bool = False,
        client_ip: str = "",
        origin: LaunchOrigin | None = None,
    ) -> None:
        self.launch = launch
        self.client_ip = client_ip
        self._origin = origin or LaunchOrigin()
        self._context = context
        self._restart = restart
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def place(self) -> tuple[str, str]:
        """User and server name."""
        return self.launch.user, self.launch.server_name

    @property
    def finished(self) -> bool:
        """Whether it ended."""
        return self.launch.state.finished

    async def watch(self) -> AsyncIterator[Launch]:
        """Yield changes until it has finished."""
        while True:
            changed = self._changed
            yield self.launch
            if self.finished:
                return
            await changed.wait()

    # --- Carrying on ----------------------------------------------------------------------

    def go_on(self, token: str) -> None:
        """Continue with the user's token. Idempotent."""
        if self._task is None and not self.finished:
            self._carry_on(lambda: self._run(token))

    def settle(self) -> None:
        """Find out how a start ended while the service was down."""
        self._carry_on(self._settle)

    async def cancel(self, token: str, why: Message | None = None) -> None:
        """Cancel the launch and stop its server."""
        was_starting = self.launch.state is LaunchState.STARTING
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.finished:
            return
        message = why or Message("Cancelled.")
        if was_starting:
            try:
                await self._context.hub.stop_server(token, *self.place)
            except BinderError as error:
                message = Message(
                    "The launch was cancelled, but the server could not be stopped: %(why)s",
                    why=error.message,
                )
        await self._finish(replace(self.launch, state=LaunchState.CANCELLED, message=message))

    def _carry_on(self, work: Callable[[], Awaitable[None]]) -> None:
        name = f"launch {self.launch.id}"
        self._task = self._context.tasks.spawn(self._guard(work), name=name)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Finish after any error, but not when the service stops."""
        set_ids(launch=self.launch.id)
        try:
            await work()
        except BinderError as error:
            await self._fail(error.error_code, error.message)
        except TimeoutError:
            await self._fail("timed_out", Message("The server took too long to start. Try again."))
        except Exception:
            self._context.log.exception("Launch %s failed because of a bug", self.launch.id)
            message = Message(
                "The launch failed because of an error in the service. Tell your administrator; "
                "the service's log has the details."
            )
            await self._fail("error", message)

    async def _run(self, token: str) -> None:
        async with asyncio.timeout(self._context.build_limit_seconds):
            await self._wait_for_build()
        async with asyncio.timeout(self._context.start_limit_seconds):
            await self._show(state=LaunchState.STARTING, message=Message("Starting the server."))
            user, name = self.place
            if self._restart:
                await self._context.hub.stop_server(token, user, name)
                self._restart = False
            with contextlib.suppress(Conflict):  # it runs already; `_check_ready` checks what
                await self._context.hub.start_server(token, user, name, _options_of(self.launch))
            await self._follow(token)

    async def _wait_for_build(self) -> None:
        build_id = self.launch.build_id
        if build_id is None or self.launch.state is not LaunchState.PENDING:
            return
        async for seen in self._context.builds.watch(build_id):
            if isinstance(seen, Build):
                await self._show_build(seen)
            elif seen.events:
                message = without_escapes(seen.events[-1].message).strip()
                await self._show(message=message or self.launch.message)
        build = await self._context.builds.fetch_build(build_id)
        if build.state is not BuildState.BUILT:
            reason = build.reason
            raise BuildFailed(
                reason.message if reason else Message("The build was cancelled."),
                code=f"build_{build.state}",
            )

    async def _show_build(self, build: Build) -> None:
        progress = await self._context.builds.progress(build)
        percent = 0
        if progress.expected_seconds and progress.elapsed_seconds:
            share = progress.elapsed_seconds / progress.expected_seconds
            percent = min(round(BUILD_SHARE * share), BUILD_SHARE - 5)
        if progress.queue_position:
            message = Message(
                "Waiting for the build, number %(number)s in the queue.",
                number=progress.queue_position,
            )
        else:
            message = (
                Message("Build: %(step)s.", step=progress.step)
                if progress.step
                else _DOING[build.phase]
            )
        await self._show(progress=max(percent, self.launch.progress), message=message)

    async def _follow(self, token: str) -> None:
        user, name = self.place
        floor = self.launch.progress
        async for seen in self._context.hub.watch_progress(token, user, name):
            if seen.failed:
                raise HubError(explain_failure(seen.message), code="start_failed")
            percent = seen.progress or 0
            scaled = floor + percent * (99 - floor) // 100
            await self._show(
                progress=max(scaled, self.launch.progress),
                message=seen.message or self.launch.message,
            )
        await self._check_ready(token)

    async def _check_ready(self, token: str) -> None:
        """Check the hub's list of servers: a cancelled start also reports "ready"."""
        user, name = self.place
        server = await self._context.hub.fetch_server(token, user, name)
        if server is None or not server.ready:
            raise HubError(
                "The server stopped while it was starting. Launch it again.", code="start_failed"
            )
        if server.environment_id != self.launch.environment_id:
            raise Conflict(
                "Another server of that name was started in the meantime.", code="superseded"
            )
        await self._context.environments.mark_launched(self.launch.environment_id, user)
        ready = as_ready(self.launch, _url_of(server.url, self.launch.path))
        environment = await self._context.store.fetch_environment(ready.environment_id)
        reports = self._context.reports
        event = environment and reports.describe(ready, environment, self._origin)
        await self._finish(ready, event)
        if event:
            reports.tell(event)

    async def _settle(self) -> None:
        """Ask the hub with our own token; if not permitted, wait for the user's."""
        user, name = self.place
        token = self._context.hub.api_token
        try:
            server = await self._context.hub.fetch_server(token, user, name)
        except (NotAllowed, NotFound, HubError):
            self._task = None
            return
        if server is None or server.environment_id != self.launch.environment_id:
            message = Message(
                "The service was restarted before the server started. Launch it again."
            )
            await self._fail("interrupted", message)
            return
        async with asyncio.timeout(self._context.start_limit_seconds):
            await self._follow(token)

    # --- Showing and ending ---------------------------------------------------------------

    async def _show(self, **changes: Any) -> None:
        """Show a change; store only a new state."""
        before, launch = self.launch, replace(self.launch, **changes)
        if launch.state is not before.state:
            await self._context.store.update_launch(launch)
        if launch != before:
            self._tell(launch)

    async def _fail(self, code: str, message: Message) -> None:
        reason = Reason(code, message)
        failed = replace(self.launch, state=LaunchState.FAILED, message=message, reason=reason)
        await self._finish(failed)

    async def _finish(self, launch: Launch, event: LaunchEvent | None = None) -> None:
        launch = replace(launch, finished=launch.finished or utc_now())
        kept = event if self._context.reports.keeps else None
        await keep_trying(
            lambda: self._context.store.update_launch(launch, kept), self._context.log
        )
        self._tell(launch)
        self._context.on_end(launch)

    def _tell(self, launch: Launch) -> None:
        self.launch = launch
        self._changed.set()
        self._changed = asyncio.Event()


_SLOW = re.compile(r"Server at \S+ didn't respond in (\d+) seconds")


def explain_failure(said: str) -> Message:
    """Say why the hub did not start a server, without its internal addresses."""
    said = said.removeprefix("Spawn failed").removeprefix(": ").strip()
    if slow := _SLOW.match(said):
        return Message(
            "Your server took longer than %(seconds)s seconds to start. Launch it again: the "
            "second start is usually faster.",
            seconds=int(slow[1]),
        )
    return Message.verbatim(said) if said else Message("The server did not start.")


_DOING = {
    Phase.WAITING: Message("Build: waiting."),
    Phase.FETCHING: Message("Build: fetching."),
    Phase.BUILDING: Message("Build: building."),
    Phase.PUSHING: Message("Build: pushing."),
    Phase.BUILT: Message("Build: built."),
    Phase.FAILED: Message("Build: failed."),
}


def as_ready(launch: Launch, url: str) -> Launch:
    """Return a ready launch."""
    return replace(
        launch,
        state=LaunchState.READY,
        progress=100,
        message=Message("The server is ready."),
        url=url,
        finished=utc_now(),
    )


def _options_of(launch: Launch) -> dict[str, str]:
    """Return the server's options; never an image, which the spawner asks us for.

    A profile and its options have the names that KubeSpawner's own form gives them. Ours win.
    """
    options = {k: v for k, v in launch.profile.options.items() if k != "path"}
    if launch.profile.slug:
        options["profile"] = launch.profile.slug
    options["environment"] = launch.environment_id
    if launch.path:
        options["path"] = launch.path
    return options


def _url_of(server_url: str, path: str) -> str:
    """Return the URL for a new server; it finds repository files itself."""
    is_address = path.startswith("/") and not split_address(path)[1]
    return f"{server_url.rstrip('/')}{path}" if is_address else server_url
