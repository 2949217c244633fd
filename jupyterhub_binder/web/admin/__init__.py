"""The admins' pages: what is made for whom, what people use, what is allowed, who did what.

Each is a tab with an address of its own. A GET changes nothing, a POST one thing.
"""

from __future__ import annotations

from tornado.routing import URLSpec
from tornado.web import RequestHandler

from jupyterhub_binder.web.admin.builds import BackendsPage, BuildsPage, CancelBuild
from jupyterhub_binder.web.admin.drain import DrainPage, Resume
from jupyterhub_binder.web.admin.people import EnvironmentDo, EnvironmentsPage, UsePage
from jupyterhub_binder.web.admin.records import AuditPage
from jupyterhub_binder.web.admin.rules import LimitsPage, RuleDo, RulesPage
from jupyterhub_binder.web.pages import ID

__all__ = ["admin_handlers"]


def admin_handlers(base_url: str) -> list[URLSpec]:
    """Return the routes of the admins' pages below the service's prefix."""
    routes: list[tuple[str, type[RequestHandler]]] = [
        (r"admin", BuildsPage),
        (rf"admin/builds/{ID}/cancel", CancelBuild),
        (r"admin/environments", EnvironmentsPage),
        (rf"admin/environments/{ID}/(delete|restore)", EnvironmentDo),
        (r"admin/use", UsePage),
        (r"admin/backends", BackendsPage),
        (r"admin/rules", RulesPage),
        (rf"admin/rules/{ID}/(remove|cancel)", RuleDo),
        (r"admin/limits", LimitsPage),
        (r"admin/drain", DrainPage),
        (r"admin/drain/resume", Resume),
        (r"admin/audit", AuditPage),
    ]
    return [URLSpec(f"{base_url}{path}", handler) for path, handler in routes]
