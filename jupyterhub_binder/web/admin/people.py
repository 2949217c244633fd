"""The tabs of people: everybody's environments, and what each person uses."""

from __future__ import annotations

from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, MOST_SEARCH_CHARACTERS
from jupyterhub_binder.usage import PERIODS_DAYS, UseOrder
from jupyterhub_binder.web.admin.base import PAGE_SIZE, AdminHandler, address, part
from jupyterhub_binder.web.adminquery import UseQuery
from jupyterhub_binder.web.i18n import N_
from jupyterhub_binder.web.parse import query_choice, query_text
from jupyterhub_binder.web.views import EnvironmentView


class EnvironmentsPage(AdminHandler):
    """``/admin/environments``: everybody's environments."""

    async def get(self) -> None:
        """Show a part of them."""
        search = query_text(self, "search", most=MOST_SEARCH_CHARACTERS)
        person = query_text(self, "person", most=MOST_PERSON_CHARACTERS).strip()
        deleted = query_choice(self, "deleted", ("", "0", "1")) == "1"
        page = await self.services.environments.list(
            self.me,
            search=search,
            owner=person or "*",
            deleted=deleted,
            offset=self.offset,
            limit=PAGE_SIZE,
        )
        views = [
            EnvironmentView(each, await self.fetch_standing(each), None) for each in page.items
        ]
        query = {"search": search, "person": person}
        self.render_tab(
            "environments",
            items=views,
            search=search,
            person=person,
            deleted=deleted,
            other_url=address(**query, deleted="" if deleted else "1"),
            **self.pager(page, **query, deleted="1" if deleted else ""),
        )


class EnvironmentDo(AdminHandler):
    """``POST /admin/environments/<id>/delete`` and ``…/restore``."""

    async def post(self, environment_id: str, action: str) -> None:
        """Do it, and show the list again."""
        self.back = f"{self.prefix}admin/environments"
        environments = self.services.environments
        if action == "delete":
            await environments.delete(self.me, environment_id)
        else:
            await environments.restore(self.me, environment_id)
        person = self.form.text("person", most=MOST_PERSON_CHARACTERS) or ""
        deleted = "1" if action == "delete" else ""
        self.redirect(self.back + address(person=person, deleted=deleted), status=303)


class UsePage(AdminHandler):
    """``/admin/use``: what people use."""

    async def get(self) -> None:
        """Show it, the largest first."""
        query = UseQuery.read(self)
        page = part(await query.fetch(self.services.store), self.offset)
        asked = {"days": query.days, "sort": query.order, "search": query.search}
        self.render_tab(
            "use",
            query=query,
            columns=_COLUMNS,
            sort_urls={order: address(**{**asked, "sort": order}) for order in UseOrder},
            period_urls=[(days, address(**{**asked, "days": days})) for days in PERIODS_DAYS],
            csv_url=f"{self.prefix}api/v1/admin/use.csv{address(**asked)}",
            **self.pager(page, **asked),
        )


_COLUMNS = (
    (UseOrder.NAME, N_("Person")),
    (UseOrder.BUILDS, N_("Builds")),
    (UseOrder.BUILD_SECONDS, N_("Build time")),
    (UseOrder.LAUNCHES, N_("Launches")),
    (UseOrder.ENVIRONMENTS, N_("Environments")),
    (UseOrder.IMAGE_BYTES, N_("Images")),
)
