"""Queries for the newest commits of followed repositories, and what they change."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import Build, BuildState, Reason, Spec, UpdateMode, repository_key
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.upstream import (
    ChangedFile,
    Comparison,
    NewCommit,
    Upstream,
    UpstreamChange,
)
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import (
    UTCTime,
    build_requests,
    builds,
    environments,
    metadata,
    read_build,
    reason_row,
)

Followed = tuple[str, str]
"""A repository's key and a ref."""

upstreams = sa.Table(
    "upstreams",
    metadata,
    sa.Column("repository_key", sa.Text, nullable=False),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("provider", sa.String(32), nullable=False),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("resolved_ref", sa.Text, nullable=False),
    sa.Column("checked", UTCTime),
    sa.Column("due", UTCTime),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("reason_code", sa.String(64)),
    sa.Column("reason_message", sa.Text),
    sa.Column("reason_template", sa.JSON(none_as_null=True)),
    sa.PrimaryKeyConstraint("repository_key", "ref"),
    sa.Index("ix_upstreams_due", "due"),
)

upstream_changes = sa.Table(
    "upstream_changes",
    metadata,
    sa.Column("from_key", sa.String(64), nullable=False),
    sa.Column("resolved_ref", sa.Text, nullable=False),
    sa.Column("made", UTCTime, nullable=False),
    sa.Column("needs_build", sa.Boolean, nullable=False),
    sa.Column("comparison", sa.JSON, nullable=False),
    sa.PrimaryKeyConstraint("from_key", "resolved_ref"),
    sa.Index("ix_upstream_changes_made", "made"),
)


class UpstreamQueries:
    """Upstreams and their changes."""

    _database: Database

    async def list_upstreams(self, followed: Collection[Followed]) -> Mapping[Followed, Upstream]:
        """Return what is known of these."""
        return await self._database.run(_list, followed)

    async def put_upstream(self, upstream: Upstream) -> None:
        """Insert or replace."""
        await self._database.run(_put, upstream)

    async def list_due_upstreams(
        self, *, now: datetime, used_since: datetime, limit: int
    ) -> tuple[Spec, ...]:
        """Return what environments follow and nobody asked for lately, the longest unasked first.

        Only environments with a build count that were used since a time, or that are updated by
        themselves.
        """
        return await self._database.run(_list_due, now, used_since, limit)

    async def list_followed_builds(self, spec: Spec, *, limit: int) -> tuple[Build, ...]:
        """Return the different current builds of the environments that follow a spec."""
        return await self._database.run(_list_builds, spec, limit)

    async def list_auto_updated(self, spec: Spec, *, limit: int) -> tuple[str, ...]:
        """Return the ids of environments that follow a spec and are updated by themselves now."""
        query = (
            sa.select(environments.c.id)
            .where(
                *_follows(spec),
                environments.c.updates == UpdateMode.AUTO,
                environments.c.held.is_(None),
                environments.c.current_number.is_not(None),
            )
            .order_by(environments.c.touched.desc())
            .limit(limit)
        )
        return await self._database.run(lambda c: tuple(c.scalars(query)))

    async def list_auto_waiting(self, build_id: str) -> tuple[str, ...]:
        """Return the ids of environments, updated by themselves, whose newest build is this one."""
        query = (
            sa.select(environments.c.id)
            .join(
                build_requests,
                sa.and_(
                    build_requests.c.environment_id == environments.c.id,
                    build_requests.c.number == environments.c.latest_number,
                ),
            )
            .where(
                build_requests.c.build_id == build_id,
                environments.c.updates == UpdateMode.AUTO,
                environments.c.held.is_(None),
                environments.c.deleted.is_(None),
            )
        )
        return await self._database.run(lambda c: tuple(c.scalars(query)))

    async def list_upstream_changes(
        self, wanted: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], UpstreamChange]:
        """Return changes by a build's base key and the newer commit."""
        return await self._database.run(_list_changes, wanted)

    async def put_upstream_change(self, change: UpstreamChange, *, at: datetime) -> None:
        """Insert or replace."""
        await self._database.run(_put_change, change, at)

    async def prune_upstreams(self, *, before: datetime) -> None:
        """Remove what nobody asked for since a time."""
        await self._database.run(_prune, before)


def _of(followed: Iterable[Followed]) -> sa.ColumnElement[bool]:
    return sa.tuple_(upstreams.c.repository_key, upstreams.c.ref).in_(list(followed))


def _list(connection: sa.Connection, followed: Collection[Followed]) -> Mapping[Followed, Upstream]:
    if not followed:
        return {}
    rows = connection.execute(upstreams.select().where(_of(followed))).mappings()
    return {(row["repository_key"], row["ref"]): _read(row) for row in rows}


def _read(row: sa.RowMapping) -> Upstream:
    reason = None
    if row["reason_code"] is not None:
        message = Message.from_json(row["reason_template"])
        reason = Reason(
            row["reason_code"], message or Message.verbatim(row["reason_message"] or "")
        )
    return Upstream(
        spec=Spec(row["provider"], row["repo"], row["ref"]),
        resolved_ref=row["resolved_ref"],
        checked=row["checked"],
        due=row["due"],
        failures=row["failures"],
        reason=reason,
    )


