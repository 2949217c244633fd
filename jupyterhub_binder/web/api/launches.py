"""Routes of launches and running servers."""

from __future__ import annotations

from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.model import Build, Launch
from jupyterhub_binder.utils.net import client_ip
from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.common import Handler, read_profile
from jupyterhub_binder.web.api.operation import SSE, operation
from jupyterhub_binder.web.api.render import render_servers
from jupyterhub_binder.web.api.shapes import ListJSON
from jupyterhub_binder.web.api.shapes.launches import LaunchBody, LaunchJSON, ServerJSON
from jupyterhub_binder.web.streams import EventsHandler, encode_named


class _LaunchBase(Handler):
    """Renders a launch."""

    async def render_launch(self, launch: Launch) -> LaunchJSON:
        """Render a launch."""
        name, build = await self.environment_name(launch), await self.failed_build(launch)
        return (await self.renderer()).launch(launch, name, build)

    async def failed_build(self, launch: Launch) -> Build | None:
        """Return the build that kept a launch from starting, if there is one."""
        if launch.build_id is None or launch.reason is None:
            return None
        try:
            return await self.services.builds.fetch_build(launch.build_id)
        except NotFound:
            return None

    async def environment_name(self, launch: Launch) -> str:
        """Return the name of a launch's environment; empty if it was deleted."""
        try:
            return (await self.services.environments.get(self.me, launch.environment_id)).name
        except NotFound:
            return ""


class EnvironmentLaunchesHandler(_LaunchBase):
    """The launches of an environment."""

    @operation("launch_environment", status=201, errors=(409, 422, 429))
    async def post(self, environment_id: str, *, body: LaunchBody) -> LaunchJSON:
        """Start a server in an environment. If it has no build, it is built first."""
        launch = await self.services.launches.create(
            self.me,
            self.token,
            environment_id,
            server_name=body.server_name,
            path=body.path,
            restart=body.restart,
            client_ip=client_ip(self.request),
            origin=self.launch_origin,
            profile=read_profile(body.profile, body.profile_options),
        )
        return await self.render_launch(launch)


class LaunchHandler(_LaunchBase):
    """One launch."""

    @operation("get_launch")
    async def get(self, launch_id: str) -> LaunchJSON:
        """Get a launch."""
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        return await self.render_launch(launch)


class LaunchEventsHandler(EventsHandler, _LaunchBase):
    """Events of a launch."""

    @operation("follow_launch", media=SSE, errors=(400, 429))
    async def get(self, launch_id: str) -> None:
        """Follow a launch.

        The answer is a stream of server-sent events. A `launch` event has the `Launch`, sent at
        each change. The `end` event has the finished one and is the last; close the connection
        then. A comment is sent every 15 seconds.
        """
        self._launch_id = launch_id
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        environment_name = await self.environment_name(launch)
        renderer = await self.renderer()

        async def encode(launch: Launch) -> bytes:
            name = "end" if launch.state.finished else "launch"
            build = await self.failed_build(launch)
            return encode_named(name, to_json(renderer.launch(launch, environment_name, build)))

        await self.send_events(self.services.launches.watch(self.me, launch_id), encode)

    async def require_right(self) -> None:
        """Let a launch end that waits for a build which its person may no longer use."""
        await self.services.launches.get(self.me, self._launch_id)


class CancelLaunchHandler(_LaunchBase):
    """Cancels a launch."""

    @operation("cancel_launch", errors=(409,))
    async def post(self, launch_id: str) -> LaunchJSON:
        """Cancel a launch, and stop the server that is starting."""
        launch = await self.services.launches.cancel(self.me, launch_id, self.token)
        return await self.render_launch(launch)


class StopServersHandler(Handler):
    """Stops an environment's servers."""

    @operation("stop_servers", errors=(409, 429))
    async def post(self, environment_id: str) -> ListJSON[ServerJSON]:
        """Stop your servers in an environment, and cancel its launches.

        The answer lists the servers that are stopping.
        """
        launches = self.services.launches
        return render_servers(await launches.stop_servers(self.me, self.token, environment_id))


class ServersHandler(Handler):
    """A person's running servers."""

    @operation("list_servers")
    async def get(self) -> ListJSON[ServerJSON]:
        """List your running servers, with their environments."""
        return render_servers(await self.services.launches.servers(self.me, self.token))
