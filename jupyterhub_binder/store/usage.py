"""Queries over what people did and have; each runs in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import BuildState
from jupyterhub_binder.oversight import PersonUse
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.images import NEEDED_NUMBERS
from jupyterhub_binder.store.tables import build_requests, builds, environments, launches

_SECOND = 1_000_000
_Query = sa.Select[*tuple[Any, ...]]


class UsageQueries:
    """The part of the store that counts what people use."""

    _database: Database

    async def list_uses(self, *, since: datetime) -> tuple[PersonUse, ...]:
        """Return everybody's use: builds and launches since a time, all else as it is now."""
        return await self._database.run(_uses, since)


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
    """Sum the images that a person's environments need, each once."""
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
