"""The tabs for the queue and the backends."""

from __future__ import annotations

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.maintenance.health import part_of
from jupyterhub_binder.web.pages.admin.base import AdminPage, part
from jupyterhub_binder.web.pages.views import BuildView, HostView


class QueuePage(AdminPage):
    """``/admin/queue``: running and waiting builds."""

    async def get(self) -> None:
        """Show the queue."""
        services = self.services
        queue = services.builds.queue()
        page = part((*queue.running, *queue.waiting), self.offset)
        self.render_tab(
            "queue",
            builds=[BuildView(build, await self.fetch_progress(build)) for build in page.items],
            running=len(queue.running),
            waiting=len(queue.waiting),
            max_running=services.builds.max_running,
            refresh=10 if page.total else None,
            **self.pager(page),
        )


class BuildCancelAction(AdminPage):
    """``POST /admin/builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """Cancel a build for everyone."""
        self.back = f"{self.prefix}admin/queue"
        await self.services.builds.cancel(build_id, user=self.me)
        self.redirect(self.back, status=303)


class BackendsPage(AdminPage):
    """``/admin/backends``."""

    async def get(self) -> None:
        """Show the backends' state."""
        backend = self.services.backend
        several = {part_of(maker): maker for maker in backend.makers if maker is not backend}
        parts = await self.services.health()
        self.render_tab(
            "backends",
            backend=backend,
            wrong=[message for part, message in parts.items() if message and part not in several],
            partly=any(parts.get(part) for part in several),
            makers=[(maker, parts.get(part), _hosts(maker)) for part, maker in several.items()],
            hosts=() if several else _hosts(backend),
        )


def _hosts(backend: BuildBackend) -> list[HostView]:
    return [HostView(host) for host in backend.statuses()]
