"""Launches: waits for an environment's build, starts a server in it, mirrors the progress.

A launch belongs to the service: whoever closes the tab finds it again. It acts with the
person's own token, which is kept in memory only; after a restart of the service a launch is
settled by what the hub says, or goes on with the token of the person's next request.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import TaskSet
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import (
    BinderError,
    BuildFailed,
    Conflict,
    HubError,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.model import (
    Build,
    BuildState,
    Environment,
    Launch,
    LaunchState,
    Reason,
    User,
)
from jupyterhub_binder.slugs import new_id

if TYPE_CHECKING:
    from jupyterhub_binder.builds import Builds
    from jupyterhub_binder.environments import Environments
    from jupyterhub_binder.hub import HubClient, HubServer
    from jupyterhub_binder.store.store import Store

BUILD_SHARE = 50
"""Percent of a launch's progress that waiting for a build may take."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server of a person that runs, or is about to."""

    name: str
    display_name: str
    ready: bool
    url: str
    started: datetime | None
    environment_id: str | None = None
    environment_name: str | None = None
    """None where it runs no environment, or one that the person may not see any more."""


@dataclass
class _Job:
    """A launch that is not finished, and what carries it on."""

    launch: Launch
    user: User
    restart: bool = False
    client_ip: str = ""
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, launch: Launch) -> None:
        self.launch = launch
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def place(self) -> tuple[str, str]:
        return self.launch.user, self.launch.server_name


