"""Forgets what is old: logs that nobody looks at any more, launches, entries of the audit log.

The logs of the current and the last build of every environment stay, however old they are.
`cleanup` says when it is time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.oversight import SERVICE, Action
from jupyterhub_binder.store import Store

_BATCH = 50
"""Logs that one transaction removes: nobody's request waits long behind it."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one run removed."""

    logs: int = 0
    lines: int = 0
    launches: int = 0
    audit_entries: int = 0


class Retention(LoggingConfigurable):
    """Keeps the database from growing for ever."""

    log_days = Float(
        90,
        min=0,
        help="""For how many days after its end a build's log is kept. 0 keeps logs for ever.

        The logs of the current and of the last build of every environment stay in any case, and
        so does the last line of each log, which says how the build ended. Default: 90.
        """,
    ).tag(config=True)

    launch_days = Float(
        400,
        min=0,
        help="""For how many days after its end a launch is kept, for the count of what people
        use. 0 keeps launches for ever. Default: 400.""",
    ).tag(config=True)

    def __init__(self, *, store: Store, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit

    async def run(self) -> Forgotten:
        """Forget once. Raises StoreUnavailable."""
        logs, lines = await self._prune_logs()
        launches = await self._prune_launches()
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
        return await self._store.prune_launches(finished_before=before)
