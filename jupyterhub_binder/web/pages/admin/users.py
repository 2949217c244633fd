"""The tabs for all environments and for usage."""

from __future__ import annotations

from jupyterhub_binder.admin import columns
from jupyterhub_binder.admin.usage import PERIODS_DAYS, UseOrder
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS
from jupyterhub_binder.web.api.admin.use import fetch_use
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes.admin import AllEnvironmentsQuery, UsePageQuery
from jupyterhub_binder.web.pages.admin.base import PAGE_SIZE, AdminPage, address, part
from jupyterhub_binder.web.pages.views import EnvironmentView


class AllEnvironmentsPage(AdminPage):
    """``/admin/environments``."""

    async def get(self) -> None:
        """Show everyone's environments."""
        asked = read_query(self, AllEnvironmentsQuery, form=True)
        deleted = asked.deleted == "1"
        page = await self.services.environments.list(
            self.me,
            search=asked.search,
            owner=asked.person or "*",
            deleted=deleted,
            offset=asked.offset,
            limit=PAGE_SIZE,
        )
        views = [EnvironmentView(each, await self.fetch_progress(each)) for each in page.items]
        query = {"search": asked.search, "person": asked.person}
        self.render_tab(
            "environments",
            items=views,
            **query,
            deleted=deleted,
            other_url=address(**query, deleted="" if deleted else "1"),
            **self.pager(page, **query, deleted="1" if deleted else ""),
        )


class EnvironmentAdminAction(AdminPage):
    """``POST /admin/environments/<id>/delete`` and ``…/restore``."""

    async def post(self, environment_id: str, action: str) -> None:
        """Delete or restore."""
        self.back = f"{self.prefix}admin/environments"
        environments = self.services.environments
        if action == "delete":
            await environments.delete(self.me, environment_id)
        else:
            await environments.restore(self.me, environment_id)
        person = self.form.text("person", max_length=MAX_PERSON_CHARACTERS) or ""
        deleted = "1" if action == "delete" else ""
        self.redirect(self.back + address(person=person, deleted=deleted), status=303)


class UsagePage(AdminPage):
    """``/admin/use``."""

    async def get(self) -> None:
        """Show usage by person, the largest first."""
        query = read_query(self, UsePageQuery, form=True)
        page = part(await fetch_use(self.services, query), query.offset)
        asked = {"days": query.days, "sort": query.sort, "search": query.search}
        self.render_tab(
            "use",
            query=query,
            columns=columns.USE,
            sort_urls={order: address(**{**asked, "sort": order}) for order in UseOrder},
            period_urls=[(days, address(**{**asked, "days": days})) for days in PERIODS_DAYS],
            csv_url=f"{self.prefix}api/v1/admin/use.csv{address(**asked)}",
            **self.pager(page, **asked),
        )
