"""The audit log tab."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.model.admin import SERVICE, Action, AuditEntry
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes.admin import AuditPageQuery
from jupyterhub_binder.web.i18n.language import N_, number
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.admin.base import PAGE_SIZE, AdminPage, address

WORDS = {
    Action.ENVIRONMENT_CREATE: N_("created an environment"),
    Action.ENVIRONMENT_DELETE: N_("deleted an environment"),
    Action.ENVIRONMENT_RESTORE: N_("restored an environment"),
    Action.ENVIRONMENT_SHARE: N_("changed who may use an environment"),
    Action.ENVIRONMENT_FEATURE: N_("changed what is featured"),
    Action.ENVIRONMENT_OFFER: N_("offered an environment"),
    Action.ENVIRONMENT_TRANSFER: N_("received an environment"),
    Action.BUILD_FORCE: N_("rebuilt an environment"),
    Action.BUILD_CANCEL: N_("cancelled a build"),
    Action.BUILD_CHOOSE: N_("chose a build"),
    Action.BUILD_AUTO: N_("updated an environment"),
    Action.BUILD_PREBUILD: N_("built an environment ahead"),
    Action.HOOK_CREATE: N_("created a webhook"),
    Action.HOOK_ROTATE: N_("replaced the secret of a webhook"),
    Action.HOOK_DELETE: N_("removed a webhook"),
    Action.HOOK_TOKEN_SET: N_("set the token of a webhook"),
    Action.HOOK_TOKEN_REMOVE: N_("removed the token of a webhook"),
    Action.SCHEDULE_SET: N_("changed a schedule of builds"),
    Action.RULE_ADD: N_("added a rule"),
    Action.RULE_REMOVE: N_("removed a rule"),
    Action.RULE_HIT: N_("was refused"),
    Action.DETECTION_REPORT: N_("reported a repository or a person"),
    Action.DETECTION_DISMISS: N_("dismissed a report"),
    Action.SERVERS_STOP: N_("stopped the servers of a person"),
    Action.LIMIT_SET: N_("changed limits"),
    Action.DRAIN_BEGIN: N_("paused builds"),
    Action.DRAIN_END: N_("resumed builds"),
    Action.CLEANUP_IMAGES: N_("removed images"),
    Action.CLEANUP_LOGS: N_("removed old logs"),
    Action.CLEANUP_LAUNCHES: N_("removed old launches"),
    Action.CLEANUP_AUDIT: N_("removed old entries of this log"),
    Action.ARCHIVE_WRITE: N_("wrote a day of the archive"),
}

_OF_ENVIRONMENTS = (
    Action.BUILD_FORCE,
    Action.BUILD_CHOOSE,
    Action.BUILD_AUTO,
    Action.BUILD_PREBUILD,
    Action.SCHEDULE_SET,
)


@dataclass(frozen=True, slots=True)
class AuditView:
    """An entry in words."""

    entry: AuditEntry

    @property
    def actor(self) -> str:
        """Who did it; empty for the service."""
        return "" if self.entry.actor == SERVICE else self.entry.actor

    @property
    def words(self) -> str:
        """What was done."""
        return _(WORDS[self.entry.action])

    @property
    def path(self) -> str:
        """The page of what it was done to, below the service's prefix; empty without one."""
        if self.entry.action is Action.BUILD_CANCEL:
            return f"builds/{self.entry.target}"
        of_environment = self.entry.action in _OF_ENVIRONMENTS
        if self.entry.action.startswith(("environment.", "hook.")) or of_environment:
            return f"environments/{self.entry.target}"
        return ""

    @property
    def named_by(self) -> str:
        """The detail that names better than the id what it was done to; empty without one."""
        name = "repository" if self.entry.action is Action.BUILD_CANCEL else "name"
        return name if self.path and self.entry.detail.get(name) else ""

    @property
    def target(self) -> str:
        """What it was done to: its name if that is known, else the id or pattern."""
        return str(self.entry.detail[self.named_by]) if self.named_by else self.entry.target

    @property
    def details(self) -> list[tuple[str, str]]:
        """Names and values."""
        return [
            (name.replace("_", " "), _shown(value))
            for name, value in self.entry.detail.items()
            if name != self.named_by
        ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or _("default")
    return number(value) if isinstance(value, int) else str(value)


class AuditPage(AdminPage):
    """``/admin/audit``."""

    async def get(self) -> None:
        """Show one page, newest first."""
        query = read_query(self, AuditPageQuery, form=True)
        page = await self.services.audit.list(
            actor=query.person or None, action=query.action, offset=query.offset, limit=PAGE_SIZE
        )
        asked = {"person": query.person, "action": query.action}
        self.render_tab(
            "audit",
            entries=[AuditView(entry) for entry in page.items],
            person=query.person,
            action=query.action or "",
            actions=[(action, _(WORDS[action])) for action in Action],
            lines_url=f"{self.prefix}api/v1/admin/audit.jsonl{address(**asked)}",
            **self.pager(page, **asked),
        )
