"""Failed builds by kind: by rule, or by fingerprint where no rule explains them."""

from __future__ import annotations

import sqlalchemy as sa

from jupyterhub_binder.model import Build, Page
from jupyterhub_binder.model.admin import FailureKind
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import builds, read_build

_KEYS = {True: builds.c.reason_rule, False: builds.c.reason_fingerprint}


class FailureQueries:
    """Kinds of failures."""

    _database: Database

    async def list_failure_kinds(
        self, *, known: bool, offset: int = 0, limit: int = 50
    ) -> Page[FailureKind]:
        """Return kinds, the most frequent first, each with its newest build."""
        return await self._database.run(_list, known, offset, limit)


def _list(connection: sa.Connection, known: bool, offset: int, limit: int) -> Page[FailureKind]:
    key = _KEYS[known]
    total = connection.scalar(sa.select(sa.func.count(sa.distinct(key)))) or 0
    kinds = (
        sa.select(
            key.label("kind"),
            sa.func.count().label("times"),
            sa.func.min(builds.c.finished).label("first"),
        )
        .where(key.is_not(None))
        .group_by(key)
        .order_by(sa.func.count().desc(), sa.func.max(builds.c.finished).desc(), key)
        .offset(offset)
        .limit(limit)
    )
    items = tuple(
        FailureKind(row.kind, known, row.times, row.first, _newest(connection, key, row.kind))
        for row in connection.execute(kinds)
    )
    return Page(items, total, offset, limit)


def _newest(connection: sa.Connection, key: sa.Column[str], kind: str) -> Build:
    query = (
        builds.select()
        .where(key == kind)
        .order_by(builds.c.finished.desc(), builds.c.id.desc())
        .limit(1)
    )
    return read_build(connection.execute(query).mappings().one())
