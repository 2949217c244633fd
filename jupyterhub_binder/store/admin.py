"""Queries for administration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import BuildState, Page
from jupyterhub_binder.model.admin import Action, AuditEntry, Drain, LimitOverride, PersonUse, Rule
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.images import NEEDED_NUMBERS
from jupyterhub_binder.store.tables import (
    audit,
    audit_row,
    build_requests,
    builds,
    environments,
    launches,
    limit_overrides,
    override_row,
    people,
    read_audit,
    read_drain,
    read_override,
    read_rule,
    rule_row,
    rules,
    switches,
)


class AdminQueries:
    """Rules, limits, draining, audit log, usage."""

    _database: Database

    async def list_rules(self) -> tuple[Rule, ...]:
        """Return rules, newest first."""
        return await self._database.run(_list_rules)

    async def put_rule(self, rule: Rule) -> Rule:
        """Keep a rule; the same kind and pattern keep their id."""
        return await self._database.run(_put_rule, rule)

    async def delete_rule(self, rule_id: str) -> Rule | None:
        """Remove and return a rule."""
        return await self._database.run(_delete_rule, rule_id)

    async def list_limit_overrides(self) -> tuple[LimitOverride, ...]:
        """Return overrides, groups before users."""
        return await self._database.run(_list_overrides)

    async def put_limit_override(self, override: LimitOverride) -> None:
        """Replace the limits of a user or group."""
        await self._database.run(_put_override, override)

    async def list_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the groups of each user who has some."""
        return await self._database.run(_list_groups)

    async def list_barred(self) -> frozenset[str]:
        """Return the users who could not build when they were last seen."""
        return await self._database.run(_list_barred)

    async def put_groups(
        self, name: str, groups: tuple[str, ...], *, can_build: bool = True
    ) -> None:
        """Replace a user's groups, and whether they can build."""
        await self._database.run(_put_groups, name, groups, can_build)

    async def meet_person(self, name: str, at: datetime) -> datetime:
        """Return when a person was seen first; keep `at` for one who has left no trace yet."""
        return await self._database.run(_meet, name, at)

    async def list_people_since(self, since: datetime) -> Mapping[str, datetime]:
        """Return the people who were seen first after a time."""
        return await self._database.run(_list_people_since, since)

    async def fetch_drain(self) -> Drain | None:
        """Return the drain, or None."""
        return await self._database.run(_fetch_drain)

    async def put_drain(self, drain: Drain | None) -> None:
        """Set the drain; None ends it."""
        await self._database.run(_put_drain, drain)

    async def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries."""
        await self._database.run(_append_audit, entries)

    async def list_audit(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        """Return entries, newest first."""
        return await self._database.run(_list_audit, actor, action, offset, limit)

    async def fetch_audit(
        self,
        *,
        actor: str | None = None,
        action: Action | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[AuditEntry, ...]:
        """Return the entries after an id, oldest first."""
        return await self._database.run(_fetch_audit, actor, action, after, limit)

    async def prune_audit(self, *, before: datetime) -> int:
        """Remove old entries; return their number."""
        return await self._database.run(_prune_audit, before)

    async def list_uses(self, *, since: datetime) -> tuple[PersonUse, ...]:
        """Return each user's usage."""
        return await self._database.run(_uses, since)


# --- Rules ---------------------------------------------------------------------------------------


def _list_rules(connection: sa.Connection) -> tuple[Rule, ...]:
    query = rules.select().order_by(rules.c.created.desc(), rules.c.id)
    return tuple(read_rule(row) for row in connection.execute(query).mappings())


def _put_rule(connection: sa.Connection, rule: Rule) -> Rule:
    same = sa.and_(rules.c.kind == rule.kind, rules.c.pattern == rule.pattern)
    known = connection.scalar(sa.select(rules.c.id).where(same))
    if known is None:
        connection.execute(rules.insert(), rule_row(rule))
        return rule
    kept = replace(rule, id=known)
    connection.execute(rules.update().where(same).values(rule_row(kept)))
    return kept


def _delete_rule(connection: sa.Connection, rule_id: str) -> Rule | None:
    row = connection.execute(rules.select().where(rules.c.id == rule_id)).mappings().first()
    if row is None:
        return None
    connection.execute(rules.delete().where(rules.c.id == rule_id))
    return read_rule(row)


# --- Limits, and what is known of people ---------------------------------------------------------


def _list_overrides(connection: sa.Connection) -> tuple[LimitOverride, ...]:
    query = limit_overrides.select().order_by(limit_overrides.c.holder, limit_overrides.c.name)
    return tuple(read_override(row) for row in connection.execute(query).mappings())


def _put_override(connection: sa.Connection, override: LimitOverride) -> None:
    table = limit_overrides.c
    connection.execute(
        limit_overrides.delete().where(table.holder == override.holder, table.name == override.name)
    )
    if override.values:
        connection.execute(limit_overrides.insert(), override_row(override))


def _list_groups(connection: sa.Connection) -> dict[str, tuple[str, ...]]:
    some = sa.cast(people.c.groups, sa.Text) != "[]"
    query = sa.select(people.c.name, people.c.groups).where(some)
    return {row.name: tuple(row.groups) for row in connection.execute(query)}


def _list_barred(connection: sa.Connection) -> frozenset[str]:
    return frozenset(connection.scalars(sa.select(people.c.name).where(~people.c.can_build)))


def _put_groups(
    connection: sa.Connection, name: str, groups: tuple[str, ...], can_build: bool
) -> None:
    values = {"groups": list(groups), "can_build": can_build}
    if not connection.execute(people.update().where(people.c.name == name).values(values)).rowcount:
        connection.execute(people.insert(), {"name": name, **values})


