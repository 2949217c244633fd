"""The admins' page: everybody's builds, and how what makes them stands.

Nothing here decides who may: `AdminHandler` refuses everybody but admins, before anything else.
"""

from __future__ import annotations

from tornado.routing import URLSpec

from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.web.api import ID
from jupyterhub_binder.web.pages import PageHandler
from jupyterhub_binder.web.views import BuildView, HostView

__all__ = ["admin_handlers"]


class AdminHandler(PageHandler):
    """A page for admins."""

    async def prepare(self) -> None:
        """Refuse whoever is no admin."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("This page is for administrators.")


class AdminPage(AdminHandler):
    """``/admin``: what is being built, for whom, and whether builds work."""

    async def get(self) -> None:
        """Show it."""
        services = self.services
        queue = services.builds.queue()
        builds = [
            BuildView(build, await self.fetch_standing(build))
            for build in (*queue.running, *queue.waiting)
        ]
        parts = await services.health()
        self.render_page(
            "admin.html",
            page_title="Builds of this hub",
            nav="builds",
            builds=builds,
            running=len(queue.running),
            max_running=services.builds.max_running,
            backend=services.backend,
            wrong=[message for message in parts.values() if message],
            hosts=[HostView(host) for host in services.backend.statuses()],
            refresh=10 if builds else None,
        )


class AdminCancel(AdminHandler):
    """``POST /admin/builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """End a build for everybody who wants it, and show the queue again."""
        self.back = f"{self.prefix}admin"
        await self.services.builds.cancel(build_id, user=self.me)
        self.redirect(self.back, status=303)


def admin_handlers(base_url: str) -> list[URLSpec]:
    """Return the routes of the admins' page below the service's prefix."""
    return [
        URLSpec(f"{base_url}admin", AdminPage),
        URLSpec(f"{base_url}admin/builds/{ID}/cancel", AdminCancel),
    ]
