"""Routes for admins: builds, environments, backends, pausing builds and usage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from jupyterhub_binder.admin.usage import cut
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Build, Page
from jupyterhub_binder.model.admin import PersonUse
from jupyterhub_binder.web.api.common import Handler, builds_of
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_host, render_page
from jupyterhub_binder.web.api.render_admin import render_drain, use_csv
from jupyterhub_binder.web.api.shapes import (
    BackendJSON,
    BuildJSON,
    EnvironmentJSON,
    ListJSON,
    PageJSON,
    PageQuery,
)
from jupyterhub_binder.web.api.shapes_admin import (
    AllEnvironmentsQuery,
    DrainBody,
    DrainJSON,
    QueueJSON,
    UsePageQuery,
    UseQuery,
    UsesJSON,
)
from jupyterhub_binder.web.services import Services

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
        self.set_header("Content-Type", f"{kind}; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Cache-Control", "no-store")
        self.finish(text)


class QueueHandler(AdminAPIHandler):
    """Everyone's unfinished builds."""

    @operation("get_queue")
    async def get(self, *, query: PageQuery) -> QueueJSON:
        """For admins: list everyone's running builds, then the waiting ones in queue order.

        `offset` and `limit` apply to the waiting builds. Admins cancel a build for everyone with
        `POST /api/v1/builds/{build_id}/cancel`.
        """
        queue = self.services.builds.queue()
        waiting = queue.waiting[query.offset : query.offset + query.limit]
        return QueueJSON(
            running=await self.render_builds(queue.running),
            waiting=await self.render_builds(waiting),
            waiting_total=len(queue.waiting),
            offset=query.offset,
            limit=query.limit,
            max_running=self.services.builds.max_running,
            draining=self.services.drain.state is not None,
        )


class BackendsHandler(AdminAPIHandler):
    """The build backends."""

    @operation("list_backends")
    async def get(self) -> ListJSON[BackendJSON]:
        """For admins: list the build backends and their state."""
        backend = self.services.backend
        item = BackendJSON(
            name=backend.name,
            description=backend.description,
            health=(await self.services.health()).get("backend"),
            hosts=tuple(render_host(host) for host in backend.statuses()),
        )
        return ListJSON(items=(item,))


class AllEnvironmentsHandler(AdminAPIHandler):
    """Everyone's environments."""

    @operation("list_all_environments")
    async def get(self, *, query: AllEnvironmentsQuery) -> PageJSON[EnvironmentJSON]:
        """For admins: list everyone's environments.

        Admins can read, delete and restore them like their owners.
        """
        page = await self.services.environments.list(
            self.me,
            search=query.search,
            owner=query.person or "*",
            order=query.order,
            deleted=query.deleted == "1",
            offset=query.offset,
            limit=query.limit,
        )
        return render_page(page, (await self.renderer(builds_of(page.items))).environment)


class UsageHandler(AdminAPIHandler):
    """Usage by person."""

    @operation("list_use")
    async def get(self, *, query: UsePageQuery) -> UsesJSON:
        """For admins: list usage by person.

        Builds and launches cover the period. Environments and images are as they are now.
        """
        uses = await fetch_use(self.services, query)
        page = cut(uses, offset=query.offset, limit=query.limit)
        return UsesJSON(
            items=page.items,
            total=page.total,
            offset=page.offset,
            limit=page.limit,
            days=int(query.days),
        )


class UsageCSVHandler(AdminAPIHandler):
    """Usage by person, for a spreadsheet."""

    @operation("download_use", media="text/csv")
    async def get(self, *, query: UseQuery) -> None:
        """For admins: get usage by person as CSV for a spreadsheet."""
        uses = await fetch_use(self.services, query)
        self.finish_download(use_csv(uses), "text/csv", f"use-{query.days}-days.csv")


async def fetch_use(services: Services, query: UseQuery) -> list[PersonUse]:
    """Return the usage that the query selects."""
    return await services.usage.fetch(
        days=int(query.days), order=query.sort, search=query.search.strip()
    )


class DrainHandler(AdminAPIHandler):
    """Whether builds are paused."""

    @operation("get_drain")
    async def get(self) -> DrainJSON:
        """For admins: get whether builds are paused, and what is still running."""
        return drain_json(self.services)

    @operation("drain")
    async def put(self, *, body: DrainBody) -> DrainJSON:
        """For admins: pause builds, with a message on every page.

        Running builds finish. Waiting builds stay in the queue, even across a restart.
        """
        await self.services.drain.begin(self.me, body.message)
        return drain_json(self.services)

    @operation("resume")
    async def delete(self) -> DrainJSON:
        """For admins: resume builds."""
        await self.services.drain.end(self.me)
        return drain_json(self.services)


def drain_json(services: Services) -> DrainJSON:
    """Return whether builds are paused, and what still runs."""
    queue = services.builds.queue()
    return render_drain(
        services.drain.state,
        running=len(queue.running),
        waiting=len(queue.waiting),
        launches=services.launches.under_way,
    )


def cut_page(items: Sequence[T], query: PageQuery) -> Page[T]:
    """Return the requested part of a list."""
    part = items[query.offset : query.offset + query.limit]
    return Page(tuple(part), len(items), query.offset, query.limit)
