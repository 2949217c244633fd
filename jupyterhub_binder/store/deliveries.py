"""Which deliveries were seen: each counts once, also after a restart.

The set is bounded in time and in number for each scope, which is what receives them.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import sqlalchemy as sa

from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import UTCTime, metadata

KEPT = timedelta(days=7)
"""Hosts let people send a delivery again for three days."""
MAX_KEPT = 1000

seen_deliveries = sa.Table(
    "seen_deliveries",
    metadata,
    sa.Column("scope", sa.String(64), nullable=False),
    # A hash: senders choose the name.
    sa.Column("delivery", sa.String(64), nullable=False),
    sa.Column("seen", UTCTime, nullable=False),
    sa.PrimaryKeyConstraint("scope", "delivery"),
    sa.Index("ix_seen_deliveries_seen", "scope", "seen"),
)


class DeliveryQueries:
    """The deliveries that were seen."""

    _database: Database

    async def see_delivery(self, scope: str, delivery: str, *, at: datetime) -> bool:
        """Say whether a delivery is seen for the first time. Nobody else gets the same answer."""
        return await self._database.run(see, scope, delivery, at)

    async def prune_deliveries(self, *, before: datetime) -> None:
        """Forget what was seen before a time, in every scope."""
        query = seen_deliveries.delete().where(seen_deliveries.c.seen < before)
        await self._database.run(lambda c: c.execute(query).close())


def see(connection: sa.Connection, scope: str, delivery: str, at: datetime) -> bool:
    """Note a delivery in a transaction; say whether it is new."""
    digest = hashlib.sha256(delivery.encode("utf-8", "replace")).hexdigest()
    columns = seen_deliveries.c
    place = (columns.scope == scope, columns.delivery == digest)
    if connection.scalar(sa.select(columns.seen).where(*place)) is not None:
        return False
    connection.execute(seen_deliveries.insert(), {"scope": scope, "delivery": digest, "seen": at})
    _forget(connection, scope, at - KEPT)
    return True


def _forget(connection: sa.Connection, scope: str, before: datetime) -> None:
    columns = seen_deliveries.c
    newest = (
        sa.select(columns.seen)
        .where(columns.scope == scope)
        .order_by(columns.seen.desc())
        .offset(MAX_KEPT - 1)
        .limit(1)
    )
    oldest = connection.scalar(newest)
    if oldest is not None:
        before = max(before, oldest)
    connection.execute(
        seen_deliveries.delete().where(columns.scope == scope, columns.seen < before)
    )


def forget_scope(connection: sa.Connection, scope: str) -> None:
    """Forget what a receiver that is gone has seen."""
    connection.execute(seen_deliveries.delete().where(seen_deliveries.c.scope == scope))
