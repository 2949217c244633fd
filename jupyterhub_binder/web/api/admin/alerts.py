"""Routes for admins: alerts, and a test of who is told."""

from __future__ import annotations

from jupyterhub_binder.maintenance.alerts.outbox import AlertDelivery
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.shapes import ListJSON
from jupyterhub_binder.web.api.shapes.alerts import (
    AlertJSON,
    AlertsJSON,
    AlertTestBody,
    DestinationJSON,
)


class AlertsHandler(AdminAPIHandler):
    """The alerts that are on."""

    @operation("list_alerts")
    async def get(self) -> AlertsJSON:
        """For admins: get the alerts that are on, and who is told."""
        alerts = self.services.alerts
        return AlertsJSON(
            items=tuple(
                AlertJSON(name=each.name, text=each.text, since=each.since) for each in alerts.on
            ),
            destinations=tuple(map(render_delivery, alerts.deliveries)),
        )


class AlertTestHandler(AdminAPIHandler):
    """A test message."""

    @operation("test_alerts", errors=(404,))
    async def post(self, *, body: AlertTestBody) -> ListJSON[DestinationJSON]:
        """For admins: send a test message to one destination or all, and get what became of it."""
        tested = await self.services.alerts.test(body.destination)
        return ListJSON(items=tuple(map(render_delivery, tested)))


def render_delivery(of: AlertDelivery) -> DestinationJSON:
    """Render a destination without its address."""
    return DestinationJSON(
        name=of.destination.name, shown=of.destination.shown, sent=of.sent, problem=of.problem
    )
