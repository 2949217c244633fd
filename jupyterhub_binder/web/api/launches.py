"""Routes of launches: starting a server, following its start, cancelling it; running servers."""

from __future__ import annotations

from jupyterhub_binder.clientip import client_ip
from jupyterhub_binder.errors import NotFound
from jupyterhub_binder.launches import Server
from jupyterhub_binder.model import Launch
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.events import EventsHandler, encode_named
from jupyterhub_binder.web.parse import json_object
from jupyterhub_binder.web.render import JSON, iso_time


class _LaunchHandler(Handler):
    """A route that answers with a launch."""

    async def as_json(self, launch: Launch) -> JSON:
        """Return the launch's JSON."""
        return (await self.renderer()).launch(launch, await self.environment_name(launch))

    async def environment_name(self, launch: Launch) -> str:
        """Return the name of a launch's environment; empty if it was deleted since."""
        try:
            return (await self.services.environments.get(self.me, launch.environment_id)).name
        except NotFound:
            return ""


class EnvironmentLaunches(_LaunchHandler):
    """The launches of an environment."""

    async def post(self, environment_id: str) -> None:
        """Start a server in an environment; one without a build gets one first."""
        fields = json_object(self.request, {"server_name", "path", "restart"})
        launch = await self.services.launches.create(
            self.me,
            self.token,
            environment_id,
            server_name=fields.server_name(),
            path=fields.path("path"),
            restart=fields.boolean("restart", default=False),
            client_ip=client_ip(self.request),
        )
        rendered = await self.as_json(launch)
        self.set_header("Location", rendered["links"]["self"])
        self.finish_json(rendered, status=201)


class OneLaunch(_LaunchHandler):
    """One launch."""

    async def get(self, launch_id: str) -> None:
        """Answer with it."""
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        self.finish_json(await self.as_json(launch))


class LaunchEvents(EventsHandler, _LaunchHandler):
    """A launch as it goes on."""

    async def get(self, launch_id: str) -> None:
        """Stream the launch at each change, until it has ended."""
        launch = await self.services.launches.get(self.me, launch_id, token=self.token)
        environment_name = await self.environment_name(launch)
        renderer = await self.renderer()

        async def encode(launch: Launch) -> bytes:
            name = "end" if launch.state.finished else "launch"
            return encode_named(name, renderer.launch(launch, environment_name))

        await self.send_events(self.services.launches.watch(self.me, launch_id), encode)


class CancelLaunch(_LaunchHandler):
    """The end of a launch before it is ready."""

    async def post(self, launch_id: str) -> None:
        """Stop waiting, and stop the server that is starting."""
        json_object(self.request, ())
        launch = await self.services.launches.cancel(self.me, launch_id, self.token)
        self.finish_json(await self.as_json(launch))


class StopServers(Handler):
    """The end of a person's servers of an environment."""

    async def post(self, environment_id: str) -> None:
        """Stop them; answer with those that end now."""
        json_object(self.request, ())
        servers = await self.services.launches.stop_servers(self.me, self.token, environment_id)
        self.finish_json({"items": [_render_server(server) for server in servers]})


class Servers(Handler):
    """A person's running servers."""

    async def get(self) -> None:
        """Answer with each server and the environment it runs."""
        servers = await self.services.launches.servers(self.me, self.token)
        self.finish_json({"items": [_render_server(server) for server in servers]})


def _render_server(server: Server) -> JSON:
    return {
        "name": server.name,
        "display_name": server.display_name,
        "ready": server.ready,
        "url": server.url,
        "environment": _environment_of(server),
        "started": iso_time(server.started),
    }


def _environment_of(server: Server) -> JSON | None:
    if server.environment_id is None or server.environment_name is None:
        return None
    return {"id": server.environment_id, "name": server.environment_name}
