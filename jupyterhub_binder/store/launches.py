"""Queries for launches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from jupyterhub_binder.model import Launch, LaunchState
from jupyterhub_binder.model.launch_events import LaunchEvent
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.launch_events import keep_launch_event
from jupyterhub_binder.store.tables import launch_row, launches, read_launch
from jupyterhub_binder.store.usage_counting import MayName, count_launch

_UNFINISHED = launches.c.state.in_((LaunchState.PENDING, LaunchState.STARTING))


@dataclass(frozen=True, slots=True)
class Week:
    """Launches in a week."""

    monday: date
    launches: int


class LaunchQueries:
    """Launches."""

    _database: Database
    may_name: MayName = staticmethod(lambda *_: False)
    """Which repositories usage may name."""

    async def insert_launch(self, launch: Launch) -> None:
        """Insert a launch. A finished one found its server running."""
        await self._database.run(_insert, launch, self.may_name)

    async def update_launch(self, launch: Launch, event: LaunchEvent | None = None) -> None:
        """Update a launch, and count its end for usage once. Keep its event for the archive."""
        await self._database.run(_update, launch, self.may_name, event)

    async def fetch_launch(self, launch_id: str) -> Launch | None:
        """Return a launch, or None."""
        query = launches.select().where(launches.c.id == launch_id)
        return next(iter(await self._database.run(_read, query)), None)

    async def list_launches(
        self,
        *,
        user: str | None = None,
        environment_id: str | None = None,
        unfinished: bool = False,
        limit: int = 50,
    ) -> tuple[Launch, ...]:
        """Return launches, newest first."""
        query = launches.select().order_by(launches.c.created.desc(), launches.c.id).limit(limit)
        if user is not None:
            query = query.where(launches.c.user == user)
        if environment_id is not None:
            query = query.where(launches.c.environment_id == environment_id)
        if unfinished:
            query = query.where(_UNFINISHED)
        return await self._database.run(_read, query)

    async def count_launches_by_week(self, *, since: datetime, until: datetime) -> tuple[Week, ...]:
        """Count launches by week, Monday to Sunday in UTC.

        `until` is excluded. The first and last week may be partial.
        """
        return await self._database.run(_by_week, since, until)


def _by_week(connection: sa.Connection, since: datetime, until: datetime) -> tuple[Week, ...]:
    # One index range per week: reads only the index, without sorting.
    weeks: list[Week] = []
    begin = since
    while begin < until:
        monday = begin.date() - timedelta(days=begin.weekday())
        end = min(until, datetime.combine(monday + _WEEK, time(), UTC))
        values = {"begin": begin, "end": end}
        weeks.append(Week(monday, connection.scalar(_CREATED_BETWEEN, values) or 0))
        begin = end
    return tuple(weeks)


_WEEK = timedelta(days=7)
_CREATED_BETWEEN = sa.select(sa.func.count()).where(
    launches.c.created >= sa.bindparam("begin"), launches.c.created < sa.bindparam("end")
)


def _insert(connection: sa.Connection, launch: Launch, may_name: MayName) -> None:
    connection.execute(launches.insert(), launch_row(launch))
    if launch.state.finished:
        count_launch(connection, launch, may_name, opened=True)


def _update(
    connection: sa.Connection, launch: Launch, may_name: MayName, event: LaunchEvent | None
) -> None:
    mine = launches.c.id == launch.id
    before = connection.scalar(sa.select(launches.c.state).where(mine))
    connection.execute(launches.update().where(mine).values(**launch_row(launch)))
    # After a commit whose answer was lost, the same end comes again.
    if launch.state.finished and before is not None and not LaunchState(before).finished:
        count_launch(connection, launch, may_name)
        if event is not None:
            keep_launch_event(connection, event)


def _read(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> tuple[Launch, ...]:
    return tuple(read_launch(row) for row in connection.execute(query).mappings())