def _put(connection: sa.Connection, upstream: Upstream) -> None:
    spec = upstream.spec
    row = {
        "repository_key": repository_key(spec),
        "ref": spec.ref,
        "provider": spec.provider,
        "repo": spec.repo,
        "resolved_ref": upstream.resolved_ref,
        "checked": upstream.checked,
        "due": upstream.due,
        "failures": upstream.failures,
        **reason_row(upstream.reason),
    }
    connection.execute(upstreams.delete().where(_of([(row["repository_key"], spec.ref)])))
    connection.execute(upstreams.insert(), row)


def _list_due(
    connection: sa.Connection, now: datetime, used_since: datetime, limit: int
) -> tuple[Spec, ...]:
    query = (
        sa.select(
            sa.func.min(environments.c.provider).label("provider"),
            sa.func.min(environments.c.repo).label("repo"),
            environments.c.ref,
        )
        .outerjoin(
            upstreams,
            sa.and_(
                upstreams.c.repository_key == environments.c.repository_key,
                upstreams.c.ref == environments.c.ref,
            ),
        )
        .where(
            environments.c.deleted.is_(None),
            environments.c.current_number.is_not(None),
            sa.or_(
                environments.c.touched >= used_since,
                sa.and_(environments.c.updates == UpdateMode.AUTO, environments.c.held.is_(None)),
            ),
            environments.c.updates != UpdateMode.NEVER,
            sa.func.length(environments.c.ref) < 40,
            sa.or_(upstreams.c.due.is_(None), upstreams.c.due <= now),
        )
        .group_by(environments.c.repository_key, environments.c.ref)
        .order_by(sa.func.min(upstreams.c.due).is_not(None), sa.func.min(upstreams.c.due))
        .limit(limit)
    )
    return tuple(Spec(row.provider, row.repo, row.ref) for row in connection.execute(query))


def _list_builds(connection: sa.Connection, spec: Spec, limit: int) -> tuple[Build, ...]:
    current = (
        sa.select(sa.func.max(builds.c.id))
        .join_from(environments, build_requests, _is_current())
        .join(builds, builds.c.id == build_requests.c.build_id)
        .where(*_follows(spec), builds.c.state == BuildState.BUILT)
        .group_by(builds.c.base_key)
        .limit(limit)
    )
    rows = connection.execute(builds.select().where(builds.c.id.in_(current))).mappings()
    return tuple(read_build(row) for row in rows)


def _is_current() -> sa.ColumnElement[bool]:
    return sa.and_(
        build_requests.c.environment_id == environments.c.id,
        build_requests.c.number == environments.c.current_number,
    )


def _follows(spec: Spec) -> list[sa.ColumnElement[bool]]:
    return [
        environments.c.repository_key == repository_key(spec),
        environments.c.ref == spec.ref,
        environments.c.deleted.is_(None),
    ]


def _of_changes(wanted: Iterable[tuple[str, str]]) -> sa.ColumnElement[bool]:
    columns = upstream_changes.c
    return sa.tuple_(columns.from_key, columns.resolved_ref).in_(list(wanted))


def _list_changes(
    connection: sa.Connection, wanted: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], UpstreamChange]:
    if not wanted:
        return {}
    rows = connection.execute(upstream_changes.select().where(_of_changes(wanted))).mappings()
    return {(row["from_key"], row["resolved_ref"]): _read_change(row) for row in rows}


def _read_change(row: sa.RowMapping) -> UpstreamChange:
    return UpstreamChange(
        row["from_key"],
        row["resolved_ref"],
        row["needs_build"],
        _read_comparison(row["comparison"]),
    )


def _read_comparison(stored: Mapping[str, Any]) -> Comparison:
    commits = [
        NewCommit(**{**each, "time": datetime.fromtimestamp(each["time"], UTC)})
        for each in stored["commits"]
    ]
    return Comparison(
        **{
            **stored,
            "commits": tuple(commits),
            "files": tuple(stored["files"]),
            "recipe": tuple(ChangedFile(**each) for each in stored["recipe"]),
            "diff": tuple(stored["diff"]),
        }
    )


def _put_change(connection: sa.Connection, change: UpstreamChange, at: datetime) -> None:
    comparison = json.loads(json.dumps(asdict(change.comparison), default=datetime.timestamp))
    row = {
        "from_key": change.from_key,
        "resolved_ref": change.resolved_ref,
        "made": at,
        "needs_build": change.needs_build,
        "comparison": comparison,
    }
    place = [(change.from_key, change.resolved_ref)]
    connection.execute(upstream_changes.delete().where(_of_changes(place)))
    connection.execute(upstream_changes.insert(), row)


def _prune(connection: sa.Connection, before: datetime) -> None:
    connection.execute(upstreams.delete().where(upstreams.c.due < before))
    connection.execute(upstream_changes.delete().where(upstream_changes.c.made < before))
