"""Pages of a build: how far it is, what went wrong, its cancelling."""

from __future__ import annotations

from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.views import BuildView

TAIL_LINES = 300
"""Lines of a log on a page without scripts."""


class BuildPage(PageHandler):
    """``/builds/<id>``: how far, how long, what went wrong."""

    async def get(self, build_id: str) -> None:
        """Show the build, and the end of its log for browsers without scripts."""
        build, environment, request = await self.services.environments.request_of(self.me, build_id)
        view = BuildView(build, await self.fetch_standing(build), environment, request)
        after = max(0, build.lines - TAIL_LINES)
        events = await self.services.builds.fetch_log(build_id, after=after, limit=TAIL_LINES)
        self.render_page(
            "build.html",
            page_title=f"{view.pill.label} · {environment.name if environment else build.label}",
            page_state=view.pill.kind,
            view=view,
            events=events,
            first_line=after + 1,
            refresh=None if view.finished else 10,
        )


class BuildCancel(PageHandler):
    """``POST /builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """Withdraw this person's wish for the build."""
        await self.services.environments.request_of(self.me, build_id)
        self.back = f"{self.prefix}builds/{build_id}"
        await self.services.builds.cancel(build_id, user=self.me)
        self.redirect(f"{self.prefix}builds/{build_id}", status=303)
