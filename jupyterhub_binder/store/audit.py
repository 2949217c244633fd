"""Queries over the audit log. It is only ever added to; age alone removes from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model import Page
from jupyterhub_binder.oversight import Action, AuditEntry
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import audit, audit_row, read_audit


class AuditQueries:
    """The part of the store that knows the audit log."""

    _database: Database

    async def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries; kept when this returns."""
        await self._database.run(_append, entries)

    async def list_audit(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        """Return a page of entries, the newest first."""
        return await self._database.run(_list, actor, action, offset, limit)

    async def fetch_audit(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[AuditEntry, ...]:
        """Return entries after a number, the oldest first."""
        return await self._database.run(_after, actor, action, after, limit)

    async def prune_audit(self, *, before: datetime) -> int:
        """Remove entries of before a time; return how many there were."""
        return await self._database.run(_prune, before)


def _append(connection: sa.Connection, entries: Sequence[AuditEntry]) -> None:
    if entries:
        connection.execute(audit.insert(), [audit_row(entry) for entry in entries])


def _kept(actor: str | None, action: Action | None) -> list[sa.ColumnElement[bool]]:
    kept: list[sa.ColumnElement[bool]] = []
    if actor is not None:
        kept.append(audit.c.actor == actor)
    if action is not None:
        kept.append(audit.c.action == action)
    return kept


def _list(
    connection: sa.Connection, actor: str | None, action: Action | None, offset: int, limit: int
) -> Page[AuditEntry]:
    kept = _kept(actor, action)
    total = connection.scalar(sa.select(sa.func.count()).select_from(audit).where(*kept)) or 0
    query = audit.select().where(*kept).order_by(audit.c.id.desc()).offset(offset).limit(limit)
    rows = connection.execute(query).mappings()
    return Page(tuple(read_audit(row) for row in rows), total, offset, limit)


def _after(
    connection: sa.Connection, actor: str | None, action: Action | None, after: int, limit: int
) -> tuple[AuditEntry, ...]:
    query = (
        audit.select()
        .where(audit.c.id > after, *_kept(actor, action))
        .order_by(audit.c.id)
        .limit(limit)
    )
    return tuple(read_audit(row) for row in connection.execute(query).mappings())


def _prune(connection: sa.Connection, before: datetime) -> int:
    return connection.execute(audit.delete().where(audit.c.time < before)).rowcount
