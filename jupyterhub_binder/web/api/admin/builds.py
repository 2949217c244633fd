"""Routes for admins: the queue, everybody's builds, the backends, and pausing builds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.maintenance.health import part_of
from jupyterhub_binder.store.build_lists import BuildFilter
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_host
from jupyterhub_binder.web.api.render.admin import render_drain
from jupyterhub_binder.web.api.shapes import ListJSON, PageQuery
from jupyterhub_binder.web.api.shapes.admin import (
    DrainBody,
    DrainJSON,
    HistoryPartJSON,
    HistoryPartQuery,
    HistoryQuery,
    QueueJSON,
)
from jupyterhub_binder.web.api.shapes.backends import BackendJSON
from jupyterhub_binder.web.services import Services


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


class AllBuildsHandler(AdminAPIHandler):
    """Everyone's builds."""

    @operation("list_all_builds")
    async def get(self, *, query: HistoryPartQuery) -> HistoryPartJSON:
        """For admins: list everyone's builds, the newest first."""
        part = await self.services.store.list_builds(
            filter_of(query), after=query.after, limit=query.limit
        )
        return HistoryPartJSON(items=await self.render_builds(part.items), older=part.older or None)


def filter_of(query: HistoryQuery) -> BuildFilter:
    """Return the filter of a query; a day counts in UTC, and to its end. Raises InvalidInput."""
    return BuildFilter(
        state=query.state,
        person=query.person.strip(),
        repository=query.repository.strip(),
        reason=query.reason.strip(),
        since=_day(query.since),
        until=_day(query.until, days=1),
    )


def _day(text: str, days: int = 0) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            "'%(text)s' is not a date. Write one such as 2026-11-30.", text=text
        ) from error


class BackendsHandler(AdminAPIHandler):
    """The build backends."""

    @operation("list_backends")
    async def get(self) -> ListJSON[BackendJSON]:
        """For admins: list the build backends and their state."""
        parts = await self.services.health()
        return ListJSON(items=render_backends(self.services.backend, parts))


def render_backends(
    backend: BuildBackend, parts: Mapping[str, str | None]
) -> tuple[BackendJSON, ...]:
    """Render each backend that makes images, with what is wrong with it."""
    makers = backend.makers
    return tuple(
        BackendJSON(
            name=maker.name,
            description=maker.description,
            health=parts.get(part_of(maker) if len(makers) > 1 else "backend"),
            hosts=tuple(render_host(host) for host in maker.statuses()),
        )
        for maker in makers
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
