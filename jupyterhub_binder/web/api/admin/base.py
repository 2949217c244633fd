"""What the routes for admins share: the check of the right, downloads, a page of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tornado.web import RequestHandler

from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Build, Page
from jupyterhub_binder.web.api.common import Handler
from jupyterhub_binder.web.api.shapes import PageQuery
from jupyterhub_binder.web.api.shapes.builds import BuildJSON

T = TypeVar("T")


class AdminAPIHandler(Handler):
    """A route for administrators only."""

    async def prepare(self) -> None:
        """Refuse everyone else."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("Only administrators may do this.")

    async def render_builds(self, builds: Sequence[Build]) -> tuple[BuildJSON, ...]:
        """Render builds of any person."""
        renderer = await self.renderer(builds)
        return tuple(renderer.build(build, user=self.me) for build in builds)

    def finish_download(self, text: str, kind: str, name: str) -> None:
        """Send text that a browser saves as a file."""
        send_download(self, text, kind, name)


def send_download(handler: RequestHandler, text: str, kind: str, name: str) -> None:
    """Send text that a browser saves as a file."""
    handler.set_header("Content-Type", f"{kind}; charset=UTF-8")
    handler.set_header("Content-Disposition", f'attachment; filename="{name}"')
    handler.set_header("Cache-Control", "no-store")
    handler.finish(text)


def cut_page(items: Sequence[T], query: PageQuery) -> Page[T]:
    """Return the requested part of a list."""
    part = items[query.offset : query.offset + query.limit]
    return Page(tuple(part), len(items), query.offset, query.limit)
