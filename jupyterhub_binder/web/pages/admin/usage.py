"""The tab with the usage of the hub."""

from __future__ import annotations

from jupyterhub_binder.web.i18n.language import day
from jupyterhub_binder.web.pages.admin.base import AdminPage
from jupyterhub_binder.web.pages.usage import usage_values


class HubUsagePage(AdminPage):
    """``/admin/usage``."""

    async def get(self) -> None:
        """Show the usage of a quarter or a year, and whether launches are archived."""
        archive = self.services.archive
        self.render_tab(
            "usage",
            public=self.services.usage_reports.public,
            archive=archive,
            archived=day(archive.last_day) if archive.last_day else "",
            **await usage_values(self),
        )
