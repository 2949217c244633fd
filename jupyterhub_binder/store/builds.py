"""Queries for builds and their logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from jupyterhub_binder.model import Build, BuildEvent, BuildState, Phase, Reason
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.store.changes import add_change
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import (
    ACTIVE,
    build_events,
    build_reason_row,
    build_requests,
    build_row,
    builds,
    environments,
    read_build,
    read_event,
)
from jupyterhub_binder.store.usage_counting import count_build
from jupyterhub_binder.utils.names import new_id


@dataclass(frozen=True, slots=True)
class NewBuildRequest:
    """A requested build."""

    build: Build
    """`find_or_insert` sets id and generation."""
    by: str
    at: datetime
    reuse: Build | None = None
    """A finished build whose image exists, if none is active."""
    force: bool = False
    default_branch: str = ""
    """As in `Resolved`."""
    cause: ChangeCause = ChangeCause.ASKED
    """Why the build becomes current."""
    reason: str = ""
    """As in `Change`."""


_MAX_REUSABLE = 5


def find_or_insert(connection: sa.Connection, new: NewBuildRequest) -> Build:
    """Return the build to reuse, the active one, or a new one."""
    if new.reuse is not None:
        return new.reuse
    query = _ACTIVE if new.force else _ACTIVE_OR_NEW
    values = {"base_key": new.build.base_key, "at": new.at}
    if (found := _first(connection, query, values)) is not None:
        return found
    build = replace(
        new.build, id=new_id(), generation=_next_generation(connection, new), forced=new.force
    )
    connection.execute(builds.insert(), build_row(build))
    return build


_OF_KEY = builds.select().where(builds.c.base_key == sa.bindparam("base_key")).limit(1)
_ACTIVE = _OF_KEY.where(ACTIVE)
_NEWEST_BUILT = _OF_KEY.where(builds.c.state == BuildState.BUILT).order_by(
    builds.c.generation.desc(), builds.c.finished.desc()
)
# An active build, else one that finished since the request.
_ACTIVE_OR_NEW = _OF_KEY.where(
    sa.or_(
        ACTIVE,
        sa.and_(builds.c.state == BuildState.BUILT, builds.c.finished >= sa.bindparam("at")),
    )
).order_by(sa.case((ACTIVE, 0), else_=1), builds.c.finished.desc())
_BY_ID = builds.select().where(builds.c.id == sa.bindparam("id"))


def _fetch_newest_built(connection: sa.Connection, base_key: str) -> Build | None:
    return _first(connection, _NEWEST_BUILT, {"base_key": base_key})


def _next_generation(connection: sa.Connection, new: NewBuildRequest) -> int:
    """No image is ever overwritten."""
    newest = connection.scalar(
        sa.select(sa.func.max(builds.c.generation)).where(
            builds.c.base_key == new.build.base_key, builds.c.image.is_not(None)
        )
    )
    return new.build.generation if newest is None else newest + 1


def _fetch(connection: sa.Connection, build_id: str) -> Build | None:
    return _first(connection, _BY_ID, {"id": build_id})


def _first(
    connection: sa.Connection, query: sa.Select[Any], values: Mapping[str, Any]
) -> Build | None:
    row = connection.execute(query, values).mappings().first()
    return None if row is None else read_build(row)


class BuildQueries:
    """Builds and logs."""

    _database: Database

    async def fetch_build(self, build_id: str) -> Build | None:
        """Return a build, or None."""
        return await self._database.run(_fetch, build_id)

    async def find_built(self, base_key: str) -> Build | None:
        """Return the newest successful build, or None."""
        return await self._database.run(_fetch_newest_built, base_key)

    async def list_reusable(self, digest: str, *, backend: str) -> tuple[Build, ...]:
        """Return builds whose image was made from a recipe, the newest image first."""
        query = (
            builds.select()
            .where(
                builds.c.recipe_digest == digest,
                builds.c.backend == backend,
                builds.c.state == BuildState.BUILT,
                builds.c.reused_key.is_(None),
            )
            .order_by(builds.c.packages_from.desc())
            .limit(_MAX_REUSABLE)
        )
        return await self._database.run(_read_all, query)

    async def list_active_builds(self) -> tuple[Build, ...]:
        """Return the unfinished builds, oldest first."""
        query = builds.select().where(ACTIVE).order_by(builds.c.created, builds.c.id)
        return await self._database.run(_read_all, query)

    async def update_build(self, build_id: str, changes: Mapping[str, Any]) -> Build:
        """Set columns of a build, unless it has ended."""
        return await self._database.run(_update, build_id, changes)

    async def append_events(self, build_id: str, events: Sequence[BuildEvent]) -> None:
        """Append log lines."""
        await self._database.run(_append, build_id, events)

    async def fetch_events(
        self, build_id: str, *, after: int = 0, limit: int = 5000
    ) -> tuple[BuildEvent, ...]:
        """Return log lines after a sequence number."""
        return await self._database.run(_events, build_id, after, limit)

    async def finish_build(
        self,
        build_id: str,
        last: BuildEvent,
        *,
        state: BuildState,
        at: datetime,
        image: str | None = None,
        size_bytes: int | None = None,
        packages_from: datetime | None = None,
        reason: Reason | None = None,
    ) -> tuple[Build, BuildEvent]:
        """End a build and its log; give its image to waiting environments.

        If `withdraw_requests` has cancelled it, it stays cancelled. Returns what was stored.
        """
        made = {"image": image, "size_bytes": size_bytes, "packages_from": packages_from}
        changes = _end(state, at, reason, **made)
        return await self._database.run(_finish, build_id, last, changes)

    async def withdraw_requests(
        self,
        build_id: str,
        *,
        owner: str | None,
        at: datetime,
        end: Callable[[int], Reason | None],
        environment_id: str | None = None,
    ) -> tuple[Build, int]:
        """Withdraw an owner's requests for a build; cancel it if `end` returns a reason.

        With `environment_id`, withdraw that environment's alone, whoever owns it. `end` receives the number of users who still want the build. One transaction, so nobody can
        join a build that is ending. A build that continues counts for the next requester.
        `finish_build` writes the last log line. Returns the build and that number.
        """
        return await self._database.run(_withdraw, build_id, owner, environment_id, at, end)

    async def count_people(self, build_id: str) -> int:
        """Count the users who want it."""
        return await self._database.run(_count_people, build_id)

    async def list_durations(self, repository: str | None, *, backend: str) -> tuple[float, ...]:
        """Return recent successful builds' seconds, for all repositories if None."""
        return await self._database.run(_durations, repository, backend)


