"""Launches: at most one at a time per user and server name.

The user's token is in memory only. After a restart, the hub's answer settles a launch, or the
user's next request brings a token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.launch_specs import LaunchSpecs
from jupyterhub_binder.environments.profiles import Profiles, read_options, settle
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import BinderError, Conflict, LimitReached, NotAllowed, NotFound
from jupyterhub_binder.hub import HubClient, HubServer
from jupyterhub_binder.launches.reports import LaunchReports
from jupyterhub_binder.launches.run import LaunchContext, LaunchRun, as_ready
from jupyterhub_binder.model import Environment, Launch, LaunchState, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.launch_events import LaunchOrigin
from jupyterhub_binder.model.profiles import Profile, ProfileChoice
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import Locks, TaskSet
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import split_address


@dataclass(frozen=True, slots=True)
class Server:
    """A user's active server."""

    name: str
    display_name: str
    ready: bool
    url: str
    started: datetime | None
    environment_id: str | None = None
    environment_name: str | None = None
    """None without an environment that the user may see."""
    image: str | None = None
    build_number: int | None = None
    """The environment's build that it runs in; None if unknown."""
    outdated: bool = False
    """Whether the next start would use another build."""


@dataclass(frozen=True, slots=True)
class StoppedServers:
    """What became of a person's servers, by their names; the default server has none."""

    stopped: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    """Those that still run."""
    problem: Message | None = None
    """Why they do."""