def _meet(connection: sa.Connection, name: str, at: datetime) -> datetime:
    known = connection.scalar(sa.select(people.c.first_seen).where(people.c.name == name))
    if known is not None:
        return known
    traces = (
        connection.scalar(sa.select(sa.func.min(table.c.created)).where(column == name))
        for table, column in ((environments, environments.c.owner), (launches, launches.c.user))
    )
    first = min((trace for trace in traces if trace is not None), default=at)
    connection.execute(people.insert(), {"name": name, "groups": [], "first_seen": first})
    return first


def _list_people_since(connection: sa.Connection, since: datetime) -> dict[str, datetime]:
    query = sa.select(people.c.name, people.c.first_seen).where(people.c.first_seen > since)
    return {row.name: row.first_seen for row in connection.execute(query)}


# --- Draining ------------------------------------------------------------------------------------


_DRAIN = switches.c.name == "drain"


def _fetch_drain(connection: sa.Connection) -> Drain | None:
    row = connection.execute(switches.select().where(_DRAIN)).mappings().first()
    return None if row is None else read_drain(row)


def _put_drain(connection: sa.Connection, drain: Drain | None) -> None:
    connection.execute(switches.delete().where(_DRAIN))
    if drain is not None:
        values = {"message": str(drain.message), "since": drain.since, "by": drain.by}
        connection.execute(switches.insert(), {"name": "drain", **values})


# --- The audit log: added to, never changed; only age removes from it ----------------------------


def _append_audit(connection: sa.Connection, entries: Sequence[AuditEntry]) -> None:
    if entries:
        connection.execute(audit.insert(), [audit_row(entry) for entry in entries])


def _audit_filter(actor: str | None, action: Action | None) -> list[sa.ColumnElement[bool]]:
    kept: list[sa.ColumnElement[bool]] = []
    if actor is not None:
        kept.append(audit.c.actor == actor)
    if action is not None:
        kept.append(audit.c.action == action)
    return kept


def _list_audit(
    connection: sa.Connection, actor: str | None, action: Action | None, offset: int, limit: int
) -> Page[AuditEntry]:
    kept = _audit_filter(actor, action)
    total = connection.scalar(sa.select(sa.func.count()).select_from(audit).where(*kept)) or 0
    query = audit.select().where(*kept).order_by(audit.c.id.desc()).offset(offset).limit(limit)
    rows = connection.execute(query).mappings()
    return Page(tuple(read_audit(row) for row in rows), total, offset, limit)


def _fetch_audit(
    connection: sa.Connection, actor: str | None, action: Action | None, after: int, limit: int
) -> tuple[AuditEntry, ...]:
    query = (
        audit.select()
        .where(audit.c.id > after, *_audit_filter(actor, action))
        .order_by(audit.c.id)
        .limit(limit)
    )
    return tuple(read_audit(row) for row in connection.execute(query).mappings())


def _prune_audit(connection: sa.Connection, before: datetime) -> int:
    return connection.execute(audit.delete().where(audit.c.time < before)).rowcount


# --- What people use -----------------------------------------------------------------------------


_SECOND = 1_000_000
_Query = sa.Select[*tuple[Any, ...]]


def _uses(connection: sa.Connection, since: datetime) -> tuple[PersonUse, ...]:
    found: dict[str, dict[str, Any]] = {}
    for query in (_of_builds(since), _of_launches(since), _of_environments(), _of_images()):
        for row in connection.execute(query).mappings():
            found.setdefault(row["name"], {"name": row["name"]}).update(_numbers(row))
    return tuple(PersonUse(**values) for values in found.values())


def _numbers(row: sa.RowMapping) -> Mapping[str, Any]:
    values: dict[str, Any] = {
        name: int(value or 0) for name, value in row.items() if name != "name"
    }
    if "build_microseconds" in values:
        values["build_seconds"] = values.pop("build_microseconds") / _SECOND
    return values


def _of_builds(since: datetime) -> _Query:
    microseconds = sa.type_coerce(builds.c.finished, sa.BigInteger) - sa.type_coerce(
        builds.c.started, sa.BigInteger
    )
    return (
        sa.select(
            builds.c.created_by.label("name"),
            sa.func.count().label("builds"),
            sa.func.sum(microseconds).label("build_microseconds"),
        )
        .where(builds.c.created >= since)
        .group_by(builds.c.created_by)
    )


def _of_launches(since: datetime) -> _Query:
    return (
        sa.select(launches.c.user.label("name"), sa.func.count().label("launches"))
        .where(launches.c.created >= since)
        .group_by(launches.c.user)
    )


def _of_environments() -> _Query:
    return (
        sa.select(environments.c.owner.label("name"), sa.func.count().label("environments"))
        .where(environments.c.deleted.is_(None))
        .group_by(environments.c.owner)
    )


def _of_images() -> _Query:
    """Count each image once."""
    images = (
        sa.select(
            environments.c.owner,
            builds.c.image,
            sa.func.max(builds.c.size_bytes).label("size_bytes"),
        )
        .join_from(
            environments, build_requests, build_requests.c.environment_id == environments.c.id
        )
        .join(builds, builds.c.id == build_requests.c.build_id)
        .where(
            environments.c.deleted.is_(None),
            build_requests.c.number.in_(NEEDED_NUMBERS),
            builds.c.state == BuildState.BUILT,
            builds.c.image.is_not(None),
        )
        .group_by(environments.c.owner, builds.c.image)
        .subquery("images")
    )
    return sa.select(
        images.c.owner.label("name"), sa.func.sum(images.c.size_bytes).label("image_bytes")
    ).group_by(images.c.owner)
