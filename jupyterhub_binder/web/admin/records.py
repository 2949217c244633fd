"""The tab of the audit log: who did what when, in words."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.oversight import SERVICE, Action, AuditEntry
from jupyterhub_binder.web.admin.base import PAGE_SIZE, AdminHandler, address
from jupyterhub_binder.web.adminquery import AuditQuery
from jupyterhub_binder.web.i18n import N_, number
from jupyterhub_binder.web.i18n import gettext as _

WORDS = {
    Action.ENVIRONMENT_CREATE: N_("made an environment"),
    Action.ENVIRONMENT_DELETE: N_("deleted an environment"),
    Action.ENVIRONMENT_RESTORE: N_("restored an environment"),
    Action.ENVIRONMENT_SHARE: N_("shared an environment"),
    Action.BUILD_FORCE: N_("built anew"),
    Action.BUILD_CANCEL: N_("cancelled a build"),
    Action.RULE_ADD: N_("made a rule"),
    Action.RULE_REMOVE: N_("removed a rule"),
    Action.RULE_HIT: N_("was refused"),
    Action.LIMIT_SET: N_("set limits"),
    Action.DRAIN_BEGIN: N_("paused builds"),
    Action.DRAIN_END: N_("resumed builds"),
    Action.CLEANUP_IMAGES: N_("removed images"),
    Action.CLEANUP_LOGS: N_("removed old logs"),
    Action.CLEANUP_LAUNCHES: N_("removed old launches"),
    Action.CLEANUP_AUDIT: N_("removed old entries of this log"),
}


@dataclass(frozen=True, slots=True)
class AuditView:
    """One entry, in words."""

    entry: AuditEntry

    @property
    def actor(self) -> str:
        """Return who it was; nobody where it was the service."""
        return "" if self.entry.actor == SERVICE else self.entry.actor

    @property
    def words(self) -> str:
        """Say what was done."""
        return _(WORDS[self.entry.action])

    @property
    def details(self) -> list[tuple[str, str]]:
        """Return what else is known, each with its name."""
        return [
            (name.replace("_", " "), _shown(value)) for name, value in self.entry.detail.items()
        ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or _("as everybody")
    return number(value) if isinstance(value, int) else str(value)


class AuditPage(AdminHandler):
    """``/admin/audit``."""

    async def get(self) -> None:
        """Show a part of it, the newest first."""
        query = AuditQuery.read(self)
        page = await self.services.command.audit.list(
            actor=query.person, action=query.action, offset=self.offset, limit=PAGE_SIZE
        )
        asked = {"person": query.person, "action": query.action}
        self.render_tab(
            "audit",
            entries=[AuditView(entry) for entry in page.items],
            person=query.person or "",
            action=query.action or "",
            actions=[(action, _(WORDS[action])) for action in Action],
            lines_url=f"{self.prefix}api/v1/admin/audit.jsonl{address(**asked)}",
            **self.pager(page, **asked),
        )
