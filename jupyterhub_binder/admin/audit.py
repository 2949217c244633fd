"""The audit log: who did what, and when."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.model import Environment, Page, User
from jupyterhub_binder.model.admin import SERVICE, Action, AuditEntry
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.retry import keep_trying
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.redact import MARK, redactor
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import one_line

_MAX_CHARACTERS = 500
_BATCH = 500
_PAGE = 1000
_PATIENCE_SECONDS = 5.0
_GATHER_SECONDS = 0.1
"""Lets notes share a transaction."""
_HOUR_SECONDS = 3600.0
_HUB_TOKEN = re.compile(r"\b[0-9a-f]{32}\b")
"""JupyterHub's tokens. `redact` leaves them, since they may be checksums."""


def without_secrets(text: str) -> str:
    """Shorten a line and remove secrets."""
    redacted = redactor.redact(one_line(text))
    return _HUB_TOKEN.sub(MARK, redacted)[:_MAX_CHARACTERS]


def _cleaned(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: without_secrets(value) if isinstance(value, str) else value
        for name, value in detail.items()
        if value not in (None, "")
    }


@dataclass(slots=True)
class _Hour:
    """An actor in the current hour."""

    began: float
    entries: int = 0
    left_out: int = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.began + _HOUR_SECONDS


class Audit(LoggingConfigurable):
    """Keeps the audit log."""

    keep_days = Float(
        365,
        min=0,
        help="""How long entries of the audit log are kept, in days. 0 keeps them forever.
        Default: 365.""",
    ).tag(config=True)

    max_per_hour = Integer(
        300,
        min=1,
        help="""Maximum number of entries per hour for each person who is not an administrator.

        This keeps anyone from filling the disk. The next entry after that hour counts the ones
        that were left out (`left_out`); the service's log has the requests. Default: 300.
        """,
    ).tag(config=True)

    def __init__(self, *, store: Store, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._pending: list[AuditEntry] = []
        self._hours: dict[str, _Hour] = {}
        self._tasks = TaskSet(self.log)
        self._writing: asyncio.Task[None] | None = None
        self._urgent = asyncio.Event()

    async def stop(self) -> None:
        """Store pending entries if the store is quick. Idempotent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.flush()
        await self._tasks.close()

    def note(
        self, actor: str, action: Action, target: str = "", *, always: bool = False, **detail: Any
    ) -> None:
        """Queue an entry; without `always`, up to `max_per_hour` per actor."""
        if actor == HUB_OWNER:
            actor, always = SERVICE, True
        if not always:
            hour = self._hours.get(actor)
            if hour is None or hour.over:
                detail["left_out"] = (hour.left_out if hour else 0) or None
                self._hours[actor] = hour = _Hour(time.monotonic())
            if hour.entries >= self.max_per_hour:
                hour.left_out += 1
                return
            hour.entries += 1
        entry = AuditEntry(utc_now(), actor, action, without_secrets(target), _cleaned(detail))
        self._pending.append(entry)
        if self._writing is None or self._writing.done():
            self._writing = self._tasks.spawn(self._write(), name="audit log")

    def note_environment(
        self, user: User, action: Action, environment: Environment, **detail: Any
    ) -> None:
        """Queue an entry on what a user did with an environment, perhaps another person's."""
        self.note(
            user.name,
            action,
            environment.id,
            always=user.admin,
            name=environment.name,
            repository=environment.label,
            owner=environment.owner if environment.owner != user.name else "",
            **detail,
        )

    async def record(self, actor: str, action: Action, target: str = "", **detail: Any) -> None:
        """Store an administrator's action."""
        self.note(actor, action, target, always=True, **detail)
        await self.flush()

    async def flush(self) -> None:
        """Store pending entries."""
        while self._writing is not None and not self._writing.done():
            self._urgent.set()
            await asyncio.shield(self._writing)

    async def _write(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._urgent.wait()
        self._urgent.clear()
        while self._pending:
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            await keep_trying(lambda batch=batch: self._store.append_audit(batch), self.log)

    # --- Looking ----------------------------------------------------------------------------

    async def list(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        """Return entries, newest first."""
        await self.flush()
        return await self._store.list_audit(actor=actor, action=action, offset=offset, limit=limit)

    async def read(
        self, *, actor: str | None = None, action: Action | None = None
    ) -> AsyncIterator[tuple[AuditEntry, ...]]:
        """Yield all entries in batches, oldest first."""
        await self.flush()
        after = 0
        while entries := await self._store.fetch_audit(
            actor=actor, action=action, after=after, limit=_PAGE
        ):
            yield entries
            after = entries[-1].id

    async def prune(self) -> int:
        """Remove old entries; return their number."""
        if not self.keep_days:
            return 0
        return await self._store.prune_audit(before=utc_now() - timedelta(days=self.keep_days))
