"""Launches: asked for by people, one at a time for each person and server name.

A launch belongs to the service: whoever closes the tab finds it again. It acts with the
person's own token, which is kept in memory only; after a restart of the service a launch is
settled by what the hub says, or goes on with the token of the person's next request. One
launch's way to a server that answers is in `launchrun`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import Locks, TaskSet
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.environments import Environments
from jupyterhub_binder.errors import Conflict, LimitReached, NotFound
from jupyterhub_binder.hub import HubClient, HubServer
from jupyterhub_binder.inputs import split_address
from jupyterhub_binder.launchrun import LaunchParts, LaunchRun, as_ready
from jupyterhub_binder.model import Environment, Launch, LaunchState, User
from jupyterhub_binder.slugs import new_id
from jupyterhub_binder.starts import Starts
from jupyterhub_binder.store import Store


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


class Launches(LoggingConfigurable):
    """Starts servers from environments, one at a time for each person and server name."""

    max_per_user = Integer(
        20,
        min=1,
        config=True,
        help="""
        How many launches of one person may be under way, each of a server of another name.

        The next one is refused with a sentence that says so. How many servers may run, the
        hub's own `named_server_limit_per_user` says.
        """,
    )
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
        self,
        *,
        store: Store,
        builds: Builds,
        environments: Environments,
        starts: Starts,
        hub: HubClient,
        **kw: Any,
    ) -> None:
        super().__init__(**kw)
        self._store = store
        self._builds = builds
        self._environments = environments
        self._starts = starts
        self._hub = hub
        self._runs: dict[str, LaunchRun] = {}
        self._places: Locks[tuple[str, str]] = Locks()
        """Held by whoever begins a server of a person's server name."""
        self._beginning: Counter[str] = Counter()
        """How many of each person are about to be in `_runs`."""
        self._tasks = TaskSet(self.log)
        self.when_ended: Callable[[Launch], None] = lambda _: None
        """Told of each launch that has ended, for whoever counts; must not raise."""

    @property
    def under_way(self) -> int:
        """Count the launches that have not ended."""
        return len(self._runs)

    async def start(self) -> None:
        """Take up what an earlier run of the service left unfinished."""
        for launch in await self._store.list_launches(unfinished=True, limit=10_000):
            run = self._make_run(launch)
            if launch.state is LaunchState.STARTING:
                run.settle()

    def _make_run(self, launch: Launch, *, restart: bool = False, client_ip: str = "") -> LaunchRun:
        parts = LaunchParts(
            store=self._store,
            builds=self._builds,
            environments=self._environments,
            hub=self._hub,
            tasks=self._tasks,
            log=self.log,
            build_limit_seconds=self.build_limit_seconds,
            start_limit_seconds=self.start_limit_seconds,
            on_end=self._ended,
        )
        run = LaunchRun(launch, parts, restart=restart, client_ip=client_ip)
        self._runs[launch.id] = run
        return run

    def _ended(self, launch: Launch) -> None:
        self._runs.pop(launch.id, None)
        self.when_ended(launch)

    async def stop(self) -> None:
        """Let go of every launch; unfinished ones stay so in the store. May be called twice."""
        await self._tasks.close()
        self._runs.clear()

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
        any_build: bool = False,
    ) -> Launch:
        """Start a server; an environment with no build to start from gets one first.

        `client_ip` is where the request came from, for `asked_from`. A launch of the same
        under way is joined. Raises Conflict with the code ``server_running`` when `restart` is
        False and a server of that name runs something else, or, unless `any_build` is welcome,
        another build of the same; NotAllowed for an environment of a repository that is refused;
        LimitReached; what `Environments` and `HubClient` raise.
        """
        environment = await self._environments.get(user, environment_id)
        self._environments.command.rules.require(user, environment)
        async with self._places[user.name, server_name]:
            run = self._at(user.name, server_name)
            if run is not None and not restart and run.launch.environment_id == environment_id:
                run.go_on(token)
                return run.launch
            server = await self._hub.fetch_server(token, user.name, server_name)
            if server is not None and server.pending == "stop":
                restart = True  # what ends anyway is waited for
            if not restart:
                await self._refuse_if_taken(user, environment_id, run, server)
                if run is None and not any_build:
                    self._refuse_another_build(environment, server, path)
            elif run is not None:
                await run.cancel(token)
            with self._room_for(user):
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
        run = self._at(user.name, server_name)
        mine = run is not None and run.launch.environment_id == environment_id
        return run.client_ip if run is not None and mine else ""

    async def get(self, user: User, launch_id: str, *, token: str | None = None) -> Launch:
        """Return a launch; with the person's token one that a restart left waiting goes on.

        Raises NotFound.
        """
        run = self._runs.get(launch_id)
        launch = run.launch if run else await self._store.fetch_launch(launch_id)
        if launch is None or (launch.user != user.name and not user.admin):
            raise NotFound("There is no such launch.")
        if run is not None and token and launch.user == user.name:
            run.go_on(token)
        return launch

    async def watch(self, user: User, launch_id: str) -> AsyncIterator[Launch]:
        """Yield the launch now and at each change; ends after it has finished."""
        launch = await self.get(user, launch_id)
        run = self._runs.get(launch_id)
        if run is None:
            yield launch
            return
        async for seen in run.watch():
            yield seen

    async def cancel(self, user: User, launch_id: str, token: str) -> Launch:
        """Stop a launch, and the server that it is starting; a finished one stays as it is."""
        launch = await self.get(user, launch_id)
        run = self._runs.get(launch_id)
        if run is None:
            return launch
        await run.cancel(token)
        return run.launch

    async def stop_servers(self, user: User, token: str, environment_id: str) -> tuple[Server, ...]:
        """Stop a person's servers of an environment, and give up its launches under way.

        Returns the servers, which may take a while to end; that there is none is success, and a
        server of an environment that was deleted lately can be stopped as well. Raises NotFound,
        and Conflict for one that the hub is starting by itself.
        """
        environment = await self._environments.recall(user, environment_id)
        for run in list(self._runs.values()):
            if run.launch.user == user.name and run.launch.environment_id == environment.id:
                await run.cancel(token)
        servers = await self._hub.fetch_servers(token, user.name)
        ended = [s for s in servers if s.environment_id == environment.id and s.pending != "stop"]
        for server in ended:
            await self._hub.begin_stop(token, user.name, server.name)
        return tuple([replace(await self._describe(user, s), ready=False) for s in ended])

    async def servers(self, user: User, token: str) -> tuple[Server, ...]:
        """Return the person's servers that run, with their environments."""
        servers = await self._hub.fetch_servers(token, user.name)
        return tuple([await self._describe(user, server) for server in servers])

    async def _describe(self, user: User, server: HubServer) -> Server:
        name = None
        if server.environment_id:
            with contextlib.suppress(NotFound):
                name = (await self._environments.recall(user, server.environment_id)).name
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

    def _at(self, user: str, server_name: str) -> LaunchRun | None:
        runs = (run for run in self._runs.values() if run.place == (user, server_name))
        return next((run for run in runs if not run.finished), None)

    @contextlib.contextmanager
    def _room_for(self, user: User) -> Iterator[None]:
        """Count one more of a person's launches until it is under way. Raises LimitReached."""
        under_way = sum(run.launch.user == user.name for run in self._runs.values())
        if under_way + self._beginning[user.name] >= self.max_per_user:
            raise LimitReached(
                f"{self.max_per_user} servers of yours are being started, and no more may be at "
                "once. Wait for one, or cancel one.",
                detail={"limit": self.max_per_user},
            )
        self._beginning[user.name] += 1
        try:
            yield
        finally:
            self._beginning[user.name] -= 1
            if not self._beginning[user.name]:
                del self._beginning[user.name]

    async def _refuse_if_taken(
        self, user: User, environment_id: str, run: LaunchRun | None, server: HubServer | None
    ) -> None:
        taken_by = run.launch.environment_id if run else server and server.environment_id
        if (run is None and server is None) or taken_by == environment_id:
            return
        other, shown = None, "something else"
        if taken_by:
            with contextlib.suppress(NotFound):
                name = (await self._environments.get(user, taken_by)).name
                other, shown = {"id": taken_by, "name": name}, f"“{name}”"
        server_name = run.launch.server_name if run else server.name if server else ""
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

    def _refuse_another_build(
        self, wanted: Environment, server: HubServer | None, path: str | None
    ) -> None:
        image = wanted.current.build.image if wanted.current else None
        runs = server.image if server and server.environment_id == wanted.id else None
        if server is None or image is None or runs in (None, image):
            return
        which = f"Your server “{server.name}”" if server.name else "Your server"
        raise Conflict(
            f"{which} already runs another build of “{wanted.name}”. Open it, "
            "restart it with the current build, or start this one under another name.",
            code="server_running",
            detail={
                "server_name": server.name,
                "environment": {"id": wanted.id, "name": wanted.name},
                "url": _url_in(server.url, wanted, path),
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
        launch = Launch(
            id=new_id(),
            environment_id=environment.id,
            user=user.name,
            server_name=server_name,
            path=environment.path if path is None else path,
            state=LaunchState.PENDING,
            created=utc_now(),
            message="Waiting to begin.",
        )
        if server is not None and server.ready and not restart:
            launch = as_ready(launch, _url_in(server.url, environment, path))
            await self._store.insert_launch(launch)
            self.when_ended(launch)
            return launch
        launch = await self._with_build(user, environment, launch)
        await self._store.insert_launch(launch)
        run = self._make_run(launch, restart=restart and server is not None, client_ip=client_ip)
        run.go_on(token)
        return launch

    async def _with_build(self, user: User, environment: Environment, launch: Launch) -> Launch:
        """Return the launch with the build that it waits for, if it has to; begin one if need be."""
        spec = await self._starts.launch_spec(user, environment.id)
        if spec.image:
            return replace(launch, state=LaunchState.STARTING, message="Starting the server.")
        latest = environment.latest
        if latest is None or latest.withdrawn or latest.build.state.finished:
            latest = (await self._starts.begin_build(user, environment.id)).latest
        if latest is None:
            raise Conflict("The environment has no build to start from. Build it again.")
        return replace(launch, build_id=latest.build.id, message="Waiting for the build.")


def _url_in(server_url: str, environment: Environment, path: str | None) -> str:
    """Return where a running server opens what was asked for, or just the server.

    An address below the server's own may name a file of the repository, too.
    """
    if path is None and environment.path.startswith("/"):
        path = environment.path
    if not path:
        return server_url
    folder, server_url = quote(environment.directory), server_url.rstrip("/")
    if not path.startswith("/"):
        return f"{server_url}/lab/tree/{folder}/{quote(path)}"
    address, file, query = split_address(path)
    outside = file and not file.startswith(f"{folder}/")
    return f"{server_url}{address}{f'{folder}/' if outside else ''}{file}{query}"
