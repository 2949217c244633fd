"""The tabs of builds: what runs and waits, with a way to end each, and what makes them."""

from __future__ import annotations

from jupyterhub_binder.web.admin.base import AdminHandler, part
from jupyterhub_binder.web.views import BuildView, HostView


class BuildsPage(AdminHandler):
    """``/admin``: what is being built, and for whom."""

    async def get(self) -> None:
        """Show it."""
        services = self.services
        queue = services.builds.queue()
        page = part((*queue.running, *queue.waiting), self.offset)
        self.render_tab(
            "builds",
            builds=[BuildView(build, await self.fetch_standing(build)) for build in page.items],
            running=len(queue.running),
            waiting=len(queue.waiting),
            max_running=services.builds.max_running,
            refresh=10 if page.total else None,
            **self.pager(page),
        )


class CancelBuild(AdminHandler):
    """``POST /admin/builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """End a build for everybody who wants it, and show the queue again."""
        self.back = f"{self.prefix}admin"
        await self.services.builds.cancel(build_id, user=self.me)
        self.redirect(self.back, status=303)


class BackendsPage(AdminHandler):
    """``/admin/backends``: whether builds work, and where they are made."""

    async def get(self) -> None:
        """Show it."""
        backend = self.services.backend
        parts = await self.services.health()
        self.render_tab(
            "backends",
            backend=backend,
            wrong=[message for message in parts.values() if message],
            hosts=[HostView(host) for host in backend.statuses()],
        )