class Launches(LoggingConfigurable):
    """Starts servers from environments, one at a time per user and server name."""

    max_per_user = Integer(
        20,
        min=1,
        config=True,
        help="""
        How many servers of one person may be starting at the same time. Default: 20.

        Further launches are refused. The hub's `named_server_limit_per_user` limits how many
        servers may run.
        """,
    )
    build_limit_seconds = Float(
        6 * 3600,
        min=1,
        config=True,
        help="How long a launch waits for its build, in seconds. Builds have their own limits. "
        "Default: 21600 (6 hours).",
    )
    start_limit_seconds = Float(
        900,
        min=1,
        config=True,
        help="""
        How long the hub may take to start a server, in seconds. Default: 900.

        Keep it above the sum of the spawner's `start_timeout` and `http_timeout`, so that people
        see the hub's own message about a slow start.
        """,
    )

    def __init__(
        self,
        *,
        store: Store,
        builds: Builds,
        environments: Environments,
        launch_specs: LaunchSpecs,
        rules: Rules,
        hub: HubClient,
        profiles: Profiles,
        reports: LaunchReports,
        audit: Audit,
        **kw: Any,
    ) -> None:
        super().__init__(**kw)
        self._store = store
        self._builds = builds
        self._environments = environments
        self._launch_specs = launch_specs
        self._rules = rules
        self._hub = hub
        self._profiles = profiles
        self._reports = reports
        self._audit = audit
        self._runs: dict[str, LaunchRun] = {}
        self._places: Locks[tuple[str, str]] = Locks()
        """Held while starting a server."""
        self._beginning: Counter[str] = Counter()
        self._tasks = TaskSet(self.log)
        self.ended: Signal[[Launch]] = Signal()

    @property
    def under_way(self) -> int:
        """Unfinished launches."""
        return len(self._runs)

    async def start(self) -> None:
        """Resume unfinished launches."""
        for launch in await self._store.list_launches(unfinished=True, limit=10_000):
            run = self._make_run(launch)
            if launch.state is LaunchState.STARTING:
                run.settle()

    def _make_run(
        self,
        launch: Launch,
        *,
        restart: bool = False,
        client_ip: str = "",
        origin: LaunchOrigin | None = None,
    ) -> LaunchRun:
        context = LaunchContext(
            store=self._store,
            builds=self._builds,
            environments=self._environments,
            hub=self._hub,
            tasks=self._tasks,
            log=self.log,
            build_limit_seconds=self.build_limit_seconds,
            start_limit_seconds=self.start_limit_seconds,
            on_end=self._ended,
            reports=self._reports,
        )
        run = LaunchRun(launch, context, restart=restart, client_ip=client_ip, origin=origin)
        self._runs[launch.id] = run
        return run

    def _ended(self, launch: Launch) -> None:
        self._runs.pop(launch.id, None)
        self.ended.send(launch)

    async def stop(self) -> None:
        """Stop; unfinished launches can resume. Idempotent."""
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
        origin: LaunchOrigin | None = None,
        any_build: bool = False,
        profile: ProfileChoice | None = None,
    ) -> Launch:
        """Start a server, with a build first if needed; join a launch under way.

        A `profile` is remembered; None uses the one that the person chose last. Raises Conflict
        (``server_running``) if, without `restart`, the server runs something else or, without
        `any_build`, another build or another profile than a given one. Raises NotAllowed, LimitReached, and the errors of
        `Environments` and `HubClient`.
        """
        environment = await self._environments.get(user, environment_id)
        self._rules.require(user, environment)
        chosen = await self._profiles.choose(user, token, environment_id, profile)
        async with self._places[user.name, server_name]:
            run = self._at(user.name, server_name)
            if run is not None and not restart and run.launch.environment_id == environment_id:
                run.go_on(token)
                return run.launch
            server = await self._hub.fetch_server(token, user.name, server_name)
            if server is None:
                await self._hub.check_new_name(token, user.name, server_name)
            elif server.pending == "stop":
                restart = True  # wait until it has stopped
            if not restart:
                await self._refuse_if_taken(user, environment_id, run, server)
                if run is None and not any_build:
                    self._refuse_another_build(environment, server, path)
                    if profile is not None:
                        offered = await self._profiles.offered(user, token) or ()
                        self._refuse_another_profile(environment, server, path, chosen, offered)
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
                    origin=origin,
                    profile=chosen,
                )

    def asked_from(self, user: User, environment_id: str, server_name: str) -> str:
        """Return the client address of the launch under way.

        Empty if unknown; the hub then uses its own request's.
        """
        run = self._at(user.name, server_name)
        mine = run is not None and run.launch.environment_id == environment_id
        return run.client_ip if run is not None and mine else ""

    async def get(self, user: User, launch_id: str, *, token: str | None = None) -> Launch:
        """Return a launch, continued with the user's token. Raises NotFound."""
        run = self._runs.get(launch_id)
        launch = run.launch if run else await self._store.fetch_launch(launch_id)
        if launch is None or (launch.user != user.name and not user.admin):
            raise NotFound("There is no such launch.")
        if run is not None and launch.user == user.name:
            await self._end_if_lost(user, run)
            if token:
                run.go_on(token)
            return run.launch
        return launch

    async def _end_if_lost(self, user: User, run: LaunchRun) -> None:
        """End a launch that waits for a build which its person may no longer see.

        The hub asks again before it starts a server, so a later launch fails by itself.
        """
        if run.launch.state is not LaunchState.PENDING:
            return
        try:
            await self._environments.get(user, run.launch.environment_id)
        except NotFound as error:
            if run.launch.state is LaunchState.PENDING:
                await run.cancel("", error.message)

    async def watch(self, user: User, launch_id: str) -> AsyncIterator[Launch]:
        """Yield changes until it has finished."""
        launch = await self.get(user, launch_id)
        run = self._runs.get(launch_id)
        if run is None:
            yield launch
            return
        rights = self._store.rights_version
        async for seen in run.watch():
            if (now := self._store.rights_version) != rights and launch.user == user.name:
                rights = now
                await self._end_if_lost(user, run)
                seen = run.launch
            yield seen

    async def cancel(self, user: User, launch_id: str, token: str) -> Launch:
        """Cancel a launch, unless finished, and stop its server."""
        launch = await self.get(user, launch_id)
        run = self._runs.get(launch_id)
        if run is None:
            return launch
        await run.cancel(token)
        return run.launch

    async def stop_servers(self, user: User, token: str, environment_id: str) -> tuple[Server, ...]:
        """Stop the user's servers of an environment, even of one that they may no longer use.

        Returns the servers, which may still be stopping. Raises NotFound, and Conflict for a server
        that the hub itself is starting.
        """
        runs = [
            run
            for run in self._runs.values()
            if run.launch.user == user.name and run.launch.environment_id == environment_id
        ]
        for run in runs:
            await run.cancel(token)
        servers = await self._hub.fetch_servers(token, user.name)
        running = [server for server in servers if server.environment_id == environment_id]
        if not runs and not running:
            await self._environments.recall(user, environment_id)
        ended = [server for server in running if server.pending != "stop"]
        for server in ended:
            await self._hub.begin_stop(token, user.name, server.name)
        return tuple([replace(await self._describe(user, s), ready=False) for s in ended])

    async def list_running(self, person: str) -> tuple[str, ...]:
        """Return the names of a person's servers that don't stop yet.

        Raises NotFound for a name that the hub doesn't know, and the hub's other errors.
        """
        try:
            servers = await self._hub.fetch_servers(self._hub.api_token, person)
        except NotFound as error:
            raise NotFound(
                "The hub has no person called %(name)s. Write names exactly as the hub does.",
                name=person,
            ) from error
        return tuple(server.name for server in servers if server.pending != "stop")

    async def stop_person(self, admin: User, person: str) -> StoppedServers:
        """For admins: cancel a person's launches and stop all their servers.

        It takes the service's own right to do so, since an admin's session may stop only their own.
        """
        stopped = await self._stop_person(person)
        await self._audit.record(
            admin.name,
            Action.SERVERS_STOP,
            person,
            stopped=len(stopped.stopped),
            left=len(stopped.left),
            problem=stopped.problem,
        )
        return stopped

    async def _stop_person(self, person: str) -> StoppedServers:
        token, why = self._hub.api_token, Message("Cancelled by an administrator.")
        runs = [run for run in self._runs.values() if run.launch.user == person]
        await asyncio.gather(*(run.cancel(token, why) for run in runs))
        try:
            names = await self.list_running(person)
            outcomes = await asyncio.gather(
                *(self._hub.begin_stop(token, person, name) for name in names),
                return_exceptions=True,
            )
            left = await self.list_running(person)
        except BinderError as error:
            return StoppedServers(problem=error.message)
        stopped = tuple(name for name in names if name not in left)
        return StoppedServers(stopped, left, _why_left(outcomes) if left else None)

    async def servers(self, user: User, token: str) -> tuple[Server, ...]:
        """Return the user's active servers."""
        servers = await self._hub.fetch_servers(token, user.name)
        return tuple([await self._describe(user, server) for server in servers])

    async def _describe(self, user: User, server: HubServer) -> Server:
        environment = None
        if server.environment_id:
            with contextlib.suppress(NotFound):
                environment = await self._environments.recall(user, server.environment_id)
        number, outdated = await self._find_build(environment, server.image)
        return Server(
            name=server.name,
            display_name=server.display_name,
            ready=server.ready,
            url=server.url,
            started=server.started,
            environment_id=environment.id if environment else None,
            environment_name=environment.name if environment else None,
            image=server.image,
            build_number=number,
            outdated=outdated,
        )

    async def _find_build(
        self, environment: Environment | None, image: str | None
    ) -> tuple[int | None, bool]:
        """Return the number of an image's build, and whether the next start uses another one."""
        current = environment.current if environment else None
        if environment is None or current is None or image is None:
            return None, False
        if image == current.build.image:
            return current.number, False
        history = await self._store.list_requests(environment.id)
        numbers = [each.number for each in history.items if each.build.image == image]
        return max(numbers, default=None), True

    # --- Beginning ---------------------------------------------------------------------------------

    def _at(self, user: str, server_name: str) -> LaunchRun | None:
        runs = (run for run in self._runs.values() if run.place == (user, server_name))
        return next((run for run in runs if not run.finished), None)

    @contextlib.contextmanager
    def _room_for(self, user: User) -> Iterator[None]:
        """Reserve a place. Raises LimitReached."""
        under_way = sum(run.launch.user == user.name for run in self._runs.values())
        if under_way + self._beginning[user.name] >= self.max_per_user:
            raise LimitReached(
                "You have reached your limit of servers that start at the same time (%(most)s). "
                "Wait until one has started, or cancel one.",
                most=self.max_per_user,
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
        other, shown = None, Message("something else")
        if taken_by:
            with contextlib.suppress(NotFound):
                name = (await self._environments.get(user, taken_by)).name
                other, shown = {"id": taken_by, "name": name}, Message("“%(name)s”", name=name)
        server_name = run.launch.server_name if run else server.name if server else ""
        which = _yours(server_name)
        raise Conflict(
            "%(which)s is already running %(shown)s. Open it, restart it with this environment, "
            "or start another server under another name.",
            which=which,
            shown=shown,
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
        which = _yours(server.name)
        raise Conflict(
            "%(which)s is already running another build of “%(name)s”. Open it, restart it with "
            "the current build, or start another server under another name.",
            which=which,
            name=wanted.name,
            code="server_running",
            detail={
                "server_name": server.name,
                "environment": {"id": wanted.id, "name": wanted.name},
                "url": _url_in(server.url, wanted, path),
            },
        )

    def _refuse_another_profile(
        self,
        wanted: Environment,
        server: HubServer | None,
        path: str | None,
        profile: ProfileChoice,
        offered: Sequence[Profile],
    ) -> None:
        if server is None or not offered or server.environment_id != wanted.id:
            return
        runs = settle(read_options(server.user_options, offered), offered)
        if runs == settle(profile, offered):
            return
        raise Conflict(
            "%(which)s is already running with another profile. Open it, restart it with the one "
            "that you chose, or start another server under another name.",
            which=_yours(server.name),
            code="server_running",
            detail={
                "server_name": server.name,
                "environment": {"id": wanted.id, "name": wanted.name},
                "url": _url_in(server.url, wanted, path),
                "profile": runs.slug,
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
        origin: LaunchOrigin | None,
        profile: ProfileChoice,
    ) -> Launch:
        launch = Launch(
            id=new_id(),
            environment_id=environment.id,
            user=user.name,
            server_name=server_name,
            path=environment.path if path is None else path,
            state=LaunchState.PENDING,
            created=utc_now(),
            message=Message("Waiting to start."),
            profile=profile,
        )
        if server is not None and server.ready and not restart:
            launch = as_ready(launch, _url_in(server.url, environment, path))
            await self._store.insert_launch(launch)
            self.ended.send(launch)
            return launch
        launch = await self._with_build(user, environment, launch)
        await self._store.insert_launch(launch)
        run = self._make_run(
            launch,
            restart=restart and server is not None,
            client_ip=client_ip,
            origin=origin,
        )
        run.go_on(token)
        return launch

    async def _with_build(self, user: User, environment: Environment, launch: Launch) -> Launch:
        spec = await self._launch_specs.launch_spec(user, environment.id)
        if spec.image:
            return replace(
                launch, state=LaunchState.STARTING, message=Message("Starting the server.")
            )
        latest = environment.latest
        if latest is None or latest.withdrawn or latest.build.state.finished:
            latest = (await self._launch_specs.begin_build(user, environment.id)).latest
        if latest is None:
            raise Conflict("The environment has no usable build. Build it again.")
        return replace(launch, build_id=latest.build.id, message=Message("Waiting for the build."))


def _url_in(server_url: str, environment: Environment, path: str | None) -> str:
    """Return what to open on a running server.

    A server address may name a repository's file.
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


def _why_left(outcomes: Sequence[BaseException | None]) -> Message:
    errors = [each for each in outcomes if isinstance(each, BinderError)]
    if any(isinstance(each, NotAllowed) for each in errors):
        return Message(
            "The service may not stop servers of other people. Its role needs the scope "
            "delete:servers."
        )
    return errors[0].message if errors else Message("A server started meanwhile. Try again.")


def _yours(server_name: str) -> Message:
    if not server_name:
        return Message("Your server")
    return Message("Your server “%(server)s”", server=server_name)
