"""Removes old logs, launches, audit entries, and hashes of people in the counts of usage.

What the archive reports about a launch goes only after the archive has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now

_BATCH = 50
"""Small, so that requests need not wait."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed."""

    logs: int = 0
    lines: int = 0
    launches: int = 0
    audit_entries: int = 0


class Retention(LoggingConfigurable):
    """Removes old data; each environment's current and newest build keep their logs."""

    log_days = Float(
        90,
        min=0,
        help="""How long a build's log is kept after its end, in days. 0 keeps logs forever.

        The logs of every environment's current and newest build are always kept. So is the last
        line of each log, which says how the build ended. Default: 90.
        """,
    ).tag(config=True)

    launch_days = Float(
        400,
        min=0,
        help="""How long a launch is kept after its end, in days. Usage counts it forever. 0 keeps
        launches forever. Default: 400.""",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        audit: Audit,
        archived_until: Callable[[], datetime | None] = lambda: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._archived_until = archived_until
        self._audit = audit

    async def run(self) -> Forgotten:
        """Remove old data. Raises StoreUnavailable."""
        logs, lines = await self._prune_logs()
        launches = await self._prune_launches()
        await self._store.close_usage_periods(utc_now().date())
        entries = await self._audit.prune()
        for action, count in (
            (Action.CLEANUP_LAUNCHES, launches),
            (Action.CLEANUP_AUDIT, entries),
        ):
            if count:
                await self._audit.record(SERVICE, action, removed=count)
        return Forgotten(logs, lines, launches, entries)

    async def _prune_logs(self) -> tuple[int, int]:
        if not self.log_days:
            return 0, 0
        before = utc_now() - timedelta(days=self.log_days)
        note = f"Earlier lines were removed: logs are kept for {self.log_days:g} days."
        old = await self._store.list_old_logs(finished_before=before)
        lines = 0
        for first in range(0, len(old), _BATCH):
            lines += await self._store.prune_logs(old[first : first + _BATCH], note=note)
        if lines:
            await self._audit.record(SERVICE, Action.CLEANUP_LOGS, removed=len(old), lines=lines)
        return len(old), lines

    async def _prune_launches(self) -> int:
        if not self.launch_days:
            return 0
        before = utc_now() - timedelta(days=self.launch_days)
        midnight = before.replace(hour=0, minute=0, second=0, microsecond=0)
        await self._store.prune_launch_events(
            before=min(midnight, self._archived_until() or midnight)
        )
        return await self._store.prune_launches(finished_before=before)
