"""The tab for alerts: which are on, who is told, and a test."""

from __future__ import annotations

from jupyterhub_binder.maintenance.alerts.service import TITLES
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.web.pages.admin.base import AdminPage


class AlertsPage(AdminPage):
    """``/admin/alerts``."""

    async def get(self) -> None:
        """Show the alerts that are on, and the destinations."""
        self._show()

    async def post(self) -> None:
        """Send a test message, and show what became of it."""
        self.back = f"{self.prefix}admin/alerts"
        name = self.form.text("destination", max_length=MAX_NAME_CHARACTERS) or ""
        tested = await self.services.alerts.test(name)
        self._show(tested=tested)

    def _show(self, **values: object) -> None:
        alerts = self.services.alerts
        self.render_tab("alerts", alerts=alerts, titles=TITLES, **{"tested": (), **values})