def _read_all(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Build, ...]:
    return tuple(read_build(row) for row in connection.execute(query).mappings())


def _set(connection: sa.Connection, build_id: str, changes: Mapping[str, Any]) -> None:
    connection.execute(builds.update().where(builds.c.id == build_id).values(**changes))


def _require(connection: sa.Connection, build_id: str) -> Build:
    build = _fetch(connection, build_id)
    if build is None:
        raise LookupError(build_id)
    return build


def _update(connection: sa.Connection, build_id: str, changes: Mapping[str, Any]) -> Build:
    if "state" not in changes or not _require(connection, build_id).state.finished:
        _set(connection, build_id, changes)
    return _require(connection, build_id)


def _append(connection: sa.Connection, build_id: str, events: Sequence[BuildEvent]) -> None:
    if not events:
        return
    rows = [
        {"build_id": build_id, "seq": e.seq, "time": e.time, "phase": e.phase, "message": e.message}
        for e in events
    ]
    connection.execute(_INSERT_EVENTS[connection.dialect.name], rows)
    _set(connection, build_id, {"lines": events[-1].seq, "phase": events[-1].phase})


# If the connection was lost at a commit, the lines may exist already when they come again.
_INSERT_EVENTS = {
    "sqlite": build_events.insert(),
    "postgresql": postgresql.insert(build_events).on_conflict_do_nothing(),
}

_EVENTS = sa.select(
    build_events.c.seq, build_events.c.time, build_events.c.phase, build_events.c.message
)


def _events(
    connection: sa.Connection, build_id: str, after: int, limit: int
) -> tuple[BuildEvent, ...]:
    query = (
        _EVENTS.where(build_events.c.build_id == build_id, build_events.c.seq > after)
        .order_by(build_events.c.seq)
        .limit(limit)
    )
    return tuple(read_event(row) for row in connection.execute(query))


def _end(state: BuildState, at: datetime, reason: Reason | None, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "phase": Phase.BUILT if state is BuildState.BUILT else Phase.FAILED,
        "finished": at,
        **build_reason_row(reason),
        "checkpoint": {},
        **more,
    }


