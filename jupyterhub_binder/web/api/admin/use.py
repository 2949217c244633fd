"""Routes for admins: everyone's environments, and usage by person."""

from __future__ import annotations

from jupyterhub_binder.admin.usage import cut
from jupyterhub_binder.model.admin import PersonUse
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.common import builds_of
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_page
from jupyterhub_binder.web.api.render.admin import use_csv
from jupyterhub_binder.web.api.shapes import PageJSON
from jupyterhub_binder.web.api.shapes.admin import (
    AllEnvironmentsQuery,
    UsePageQuery,
    UseQuery,
    UsesJSON,
)
from jupyterhub_binder.web.api.shapes.environments import EnvironmentJSON
from jupyterhub_binder.web.services import Services


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
