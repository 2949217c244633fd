"""The tab of the audit log: who did what when, in words."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.oversight import SERVICE, Action, AuditEntry
from jupyterhub_binder.web.admin.base import PAGE_SIZE, AdminHandler, address
from jupyterhub_binder.web.adminquery import AuditQuery

WORDS = {
    Action.ENVIRONMENT_CREATE: "made an environment",
    Action.ENVIRONMENT_DELETE: "deleted an environment",
    Action.ENVIRONMENT_RESTORE: "restored an environment",
    Action.ENVIRONMENT_SHARE: "shared an environment",
    Action.BUILD_FORCE: "built anew",
    Action.BUILD_CANCEL: "cancelled a build",
    Action.RULE_ADD: "made a rule",
    Action.RULE_REMOVE: "removed a rule",
    Action.RULE_HIT: "was refused",
    Action.LIMIT_SET: "set limits",
    Action.DRAIN_BEGIN: "stopped builds from beginning",
    Action.DRAIN_END: "let builds begin again",
    Action.CLEANUP_IMAGES: "removed images",
    Action.CLEANUP_LOGS: "removed old logs",
    Action.CLEANUP_LAUNCHES: "removed old launches",
    Action.CLEANUP_AUDIT: "removed old entries of this log",
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
        return WORDS[self.entry.action]

    @property
    def details(self) -> list[tuple[str, str]]:
        """Return what else is known, each with its name."""
        return [
            (name.replace("_", " "), _shown(value)) for name, value in self.entry.detail.items()
        ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "as everybody's"
    return f"{value:,}" if isinstance(value, int) else str(value)


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
            actions=[(action, WORDS[action]) for action in Action],
            lines_url=f"{self.prefix}api/v1/admin/audit.jsonl{address(**asked)}",
            **self.pager(page, **asked),
        )
