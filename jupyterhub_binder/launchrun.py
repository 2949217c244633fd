"""One launch on its way: its build waited for, its server started, its progress, its end.

Acts with the person's token while it is given one, and keeps it nowhere else. Who may launch
what under which name, and what a restart of the service left over, is `launches`' business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from jupyterhub_binder.aio import TaskSet
from jupyterhub_binder.buildlog import keep_trying
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.environments import Environments
from jupyterhub_binder.errors import (
    BinderError,
    BuildFailed,
    Conflict,
    HubError,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.escapes import without_escapes
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.inputs import split_address
from jupyterhub_binder.logcontext import set_ids
from jupyterhub_binder.model import Build, BuildState, Launch, LaunchState, Reason
from jupyterhub_binder.store import Store

BUILD_SHARE = 50
"""Percent of a launch's progress that waiting for a build may take."""


@dataclass(frozen=True, slots=True)
class LaunchParts:
    """What every launch works with."""

    store: Store
    builds: Builds
    environments: Environments
    hub: HubClient
    tasks: TaskSet
    log: logging.Logger | logging.LoggerAdapter[Any]
    build_limit_seconds: float
    start_limit_seconds: float
    on_end: Callable[[Launch], None]


class LaunchRun:
    """A launch as long as it is not finished."""

    def __init__(
        self, launch: Launch, parts: LaunchParts, *, restart: bool = False, client_ip: str = ""
    ) -> None:
        self.launch = launch
        self.client_ip = client_ip
        """Where it was asked for from; empty where that is not known any more."""
        self._parts = parts
        self._restart = restart
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def place(self) -> tuple[str, str]:
        """Return the person and the server's name."""
        return self.launch.user, self.launch.server_name

    @property
    def finished(self) -> bool:
        """Say whether it has ended."""
        return self.launch.state.finished

    async def watch(self) -> AsyncIterator[Launch]:
        """Yield the launch now and at each change; ends after it has finished."""
        while True:
            changed = self._changed
            yield self.launch
            if self.finished:
                return
            await changed.wait()

    # --- Carrying on ----------------------------------------------------------------------

    def go_on(self, token: str) -> None:
        """Carry it on with the person's token; harmless where that is under way."""
        if self._task is None and not self.finished:
            self._carry_on(lambda: self._run(token))

    def settle(self) -> None:
        """Find out what became of a start that an earlier run of the service followed."""
        self._carry_on(self._settle)

    async def cancel(self, token: str) -> None:
        """End it, and stop the server that it was starting."""
        was_starting = self.launch.state is LaunchState.STARTING
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.finished:
            return
        message = "Cancelled."
        if was_starting:
            try:
                await self._parts.hub.stop_server(token, *self.place)
            except BinderError as error:
                message = f"Cancelled, but the server could not be stopped: {error.message}"
        await self._finish(replace(self.launch, state=LaunchState.CANCELLED, message=message))

    def _carry_on(self, work: Callable[[], Awaitable[None]]) -> None:
        name = f"launch {self.launch.id}"
        self._task = self._parts.tasks.spawn(self._guard(work), name=name)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Finish the launch whatever happens, save when the service stops."""
        set_ids(launch=self.launch.id)
        try:
            await work()
        except BinderError as error:
            await self._fail(error.error_code, error.message)
        except TimeoutError:
            await self._fail("timed_out", "The start took too long. Try again.")
        except Exception:
            self._parts.log.exception("Launch %s failed through a bug", self.launch.id)
            await self._fail("error", "The launch failed. An administrator finds why in the log.")

    async def _run(self, token: str) -> None:
        async with asyncio.timeout(self._parts.build_limit_seconds):
            await self._wait_for_build()
        async with asyncio.timeout(self._parts.start_limit_seconds):
            await self._show(state=LaunchState.STARTING, message="Starting the server.")
            user, name = self.place
            if self._restart:
                await self._parts.hub.stop_server(token, user, name)
                self._restart = False
            with contextlib.suppress(Conflict):  # it runs by now: what follows says as what
                await self._parts.hub.start_server(token, user, name, _options_of(self.launch))
            await self._follow(token)

    async def _wait_for_build(self) -> None:
        """Return once the environment has something to start from."""
        build_id = self.launch.build_id
        if build_id is None or self.launch.state is not LaunchState.PENDING:
            return
        async for seen in self._parts.builds.watch(build_id):
            if isinstance(seen, Build):
                await self._show_build(seen)
            elif seen.events:
                message = without_escapes(seen.events[-1].message).strip()
                await self._show(message=message or self.launch.message)
        build = await self._parts.builds.fetch_build(build_id)
        if build.state is not BuildState.BUILT:
            reason = build.reason
            raise BuildFailed(
                reason.message if reason else "The build was cancelled.",
                code=f"build_{build.state}",
            )

    async def _show_build(self, build: Build) -> None:
        standing = await self._parts.builds.standing(build)
        percent = 0
        if standing.expected_seconds and standing.elapsed_seconds:
            share = standing.elapsed_seconds / standing.expected_seconds
            percent = min(round(BUILD_SHARE * share), BUILD_SHARE - 5)
        if standing.queue_position:
            message = f"Waiting for the build: number {standing.queue_position} in the queue."
        else:
            message = f"Build: {build.phase}."
        await self._show(progress=max(percent, self.launch.progress), message=message)

    async def _follow(self, token: str) -> None:
        """Mirror what the hub says until the server is ready. Raises HubError when it fails."""
        user, name = self.place
        floor = self.launch.progress
        async for seen in self._parts.hub.watch_progress(token, user, name):
            if seen.failed:
                message = seen.message.removeprefix("Spawn failed: ")
                raise HubError(message or "The server did not start.", code="start_failed")
            percent = seen.progress or 0
            scaled = floor + percent * (99 - floor) // 100
            await self._show(
                progress=max(scaled, self.launch.progress),
                message=seen.message or self.launch.message,
            )
        await self._check_ready(token)

    async def _check_ready(self, token: str) -> None:
        """Hold the hub's word against its list of servers: a cancelled start says ready, too."""
        user, name = self.place
        server = await self._parts.hub.fetch_server(token, user, name)
        if server is None or not server.ready:
            raise HubError("The server ended while it was starting.", code="start_failed")
        if server.environment_id != self.launch.environment_id:
            raise Conflict("Another server of that name was started meanwhile.", code="superseded")
        await self._parts.environments.mark_launched(self.launch.environment_id)
        await self._finish(as_ready(self.launch, _url_of(server.url, self.launch.path)))

    async def _settle(self) -> None:
        """Find out with the service's own token; where that does not do, wait for a person's."""
        user, name = self.place
        token = self._parts.hub.api_token
        try:
            server = await self._parts.hub.fetch_server(token, user, name)
        except (NotAllowed, NotFound, HubError):
            self._task = None
            return
        if server is None or server.environment_id != self.launch.environment_id:
            message = "The service was restarted before the server was. Launch it again."
            await self._fail("interrupted", message)
            return
        async with asyncio.timeout(self._parts.start_limit_seconds):
            await self._follow(token)

    # --- Showing and ending ---------------------------------------------------------------

    async def _show(self, **changes: Any) -> None:
        """Show a change to watchers; only a new state is worth a place in the store."""
        before, launch = self.launch, replace(self.launch, **changes)
        if launch.state is not before.state:
            await self._parts.store.update_launch(launch)
        if launch != before:
            self._tell(launch)

    async def _fail(self, code: str, message: str) -> None:
        reason = Reason(code, message)
        failed = replace(self.launch, state=LaunchState.FAILED, message=message, reason=reason)
        await self._finish(failed)

    async def _finish(self, launch: Launch) -> None:
        launch = replace(launch, finished=launch.finished or utc_now())
        await keep_trying(lambda: self._parts.store.update_launch(launch), self._parts.log)
        self._tell(launch)
        self._parts.on_end(launch)

    def _tell(self, launch: Launch) -> None:
        self.launch = launch
        self._changed.set()
        self._changed = asyncio.Event()


def as_ready(launch: Launch, url: str) -> Launch:
    """Return a launch as it is once its server answers at a URL."""
    return replace(
        launch,
        state=LaunchState.READY,
        progress=100,
        message="The server is ready.",
        url=url,
        finished=utc_now(),
    )


def _options_of(launch: Launch) -> dict[str, str]:
    """Return the server's options: never an image, only what the service can be asked about."""
    options = {"environment": launch.environment_id}
    if launch.path:
        options["path"] = launch.path
    return options


def _url_of(server_url: str, path: str) -> str:
    """Return what a server that was just started opens: files it finds and opens by itself."""
    is_address = path.startswith("/") and not split_address(path)[1]
    return f"{server_url.rstrip('/')}{path}" if is_address else server_url
