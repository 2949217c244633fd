"""Queries for usage, and the end of periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import sqlalchemy as sa

from jupyterhub_binder.model.usage import (
    BuildOutcome,
    DayBuilds,
    DayFailures,
    DayLaunches,
    FailedPart,
    LaunchOutcome,
    Period,
    RepositoryLaunches,
    Timed,
    Times,
    read_period,
)
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.usage_counting import seconds_of
from jupyterhub_binder.store.usage_tables import (
    usage_builds,
    usage_failures,
    usage_launches,
    usage_people,
    usage_periods,
    usage_repositories,
    usage_times,
)

_GRACE = timedelta(days=7)
"""For launches whose end could not be stored at once."""


@dataclass(frozen=True, slots=True)
class TopRepositories:
    """The most used repositories of a period."""

    items: tuple[RepositoryLaunches, ...]
    """With a public name, the most used first."""
    total: int
    """How many have a public name."""
    unnamed_launches: int
    """Sessions of those that have none."""


class UsageQueries:
    """Counts of launches, builds and people."""

    _database: Database

    async def list_launches_by_day(self, first: date, end: date) -> tuple[DayLaunches, ...]:
        """Count the ended launches of each day in UTC; `end` is excluded.

        A launch counts on the day of its end, also after retention has removed it.
        """
        return await self._database.run(_launches_by_day, first, end)

    async def count_by_provider(self, first: date, end: date) -> dict[str, int]:
        """Count sessions by provider, the largest first; `end` is excluded."""
        return await self._database.run(_by_provider, first, end)

    async def list_builds_by_day(self, first: date, end: date) -> tuple[DayBuilds, ...]:
        """Count the ended builds of each day in UTC; `end` is excluded."""
        return await self._database.run(_builds_by_day, first, end)

    async def list_failures_by_day(self, first: date, end: date) -> tuple[DayFailures, ...]:
        """Count the failures of each day in UTC by cause; `end` is excluded."""
        return await self._database.run(_failures_by_day, first, end)

    async def fetch_first_usage_day(self) -> date | None:
        """Return the first day with a launch; None before any."""
        return await self._database.run(_first_day)

    async def count_people_by_period(self, periods: Sequence[Period]) -> dict[Period, int]:
        """Count the people who started a server in each period; those without any are left out."""
        return await self._database.run(_people, periods)

    async def list_times(self, periods: Sequence[Period]) -> dict[tuple[Period, Timed], Times]:
        """Return medians and 95th percentiles by period, at most 2.5 % off."""
        return await self._database.run(_times, periods)

    async def list_top_repositories(self, period: Period, *, limit: int) -> TopRepositories:
        """Return the most used repositories of a quarter or a year."""
        return await self._database.run(_top, period, limit)

    async def close_usage_periods(self, today: date) -> int:
        """Forget the hashes of people of past periods; their number stays. Idempotent.

        Returns how many periods were closed.
        """
        return await self._database.run(_close, today)


# --- By day --------------------------------------------------------------------------------------


def _launches_by_day(connection: sa.Connection, first: date, end: date) -> tuple[DayLaunches, ...]:
    table = usage_launches.c
    query = (
        sa.select(table.day, table.origin, table.outcome, sa.func.sum(table.launches))
        .where(*_between(usage_launches, first, end))
        .group_by(table.day, table.origin, table.outcome)
        .order_by(table.day)
    )
    return tuple(
        DayLaunches(day, origin, LaunchOutcome(outcome), int(launches))
        for day, origin, outcome, launches in connection.execute(query)
    )


def _by_provider(connection: sa.Connection, first: date, end: date) -> dict[str, int]:
    table, launches = usage_launches.c, sa.func.sum(usage_launches.c.launches)
    query = (
        sa.select(table.provider, launches)
        .where(*_between(usage_launches, first, end), table.outcome == LaunchOutcome.READY)
        .group_by(table.provider)
        .order_by(launches.desc(), table.provider)
    )
    return {provider: int(count) for provider, count in connection.execute(query)}


def _builds_by_day(connection: sa.Connection, first: date, end: date) -> tuple[DayBuilds, ...]:
    query = usage_builds.select().where(*_between(usage_builds, first, end))
    return tuple(
        DayBuilds(row.day, BuildOutcome(row.outcome), row.builds)
        for row in connection.execute(query.order_by(usage_builds.c.day))
    )


def _failures_by_day(connection: sa.Connection, first: date, end: date) -> tuple[DayFailures, ...]:
    query = usage_failures.select().where(*_between(usage_failures, first, end))
    return tuple(
        DayFailures(row.day, FailedPart(row.what), row.code, row.owner, row.failures)
        for row in connection.execute(query.order_by(usage_failures.c.day))
    )


def _between(table: sa.Table, first: date, end: date) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.day >= first, table.c.day < end


def _first_day(connection: sa.Connection) -> date | None:
    return connection.scalar(sa.select(sa.func.min(usage_launches.c.day)))


# --- By period -----------------------------------------------------------------------------------


def _people(connection: sa.Connection, periods: Sequence[Period]) -> dict[Period, int]:
    wanted = {period.name: period for period in periods}
    query = sa.select(usage_periods.c.period, usage_periods.c.people)
    return {
        wanted[name]: people
        for name, people in connection.execute(query.where(usage_periods.c.period.in_(wanted)))
    }


def _times(
    connection: sa.Connection, periods: Sequence[Period]
) -> dict[tuple[Period, Timed], Times]:
    wanted = {period.name: period for period in periods}
    parts = {str(what): what for what in Timed}
    query = (
        usage_times.select()
        .where(usage_times.c.period.in_(wanted))
        .order_by(usage_times.c.period, usage_times.c.what, usage_times.c.bucket)
    )
    found: dict[tuple[Period, Timed], list[tuple[int, int]]] = {}
    for (name, what), rows in groupby(connection.execute(query), key=lambda row: row[:2]):
        found[wanted[name], parts[what]] = [(bucket, times) for _, _, bucket, times in rows]
    return {key: _percentiles(buckets) for key, buckets in found.items()}


def _percentiles(buckets: Sequence[tuple[int, int]]) -> Times:
    """Read a histogram in the order of its buckets."""
    count = sum(times for _, times in buckets)
    return Times(count, _rank(buckets, count * 0.5), _rank(buckets, count * 0.95))


def _rank(buckets: Sequence[tuple[int, int]], rank: float) -> float:
    seen = 0
    for bucket, times in buckets:
        seen += times
        if seen >= rank:
            return seconds_of(bucket)
    return 0.0


def _top(connection: sa.Connection, period: Period, limit: int) -> TopRepositories:
    table = usage_repositories.c
    of_period = table.period == period.name
    query = (
        sa.select(table.repository_key, table.label, table.launches)
        .where(of_period, table.repository_key != "")
        .order_by(table.launches.desc(), table.repository_key)
        .limit(limit)
    )
    total = sa.select(sa.func.count()).where(of_period, table.repository_key != "")
    others = sa.select(table.launches).where(of_period, table.repository_key == "")
    return TopRepositories(
        items=tuple(RepositoryLaunches(*row) for row in connection.execute(query)),
        total=connection.scalar(total) or 0,
        unnamed_launches=connection.scalar(others) or 0,
    )


# --- The end of a period -------------------------------------------------------------------------


def _close(connection: sa.Connection, today: date) -> int:
    still_open = sa.select(usage_periods.c.period).where(usage_periods.c.salt.is_not(None))
    over = [
        name for name in connection.scalars(still_open) if read_period(name).end + _GRACE <= today
    ]
    for name in over:
        connection.execute(
            usage_periods.update().where(usage_periods.c.period == name).values(salt=None)
        )
        connection.execute(usage_people.delete().where(usage_people.c.period == name))
    return len(over)
