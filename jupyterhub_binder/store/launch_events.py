"""Queries for the launches that the archive reports.

They have no person, so that they may outlive the environment and the launch.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import launch_events


class LaunchEventQueries:
    """Launches that succeeded."""

    _database: Database

    async def list_launch_events(
        self, *, since: datetime, until: datetime
    ) -> tuple[LaunchEvent, ...]:
        """Return the events of a period, oldest first. `until` is excluded."""
        return await self._database.run(_list, since, until)

    async def fetch_first_event_time(self) -> datetime | None:
        """Return the time of the oldest event, or None."""
        return await self._database.run(_first)

    async def prune_launch_events(self, *, before: datetime) -> int:
        """Remove old events; return their number."""
        return await self._database.run(_prune, before)


def keep_launch_event(connection: sa.Connection, event: LaunchEvent) -> None:
    """Insert an event."""
    connection.execute(launch_events.insert(), _row(event))


_SAME = ("launch_id", "time", "provider", "spec", "resolved_ref", "clone_url", "repo_url")


def _row(event: LaunchEvent) -> dict[str, object]:
    return {
        **{name: getattr(event, name) for name in _SAME},
        "origin": event.origin.host,
        "request_origin": event.origin.request_origin,
    }


def _list(connection: sa.Connection, since: datetime, until: datetime) -> tuple[LaunchEvent, ...]:
    time = launch_events.c.time
    query = launch_events.select().where(time >= since, time < until).order_by(time)
    return tuple(
        LaunchEvent(
            **{name: row[name] for name in _SAME},
            origin=LaunchOrigin(row["origin"], row["request_origin"]),
        )
        for row in connection.execute(query).mappings()
    )


def _first(connection: sa.Connection) -> datetime | None:
    return connection.scalar(sa.select(sa.func.min(launch_events.c.time)))


def _prune(connection: sa.Connection, before: datetime) -> int:
    return connection.execute(launch_events.delete().where(launch_events.c.time < before)).rowcount
