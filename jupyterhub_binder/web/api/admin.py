"""Routes for admins: everybody's builds, and how what makes them stands."""

from __future__ import annotations

from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Build
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.render import render_host


class _AdminHandler(Handler):
    """A route that nobody else is answered by."""

    async def prepare(self) -> None:
        """Refuse whoever is no admin."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("This is for administrators.")


class Queue(_AdminHandler):
    """Everybody's builds that are not finished."""

    async def get(self) -> None:
        """Answer with those that run, then those that wait, in the order of the queue."""
        queue = self.services.builds.queue()
        renderer = await self.renderer((*queue.running, *queue.waiting))

        def render(builds: tuple[Build, ...]) -> list[dict]:
            return [renderer.build(build, user=self.me) for build in builds]

        self.finish_json(
            {
                "running": render(queue.running),
                "waiting": render(queue.waiting),
                "max_running": self.services.builds.max_running,
            }
        )


class Backends(_AdminHandler):
    """What makes the builds."""

    async def get(self) -> None:
        """Answer with the backend's health, and that of the BinderHubs that it sends builds to."""
        backend = self.services.backend
        item = {
            "name": backend.name,
            "description": backend.description,
            "health": (await self.services.health()).get("backend"),
            "hosts": [render_host(host) for host in backend.statuses()],
        }
        self.finish_json({"items": [item]})
