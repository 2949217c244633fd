"""The tab with the usage of the hub."""

from __future__ import annotations

from jupyterhub_binder.web.pages.admin.base import AdminPage
from jupyterhub_binder.web.pages.usage import usage_values


class HubUsagePage(AdminPage):
    """``/admin/usage``."""

    async def get(self) -> None:
        """Show the usage of a quarter or a year."""
        public = self.services.usage_reports.public
        self.render_tab("usage", public=public, **await usage_values(self))
