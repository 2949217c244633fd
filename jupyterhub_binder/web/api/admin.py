"""Routes for admins: everybody's builds and environments, what makes builds, draining, use."""

from __future__ import annotations

from typing import Literal, cast

from jupyterhub_binder.drain import MOST_MESSAGE_CHARACTERS
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, MOST_SEARCH_CHARACTERS
from jupyterhub_binder.model import Build, Page
from jupyterhub_binder.usage import cut
from jupyterhub_binder.web.adminquery import UseQuery
from jupyterhub_binder.web.adminrender import render_drain, render_use, use_csv
from jupyterhub_binder.web.api.common import PAGE_LIMIT, Handler, builds_of
from jupyterhub_binder.web.parse import json_object, query_choice, query_integer, query_text
from jupyterhub_binder.web.render import JSON, render_host, render_page


class AdminHandler(Handler):
    """A route that nobody else is answered by."""

    async def prepare(self) -> None:
        """Refuse whoever is no admin."""
        await super().prepare()
        if not self.me.admin:
            raise NotAllowed("This is for administrators.")

    def cut(self) -> tuple[int, int]:
        """Return which part of a list is asked for: offset and limit."""
        offset = query_integer(self, "offset", default=0)
        return offset, query_integer(self, "limit", default=50, least=1, most=PAGE_LIMIT)

    def finish_download(self, text: str, kind: str, name: str) -> None:
        """Answer with a text that a browser saves as a file."""
        self.set_header("Content-Type", f"{kind}; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


class Queue(AdminHandler):
    """Everybody's builds that are not finished."""

    async def get(self) -> None:
        """Answer with those that run, then those that wait, in the order of the queue."""
        offset, limit = self.cut()
        queue = self.services.builds.queue()
        waiting = queue.waiting[offset : offset + limit]
        renderer = await self.renderer((*queue.running, *waiting))

        def render(builds: tuple[Build, ...]) -> list[dict]:
            return [renderer.build(build, user=self.me) for build in builds]

        self.finish_json(
            {
                "running": render(queue.running),
                "waiting": render(waiting),
                "waiting_total": len(queue.waiting),
                "offset": offset,
                "limit": limit,
                "max_running": self.services.builds.max_running,
                "draining": self.services.command.drain.state is not None,
            }
        )


class Backends(AdminHandler):
    """The build backends."""

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


class AllEnvironments(AdminHandler):
    """Everybody's environments."""

    async def get(self) -> None:
        """Answer with a page of them, or of those that were deleted and can be restored."""
        offset, limit = self.cut()
        order = query_choice(self, "order", ("recent", "name"))
        page = await self.services.environments.list(
            self.me,
            search=query_text(self, "search", most=MOST_SEARCH_CHARACTERS),
            owner=query_text(self, "person", most=MOST_PERSON_CHARACTERS) or "*",
            order=cast('Literal["recent", "name"]', order),
            deleted=query_choice(self, "deleted", ("0", "1")) == "1",
            offset=offset,
            limit=limit,
        )
        self.finish_json((await self.renderer(builds_of(page.items))).environments(page))


class Use(AdminHandler):
    """What people use."""

    async def get(self) -> None:
        """Answer with a page of people."""
        offset, limit = self.cut()
        query = UseQuery.read(self)
        page = cut(await query.fetch(self.services.store), offset=offset, limit=limit)
        self.finish_json({**render_page(page, render_use), "days": query.days})


class UseCSV(AdminHandler):
    """What people use, for a spreadsheet."""

    async def get(self) -> None:
        """Answer with everybody."""
        query = UseQuery.read(self)
        uses = await query.fetch(self.services.store)
        self.finish_download(use_csv(uses), "text/csv", f"use-{query.days}-days.csv")


class Drain(AdminHandler):
    """Whether builds begin."""

    async def get(self) -> None:
        """Answer with that, and with what is under way."""
        self._answer()

    async def put(self) -> None:
        """Pause builds."""
        fields = json_object(self.request, {"message"})
        message = fields.text("message", most=MOST_MESSAGE_CHARACTERS) or ""
        await self.services.command.drain.begin(self.me, message)
        self._answer()

    async def delete(self) -> None:
        """Resume builds."""
        await self.services.command.drain.end(self.me)
        self._answer()

    def _answer(self) -> None:
        self.finish_json(drain_json(self))


def drain_json(handler: Handler) -> JSON:
    """Return whether builds begin, and what is under way."""
    services = handler.services
    queue = services.builds.queue()
    return render_drain(
        services.command.drain.state,
        running=len(queue.running),
        waiting=len(queue.waiting),
        launches=services.launches.under_way,
    )


def page_of(items: tuple, handler: AdminHandler) -> Page:
    """Return the part of a list that is asked for."""
    offset, limit = handler.cut()
    return Page(items[offset : offset + limit], len(items), offset, limit)
