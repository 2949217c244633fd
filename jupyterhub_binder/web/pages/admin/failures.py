"""The tab for failed builds by kind."""

from __future__ import annotations

from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes.admin import FailuresQuery
from jupyterhub_binder.web.pages.admin.base import PAGE_SIZE, AdminPage


class FailuresPage(AdminPage):
    """``/admin/failures``."""

    async def get(self) -> None:
        """Show unexplained failures by how often, or the explained ones."""
        query = read_query(self, FailuresQuery, form=True)
        page = await self.services.store.list_failure_kinds(
            known=query.known == "1", offset=query.offset, limit=PAGE_SIZE
        )
        self.render_tab(
            "failures", known=query.known, kinds=page.items, **self.pager(page, known=query.known)
        )
