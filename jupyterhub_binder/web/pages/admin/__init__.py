"""The admin pages, one per tab."""

from __future__ import annotations

from tornado.routing import URLSpec
from tornado.web import RequestHandler

from jupyterhub_binder.web.pages import ID
from jupyterhub_binder.web.pages.admin.alerts import AlertsPage
from jupyterhub_binder.web.pages.admin.audit import AuditPage
from jupyterhub_binder.web.pages.admin.builds import BackendsPage, BuildCancelAction, QueuePage
from jupyterhub_binder.web.pages.admin.drain import DrainPage, ResumeAction
from jupyterhub_binder.web.pages.admin.failures import FailuresPage
from jupyterhub_binder.web.pages.admin.history import HistoryPage
from jupyterhub_binder.web.pages.admin.home import FreeAction, HomePage
from jupyterhub_binder.web.pages.admin.policy import (
    LimitsPage,
    ReportAction,
    RuleAction,
    RulesPage,
)
from jupyterhub_binder.web.pages.admin.usage import HubUsagePage
from jupyterhub_binder.web.pages.admin.users import (
    AllEnvironmentsPage,
    EnvironmentAdminAction,
    UsagePage,
)

__all__ = ["admin_handlers"]


def admin_handlers(base_url: str) -> list[URLSpec]:
    """Return the admin routes."""
    routes: list[tuple[str, type[RequestHandler]]] = [
        (r"admin", HomePage),
        (r"admin/cleanup", FreeAction),
        (r"admin/queue", QueuePage),
        (r"admin/builds", HistoryPage),
        (rf"admin/builds/{ID}/cancel", BuildCancelAction),
        (r"admin/environments", AllEnvironmentsPage),
        (rf"admin/environments/{ID}/(delete|restore)", EnvironmentAdminAction),
        (r"admin/usage", HubUsagePage),
        (r"admin/use", UsagePage),
        (r"admin/failures", FailuresPage),
        (r"admin/backends", BackendsPage),
        (r"admin/rules", RulesPage),
        (rf"admin/rules/{ID}/(remove|cancel|stop)", RuleAction),
        (rf"admin/reports/{ID}/dismiss", ReportAction),
        (r"admin/limits", LimitsPage),
        (r"admin/drain", DrainPage),
        (r"admin/drain/resume", ResumeAction),
        (r"admin/alerts", AlertsPage),
        (r"admin/audit", AuditPage),
    ]
    return [URLSpec(f"{base_url}{path}", handler) for path, handler in routes]
