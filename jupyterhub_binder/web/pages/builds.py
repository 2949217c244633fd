"""The pages of a build."""

from __future__ import annotations

from typing import Any

from jupyterhub_binder.model import Build, BuildState
from jupyterhub_binder.web.pages.base import PageHandler
from jupyterhub_binder.web.pages.failures import note_for_admin
from jupyterhub_binder.web.pages.history import ComparisonView
from jupyterhub_binder.web.pages.views import BuildView

TAIL_LINES = 300
"""Log lines on a page without scripts."""


class BuildPage(PageHandler):
    """``/builds/<id>``."""

    async def get(self, build_id: str) -> None:
        """Show progress, result and the log's end."""
        build, environment, request = await self.services.environments.requests.of_build(
            self.me, build_id
        )
        view = BuildView(build, await self.fetch_progress(build), environment, request)
        (item,) = await self.fetch_views([environment]) if environment else (None,)
        after = max(0, build.lines - TAIL_LINES)
        events = await self.services.builds.fetch_log(build_id, after=after, limit=TAIL_LINES)
        self.render_page(
            "build.html",
            page_title=f"{view.pill.label} · {environment.name if environment else build.label}",
            page_state=view.pill.kind,
            view=view,
            note=note_for_admin(build, self.address_of_build(build)),
            item=item,
            events=events,
            first_line=after + 1,
            refresh=None if view.finished else 10,
            **await self._contents(build),
        )

    async def _contents(self, build: Build) -> dict[str, Any]:
        """Return how many packages are in the image, and what differs from the build before."""
        if build.state is not BuildState.BUILT:
            return {}
        inventories = self.services.inventories
        contents = await inventories.fetch(self.me, build.id)
        found = await inventories.compare_with(self.me, contents)
        return {
            "packages": len(contents.inventory.packages) if contents.inventory else None,
            "other": found.before if found else None,
            "comparison": ComparisonView(found.difference) if found else None,
        }


class BuildCancel(PageHandler):
    """``POST /builds/<id>/cancel``."""

    async def post(self, build_id: str) -> None:
        """Withdraw the person's request."""
        self.back = f"{self.prefix}builds/{build_id}"
        await self.services.environments.requests.cancel(self.me, build_id)
        self.redirect(f"{self.prefix}builds/{build_id}", status=303)