def _finish(
    connection: sa.Connection, build_id: str, last: BuildEvent, changes: Mapping[str, Any]
) -> tuple[Build, BuildEvent]:
    build = _require(connection, build_id)
    if build.state.finished:
        if build.reason is None or build.reason.seq is not None:
            return build, last  # a commit whose answer was lost
        last = replace(last, phase=Phase.FAILED, message=build.reason.message)
        _append(connection, build_id, [last])
        _set(connection, build_id, {"reason_seq": last.seq})
        return _require(connection, build_id), last
    _append(connection, build_id, [last])
    ended = _set_ended(connection, build, changes)
    if ended.state is BuildState.BUILT:
        _give_image(connection, build_id, changes["finished"])
    return ended, last


def _set_ended(connection: sa.Connection, build: Build, changes: Mapping[str, Any]) -> Build:
    """End a build, which empties its checkpoint, and count it."""
    host = build.checkpoint.get("host")
    _set(connection, build.id, {**changes, "host": host if isinstance(host, str) else None})
    ended = _require(connection, build.id)
    count_build(connection, ended)
    return ended


def _give_image(connection: sa.Connection, build_id: str, at: datetime) -> None:
    """Make a build current where its request is newer."""
    newer = sa.func.coalesce(environments.c.current_number, 0) < build_requests.c.number
    asked = (
        sa.select(*build_requests.c, environments.c.current_number)
        .join(environments, environments.c.id == build_requests.c.environment_id)
        .where(build_requests.c.build_id == build_id, build_requests.c.withdrawn.is_(None), newer)
        .order_by(build_requests.c.number)
    )
    # The newest request counts, if an environment has several.
    found = {row.environment_id: row for row in connection.execute(asked)}
    for row in found.values():
        connection.execute(
            environments.update()
            .where(environments.c.id == row.environment_id)
            .values(current_number=row.number)
        )
        add_change(
            connection,
            row.environment_id,
            row.current_number,
            row.number,
            by=row.requested_by,
            cause=ChangeCause(row.cause),
            reason=row.reason,
            at=at,
        )


def _wanted(build_id: str) -> list[sa.ColumnElement[bool]]:
    return [
        build_requests.c.build_id == build_id,
        build_requests.c.withdrawn.is_(None),
        environments.c.deleted.is_(None),
    ]


def _count_people(connection: sa.Connection, build_id: str) -> int:
    query = (
        sa.select(sa.func.count(sa.distinct(environments.c.owner)))
        .join_from(build_requests, environments)
        .where(*_wanted(build_id))
    )
    return connection.scalar(query) or 0


def _withdraw(
    connection: sa.Connection,
    build_id: str,
    owner: str | None,
    environment_id: str | None,
    at: datetime,
    end: Callable[[int], Reason | None],
) -> tuple[Build, int]:
    theirs = sa.select(environments.c.id).where(
        environments.c.owner == owner
        if environment_id is None
        else environments.c.id == environment_id
    )
    connection.execute(
        build_requests.update()
        .where(
            build_requests.c.build_id == build_id,
            build_requests.c.withdrawn.is_(None),
            build_requests.c.environment_id.in_(theirs),
        )
        .values(withdrawn=at)
    )
    build, people = _require(connection, build_id), _list_people(connection, build_id)
    if build.state.finished:
        return build, len(people)
    if (reason := end(len(people))) is not None:
        _set_ended(connection, build, _end(BuildState.CANCELLED, at, reason))
    elif build.created_by not in people:
        _set(connection, build_id, {"created_by": people[0]})
    return _require(connection, build_id), len(people)


def _list_people(connection: sa.Connection, build_id: str) -> list[str]:
    query = (
        sa.select(environments.c.owner)
        .join_from(build_requests, environments)
        .where(*_wanted(build_id))
        .group_by(environments.c.owner)
        .order_by(sa.func.min(build_requests.c.requested), environments.c.owner)
    )
    return list(connection.scalars(query))


_MAX_DURATIONS = 9


def _durations(
    connection: sa.Connection, repository: str | None, backend: str
) -> tuple[float, ...]:
    kept = [
        builds.c.state == BuildState.BUILT,
        builds.c.started.is_not(None),
        builds.c.reused_key.is_(None),
        builds.c.backend == backend,
    ]
    if repository is not None:
        kept.append(builds.c.repository_key == repository)
    query = (
        sa.select(builds.c.started, builds.c.finished)
        .where(*kept)
        .order_by(builds.c.finished.desc())
        .limit(_MAX_DURATIONS)
    )
    rows = connection.execute(query).all()
    return tuple((finished - started).total_seconds() for started, finished in rows)
