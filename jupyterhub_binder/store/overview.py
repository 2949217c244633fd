"""Counts for an administrator's home page. Each reads few rows, however many there are."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model import BuildState, LaunchState
from jupyterhub_binder.model.overview import RecentFailures, Totals
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import builds, environments, launches, read_build

MAX_RECENT_FAILURES = 500
"""How many of the newest failed builds are sorted by reason."""


class OverviewQueries:
    """Counts of the whole hub."""

    _database: Database

    async def fetch_totals(self, *, since: datetime, until: datetime) -> Totals:
        """Count what ended (builds) or began (launches) in a period."""
        return await self._database.run(_totals, since, until)

    async def list_recent_failures(
        self, *, since: datetime, limit: int
    ) -> tuple[RecentFailures, ...]:
        """Return why builds failed since a time, the most frequent reason first."""
        return await self._database.run(_recent_failures, since, limit)

    async def list_large_owners(self, *, least: int, limit: int) -> tuple[tuple[str, int], ...]:
        """Return who has at least so many environments, and how many; the largest first."""
        return await self._database.run(_large_owners, least, limit)


def _totals(connection: sa.Connection, since: datetime, until: datetime) -> Totals:
    began = (launches.c.created >= since, launches.c.created < until)
    failed = sa.case((launches.c.state == LaunchState.FAILED, 1), else_=0)
    launched = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(failed), 0),
            sa.func.count(sa.distinct(launches.c.user)),
        ).where(*began)
    ).one()
    return Totals(
        built=_count(connection, BuildState.BUILT, since, until),
        failed=_count(connection, BuildState.FAILED, since, until),
        launches=launched[0],
        failed_launches=launched[1],
        people=launched[2],
    )


def _count(connection: sa.Connection, state: BuildState, since: datetime, until: datetime) -> int:
    ended = (builds.c.state == state, builds.c.finished >= since, builds.c.finished < until)
    return connection.scalar(sa.select(sa.func.count()).select_from(builds).where(*ended)) or 0


def _recent_failures(
    connection: sa.Connection, since: datetime, limit: int
) -> tuple[RecentFailures, ...]:
    key = sa.func.coalesce(
        builds.c.reason_rule, builds.c.reason_fingerprint, builds.c.reason_code, ""
    )
    newest = connection.execute(
        sa.select(builds.c.id, key.label("key"))
        .where(builds.c.state == BuildState.FAILED, builds.c.finished >= since)
        .order_by(builds.c.finished.desc(), builds.c.id.desc())
        .limit(MAX_RECENT_FAILURES)
    ).all()
    times = Counter(row.key for row in newest)
    first = {row.key: row.id for row in reversed(newest)}
    chosen = times.most_common(limit)
    ids = [first[key] for key, _ in chosen]
    found = connection.execute(builds.select().where(builds.c.id.in_(ids))).mappings()
    by_id = {row["id"]: read_build(row) for row in found}
    return tuple(RecentFailures(key, count, by_id[first[key]]) for key, count in chosen)


def _large_owners(connection: sa.Connection, least: int, limit: int) -> tuple[tuple[str, int], ...]:
    count = sa.func.count()
    query = (
        sa.select(environments.c.owner, count)
        .where(environments.c.deleted.is_(None))
        .group_by(environments.c.owner)
        .having(count >= least)
        .order_by(count.desc(), environments.c.owner)
        .limit(limit)
    )
    return tuple((row[0], row[1]) for row in connection.execute(query))
