"""Routes for admins: the overview."""

from __future__ import annotations

from jupyterhub_binder.maintenance.advisories import checked_on
from jupyterhub_binder.web.api.admin.base import AdminAPIHandler
from jupyterhub_binder.web.api.admin.builds import render_backends
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.api.render import render_checks
from jupyterhub_binder.web.api.render.admin import render_drain
from jupyterhub_binder.web.api.render.overview import (
    render_at_limit,
    render_concern,
    render_disk,
    render_failures,
    render_images,
    render_software,
    render_totals,
)
from jupyterhub_binder.web.api.shapes import PAGE_LIMIT
from jupyterhub_binder.web.api.shapes.overview import OverviewJSON
from jupyterhub_binder.web.overview import FAILURE_DAYS, fetch_overview


class OverviewHandler(AdminAPIHandler):
    """What administrators look at first."""

    @operation("get_overview")
    async def get(self) -> OverviewJSON:
        """For admins: get the state of everything, as the page *Overview* shows it."""
        services = self.services
        overview = await fetch_overview(services)
        return OverviewJSON(
            time=overview.time,
            version=overview.version,
            hub_version=overview.hub_version or None,
            attention=tuple(render_concern(each, services.base_url) for each in overview.concerns),
            checks=render_checks(overview.parts),
            drain=render_drain(
                overview.drain,
                running=len(overview.running),
                waiting=len(overview.waiting),
                launches=overview.launches,
            ),
            max_running=overview.max_running,
            oldest_wait_seconds=overview.oldest_wait_seconds,
            today=render_totals(overview.today),
            week_ago=render_totals(overview.week_ago),
            failure_days=FAILURE_DAYS,
            failures=tuple(map(render_failures, overview.failures)),
            people_at_limit=tuple(map(render_at_limit, overview.people[:PAGE_LIMIT])),
            people_at_limit_total=len(overview.people),
            disk=render_disk(overview.disk) if overview.disk else None,
            images=render_images(overview.disk_use) if overview.disk_use else None,
            backends=render_backends(services.backend, overview.parts),
            software=tuple(map(render_software, overview.installed)),
            advisories_checked=checked_on().isoformat(),
        )
