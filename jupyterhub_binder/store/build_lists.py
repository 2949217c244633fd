"""Everybody's builds, the newest first, in parts that are found by their first build."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from jupyterhub_binder.model import Build, BuildState
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import builds, read_build

_MARKS = "\\%_"


@dataclass(frozen=True, slots=True)
class BuildFilter:
    """Which builds; empty values leave everything in."""

    state: BuildState | None = None
    person: str = ""
    """Who requested it first; the whole name."""
    repository: str = ""
    """Part of the repository as it is shown."""
    reason: str = ""
    """Why it failed: a rule's id, a fingerprint or the reason's code."""
    since: datetime | None = None
    until: datetime | None = None
    """Of the request."""


@dataclass(frozen=True, slots=True)
class BuildPart:
    """A part of the list."""

    items: tuple[Build, ...]
    older: str = ""
    """The id from which the next part goes on; empty at the end."""
    newer: bool = False
    """Whether there are newer builds before it."""


class BuildListQueries:
    """Lists of builds."""

    _database: Database

    async def list_builds(
        self, wanted: BuildFilter, *, after: str = "", limit: int = 50
    ) -> BuildPart:
        """Return the builds that are older than the one with the id `after`, or the newest."""
        return await self._database.run(_list, wanted, after, limit)


def _list(connection: sa.Connection, wanted: BuildFilter, after: str, limit: int) -> BuildPart:
    kept = _conditions(connection, wanted)
    last = connection.execute(
        sa.select(builds.c.created, builds.c.id).where(builds.c.id == after)
    ).first()
    if last is not None:
        kept.append(builds.c.created <= last.created)
        same = sa.and_(builds.c.created == last.created, builds.c.id < last.id)
        kept.append(sa.or_(builds.c.created < last.created, same))
    # The ids first: an index has them, and the rows are large.
    ids = connection.scalars(
        sa.select(builds.c.id)
        .where(*kept)
        .order_by(builds.c.created.desc(), builds.c.id.desc())
        .limit(limit + 1)
    ).all()
    shown = ids[:limit]
    found = connection.execute(builds.select().where(builds.c.id.in_(shown))).mappings()
    by_id = {row["id"]: read_build(row) for row in found}
    older = shown[-1] if len(ids) > limit else ""
    return BuildPart(tuple(by_id[each] for each in shown), older, last is not None)


def _conditions(connection: sa.Connection, wanted: BuildFilter) -> list[sa.ColumnElement[bool]]:
    kept: list[sa.ColumnElement[bool]] = []
    if wanted.state is not None:
        kept.append(builds.c.state == wanted.state)
    if wanted.person:
        kept.append(builds.c.created_by == wanted.person)
    if wanted.repository:
        kept.append(builds.c.label.ilike(f"%{_escaped(wanted.repository)}%", escape="\\"))
    if wanted.reason:
        kept.append(_column_of(connection, wanted.reason) == wanted.reason)
    if wanted.since is not None:
        kept.append(builds.c.created >= wanted.since)
    if wanted.until is not None:
        kept.append(builds.c.created < wanted.until)
    return kept


def _escaped(text: str) -> str:
    for mark in _MARKS:
        text = text.replace(mark, f"\\{mark}")
    return text


def _column_of(connection: sa.Connection, reason: str) -> sa.Column[str]:
    """Return the column that knows a reason: each is indexed, all of them together are not."""
    for column in (builds.c.reason_rule, builds.c.reason_fingerprint):
        if connection.scalar(sa.select(builds.c.id).where(column == reason).limit(1)):
            return column
    return builds.c.reason_code
