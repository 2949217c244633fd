"""Queries that remove old logs and launches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model import LaunchState
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import (
    build_events,
    build_requests,
    builds,
    environments,
    launches,
)

_SHOWN_BY_ENVIRONMENTS = (
    sa.select(build_requests.c.build_id)
    .join_from(environments, build_requests, build_requests.c.environment_id == environments.c.id)
    .where(
        environments.c.deleted.is_(None),
        build_requests.c.number.in_((environments.c.current_number, environments.c.latest_number)),
    )
)
"""The current and newest build of each environment."""


class RetentionQueries:
    """Old logs and launches."""

    _database: Database

    async def list_old_logs(self, *, finished_before: datetime) -> tuple[str, ...]:
        """Return builds that ended before a time, are not displayed and have a log."""
        return await self._database.run(_old_logs, finished_before)

    async def prune_logs(self, build_ids: Sequence[str], *, note: str) -> int:
        """Replace logs by a note and their last line; count the lines removed."""
        return await self._database.run(_prune_logs, build_ids, note)

    async def prune_launches(self, *, finished_before: datetime) -> int:
        """Remove old launches; return their number."""
        return await self._database.run(_prune_launches, finished_before)


def _old_logs(connection: sa.Connection, finished_before: datetime) -> tuple[str, ...]:
    kept_line = sa.exists().where(
        build_events.c.build_id == builds.c.id, build_events.c.seq < builds.c.lines - 1
    )
    query = sa.select(builds.c.id).where(
        builds.c.finished < finished_before,
        builds.c.lines > 2,
        builds.c.id.not_in(_SHOWN_BY_ENVIRONMENTS),
        kept_line,
    )
    return tuple(connection.scalars(query))


def _prune_logs(connection: sa.Connection, build_ids: Sequence[str], note: str) -> int:
    """Check again that no environment displays them."""
    free = connection.execute(
        sa.select(builds.c.id, builds.c.lines).where(
            builds.c.id.in_(build_ids), builds.c.id.not_in(_SHOWN_BY_ENVIRONMENTS)
        )
    ).all()
    removed = 0
    for build_id, lines in free:
        of_build = build_events.c.build_id == build_id
        removed += connection.execute(
            build_events.delete().where(of_build, build_events.c.seq < lines - 1)
        ).rowcount
        connection.execute(
            build_events.update()
            .where(of_build, build_events.c.seq == lines - 1)
            .values(message=note)
        )
    return removed


def _prune_launches(connection: sa.Connection, finished_before: datetime) -> int:
    ended = launches.c.state.in_([state for state in LaunchState if state.finished])
    old = launches.delete().where(ended, launches.c.finished < finished_before)
    return connection.execute(old).rowcount