class Launches(LoggingConfigurable):
    """Starts servers from environments, one at a time for each person and server name."""

    build_limit_seconds = Float(
        6 * 3600,
        min=1,
        config=True,
        help="How long a launch waits for its build, in seconds; builds have limits of their own.",
    )
    start_limit_seconds = Float(
        900,
        min=1,
        config=True,
        help="""
        How long the hub may take to start a server, in seconds.

        Keep it above the spawner's `start_timeout` and `http_timeout` together, so that the
        hub's own words about a slow start are the ones that people read.
        """,
    )

    def __init__(
        self, *, store: Store, builds: Builds, environments: Environments, hub: HubClient, **kw: Any
    ) -> None:
        super().__init__(**kw)
        self._store = store
        self._builds = builds
        self._environments = environments
        self._hub = hub
        self._jobs: dict[str, _Job] = {}
        self._places: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._tasks = TaskSet(self.log)

    async def start(self) -> None:
        """Take up what an earlier run of the service left unfinished."""
        for launch in await self._store.list_launches(unfinished=True, limit=10_000):
            job = _Job(launch, User(launch.user))
            self._jobs[launch.id] = job
            if launch.state is LaunchState.STARTING:
                self._carry_on(job, lambda job=job: self._settle(job))

    async def stop(self) -> None:
        """Let go of every launch; unfinished ones stay so in the store. May be called twice."""
        await self._tasks.close()
        self._jobs.clear()

    # --- What people ask ---------------------------------------------------------------------------

    async def create(
        self,
        user: User,
        token: str,
        environment_id: str,
        *,
        server_name: str = "",
        path: str | None = None,
        restart: bool = False,
        client_ip: str = "",
    ) -> Launch:
        """Start a server; an environment with no build to start from gets one first.

        `client_ip` is where the request came from, for `asked_from`. A launch of the same
        under way is joined. Raises Conflict with the code
        ``server_running`` when a server of that name runs something else and `restart` is
        False; what `Environments` and `HubClient` raise.
        """
        environment = await self._environments.get(user, environment_id)
        async with self._place(user.name, server_name):
            job = self._at(user.name, server_name)
            if job is not None and not restart and job.launch.environment_id == environment_id:
                return self._resume(job, token)
            server = await self._hub.fetch_server(token, user.name, server_name)
            if server is not None and server.pending == "stop":
                restart = True  # what ends anyway is waited for
            if not restart:
                await self._refuse_if_taken(user, environment_id, job, server)
            elif job is not None:
                await self._end(job, token)
            return await self._begin(
                user,
                token,
                environment,
                server,
                server_name=server_name,
                path=path,
                restart=restart,
                client_ip=client_ip,
            )

    def asked_from(self, user: User, environment_id: str, server_name: str) -> str:
        """Return the address that the launch under way of a server was asked for from.

        Empty where there is none, or a restart of the service has forgotten it: then the hub
        itself knows who asked.
        """
        job = self._at(user.name, server_name)
        mine = job is not None and job.launch.environment_id == environment_id
        return job.client_ip if job is not None and mine else ""

    async def get(self, user: User, launch_id: str, *, token: str | None = None) -> Launch:
        """Return a launch; with the person's token one that a restart left waiting goes on.

        Raises NotFound.
        """
        job = self._jobs.get(launch_id)
        launch = job.launch if job else await self._store.fetch_launch(launch_id)
        if launch is None or (launch.user != user.name and not user.admin):
            raise NotFound("There is no such launch.")
        if job is not None and token and launch.user == user.name:
            return self._resume(job, token)
        return launch

    async def watch(self, user: User, launch_id: str) -> AsyncIterator[Launch]:
        """Yield the launch now and at each change; ends after it has finished."""
        launch = await self.get(user, launch_id)
        job = self._jobs.get(launch_id)
        while job is not None:
            changed = job.changed
            yield job.launch
            if job.launch.state.finished:
                return
            await changed.wait()
        yield launch

    async def cancel(self, user: User, launch_id: str, token: str) -> Launch:
        """Stop a launch, and the server that it is starting; a finished one stays as it is."""
        launch = await self.get(user, launch_id)
        job = self._jobs.get(launch_id)
        if job is None or launch.state.finished:
            return launch
        await self._end(job, token)
        return job.launch

    async def servers(self, user: User, token: str) -> tuple[Server, ...]:
        """Return the person's servers that run, with their environments."""
        servers = await self._hub.fetch_servers(token, user.name)
        return tuple([await self._describe(user, server) for server in servers])

    async def _describe(self, user: User, server: HubServer) -> Server:
        name = None
        if server.environment_id:
            with contextlib.suppress(NotFound):
                name = (await self._environments.get(user, server.environment_id)).name
        return Server(
            name=server.name,
            display_name=server.display_name,
            ready=server.ready,
            url=server.url,
            started=server.started,
            environment_id=server.environment_id if name else None,
            environment_name=name,
        )

    # --- Beginning ---------------------------------------------------------------------------------

    def _place(self, user: str, server_name: str) -> asyncio.Lock:
        """Return the lock that lets one request at a time begin a server of that name."""
        place = (user, server_name)
        lock = self._places.get(place)
        if lock is None:
            lock = self._places[place] = asyncio.Lock()
        return lock

    def _at(self, user: str, server_name: str) -> _Job | None:
        jobs = (job for job in self._jobs.values() if job.place == (user, server_name))
        return next((job for job in jobs if not job.launch.state.finished), None)

    async def _refuse_if_taken(
        self, user: User, environment_id: str, job: _Job | None, server: HubServer | None
    ) -> None:
        taken_by = job.launch.environment_id if job else server and server.environment_id
        if (job is None and server is None) or taken_by == environment_id:
            return
        other, shown = None, "something else"
        if taken_by:
            with contextlib.suppress(NotFound):
                name = (await self._environments.get(user, taken_by)).name
                other, shown = {"id": taken_by, "name": name}, f"“{name}”"
        server_name = job.launch.server_name if job else server.name if server else ""
        which = f"Your server “{server_name}”" if server_name else "Your server"
        raise Conflict(
            f"{which} already runs {shown}. Open it, restart it with this environment, "
            "or start this one under another name.",
            code="server_running",
            detail={
                "server_name": server_name,
                "environment": other,
                "url": server.url if server else None,
            },
        )

    async def _begin(
        self,
        user: User,
        token: str,
        environment: Environment,
        server: HubServer | None,
        *,
        server_name: str,
        path: str | None,
        restart: bool,
        client_ip: str,
    ) -> Launch:
        now = utc_now()
        launch = Launch(
            id=new_id(),
            environment_id=environment.id,
            user=user.name,
            server_name=server_name,
            path=environment.path if path is None else path,
            state=LaunchState.PENDING,
            created=now,
            message="Waiting to begin.",
        )
        if server is not None and server.ready and not restart:
            launch = _ready(launch, _url_in(server.url, environment, path), now)
            await self._store.insert_launch(launch)
            return launch
        launch = await self._with_build(user, environment, launch)
        await self._store.insert_launch(launch)
        again = restart and server is not None
        job = self._jobs[launch.id] = _Job(launch, user, restart=again, client_ip=client_ip)
        self._carry_on(job, lambda: self._run(job, token))
        return launch

    async def _with_build(self, user: User, environment: Environment, launch: Launch) -> Launch:
        """Return the launch with the build that it waits for, if it has to; begin one if need be."""
        spec = await self._environments.launch_spec(user, environment.id)
        if spec.image:
            return replace(launch, state=LaunchState.STARTING, message="Starting the server.")
        latest = environment.latest
        if latest is None or latest.withdrawn or latest.build.state.finished:
            # An image that was removed comes back as it was; else the newest commit is built.
            begin = (
                self._environments.bring_back if environment.current else self._environments.build
            )
            latest = (await begin(user, environment.id)).latest
        if latest is None:
            raise Conflict("The environment has no build to start from. Build it again.")
        return replace(launch, build_id=latest.build.id, message="Waiting for the build.")

    def _resume(self, job: _Job, token: str) -> Launch:
        """Carry on a launch that nobody carries on, now that there is a token."""
        if job.task is None and not job.launch.state.finished:
            self._carry_on(job, lambda: self._run(job, token))
        return job.launch

    # --- Carrying on ---------------------------------------------------------------------------------

    def _carry_on(self, job: _Job, work: Callable[[], Awaitable[None]]) -> None:
        job.task = self._tasks.spawn(self._guard(job, work), name=f"launch {job.launch.id}")

    async def _guard(self, job: _Job, work: Callable[[], Awaitable[None]]) -> None:
        """Finish the launch whatever happens, save when the service stops."""
        try:
            await work()
        except BinderError as error:
            await self._fail(job, error.error_code, error.message)
        except TimeoutError:
            await self._fail(job, "timed_out", "The start took too long. Try again.")
        except Exception:
            self.log.exception("Launch %s failed", job.launch.id)
            await self._fail(
                job, "error", "The launch failed. An administrator finds why in the log."
            )
        finally:
            if job.launch.state.finished:
                self._jobs.pop(job.launch.id, None)

    async def _run(self, job: _Job, token: str) -> None:
        async with asyncio.timeout(self.build_limit_seconds):
            await self._wait_for_build(job)
        async with asyncio.timeout(self.start_limit_seconds):
            await self._show(job, state=LaunchState.STARTING, message="Starting the server.")
            user, name = job.place
            if job.restart:
                await self._hub.stop_server(token, user, name)
                job.restart = False
            with contextlib.suppress(Conflict):  # it runs by now: what follows says as what
                await self._hub.start_server(token, user, name, _options_of(job.launch))
            await self._follow(job, token)

    async def _wait_for_build(self, job: _Job) -> None:
        """Return once the environment has something to start from."""
        build_id = job.launch.build_id
        if build_id is None or job.launch.state is not LaunchState.PENDING:
            return
        async for seen in self._builds.watch(build_id):
            if isinstance(seen, Build):
                await self._show_build(job, seen)
            elif seen.events:
                message = seen.events[-1].message.strip()
                await self._show(job, message=message or job.launch.message)
        build = await self._builds.fetch_build(build_id)
        if build.state is not BuildState.BUILT:
            reason = build.reason
            raise BuildFailed(
                reason.message if reason else "The build was cancelled.",
                code=f"build_{build.state}",
            )

    async def _show_build(self, job: _Job, build: Build) -> None:
        standing = await self._builds.standing(build)
        percent = 0
        if standing.expected_seconds and standing.elapsed_seconds:
            share = standing.elapsed_seconds / standing.expected_seconds
            percent = min(round(BUILD_SHARE * share), BUILD_SHARE - 5)
        if standing.queue_position:
            message = f"Waiting for the build: number {standing.queue_position} in the queue."
        else:
            message = f"Build: {build.phase}."
        await self._show(job, progress=max(percent, job.launch.progress), message=message)

    async def _follow(self, job: _Job, token: str) -> None:
        """Mirror what the hub says until the server is ready. Raises HubError when it fails."""
        user, name = job.place
        floor = job.launch.progress
        async for seen in self._hub.watch_progress(token, user, name):
            if seen.failed:
                message = seen.message.removeprefix("Spawn failed: ")
                raise HubError(message or "The server did not start.", code="start_failed")
            percent = seen.progress or 0
            scaled = floor + percent * (99 - floor) // 100
            await self._show(
                job,
                progress=max(scaled, job.launch.progress),
                message=seen.message or job.launch.message,
            )
        await self._check_ready(job, token)

    async def _check_ready(self, job: _Job, token: str) -> None:
        """Hold the hub's word against its list of servers: a cancelled start says ready, too."""
        user, name = job.place
        server = await self._hub.fetch_server(token, user, name)
        if server is None or not server.ready:
            raise HubError("The server ended while it was starting.", code="start_failed")
        if server.environment_id != job.launch.environment_id:
            raise Conflict("Another server of that name was started meanwhile.", code="superseded")
        now = utc_now()
        await self._finish(job, _ready(job.launch, server.url, now))
        changes: Mapping[str, Any] = {"launched": now}
        await self._store.update_environment(job.launch.environment_id, changes, at=now)

    async def _settle(self, job: _Job) -> None:
        """Find out, with the service's own token, what became of a start that nobody followed."""
        user, name = job.place
        token = self._hub.api_token
        try:
            server = await self._hub.fetch_server(token, user, name)
        except (NotAllowed, NotFound):
            # The service may not look: the person's next request brings a token.
            job.task = None
            return
        if server is None or server.environment_id != job.launch.environment_id:
            await self._fail(
                job,
                "interrupted",
                "The service was restarted before the server was. Launch it again.",
            )
            return
        async with asyncio.timeout(self.start_limit_seconds):
            await self._follow(job, token)

    # --- Ending --------------------------------------------------------------------------------------

    async def _end(self, job: _Job, token: str) -> None:
        """Cancel a launch and stop the server that it was starting."""
        was_starting = job.launch.state is LaunchState.STARTING
        if job.task is not None:
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)
        if job.launch.state.finished:
            return
        message = "Cancelled."
        if was_starting:
            try:
                await self._hub.stop_server(token, *job.place)
            except BinderError as error:
                message = f"Cancelled, but the server could not be stopped: {error.message}"
        await self._finish(job, replace(job.launch, state=LaunchState.CANCELLED, message=message))
        self._jobs.pop(job.launch.id, None)

    async def _fail(self, job: _Job, code: str, message: str) -> None:
        reason = Reason(code, message)
        failed = replace(job.launch, state=LaunchState.FAILED, message=message, reason=reason)
        await self._finish(job, failed)

    async def _finish(self, job: _Job, launch: Launch) -> None:
        launch = replace(launch, finished=launch.finished or utc_now())
        await self._store.update_launch(launch)
        job.show(launch)

    async def _show(self, job: _Job, **changes: Any) -> None:
        """Show a change to watchers; only a new state is worth a place in the store."""
        before, launch = job.launch, replace(job.launch, **changes)
        if launch.state is not before.state:
            await self._store.update_launch(launch)
        if launch != before:
            job.show(launch)


def _ready(launch: Launch, url: str, now: datetime) -> Launch:
    return replace(
        launch,
        state=LaunchState.READY,
        progress=100,
        message="The server is ready.",
        url=url,
        finished=now,
    )


def _options_of(launch: Launch) -> dict[str, str]:
    """Return the server's options: never an image, only what the service can be asked about."""
    options = {"environment": launch.environment_id}
    if launch.path:
        options["path"] = launch.path
    return options


def _url_in(server_url: str, environment: Environment, path: str | None) -> str:
    """Return where a running server opens a file of the repository, or just the server."""
    if not path:
        return server_url
    return f"{server_url.rstrip('/')}/lab/tree/{quote(f'{environment.directory}/{path}')}"
