"""Queries for images and their use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import BuildState
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import (
    ACTIVE,
    build_requests,
    builds,
    environments,
    launches,
)

_PART = 500


@dataclass(frozen=True, slots=True)
class ImageUse:
    """How an image is used."""

    image: str
    size_bytes: int
    last_used: datetime
    """When last built, requested or launched."""
    needed: bool
    """By a current, previous or newest build."""


class ImageQueries:
    """Images."""

    _database: Database

    async def list_image_uses(self, backend: str) -> tuple[ImageUse, ...]:
        """Return the use of a backend's images."""
        return await self._database.run(_uses, builds.c.backend == backend)

    async def fetch_image_use(self, image: str) -> ImageUse | None:
        """Return the use of an image; None if no build made it."""
        return next(iter(await self._database.run(_uses, builds.c.image == image)), None)

    async def list_images_of(self, environments: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return all images that environments ever had."""
        return await self._database.run(_images_of, environments)

    async def is_wanted(self, image: str) -> bool:
        """Say whether an active build may reuse the image."""
        return await self._database.run(_is_wanted, image)


_earlier = build_requests.alias("earlier")
_earlier_build = builds.alias("earlier_build")
_previous_number = (
    sa.select(sa.func.max(_earlier.c.number))
    .join_from(_earlier, _earlier_build, _earlier_build.c.id == _earlier.c.build_id)
    .where(
        _earlier.c.environment_id == environments.c.id,
        _earlier.c.number < environments.c.current_number,
        _earlier_build.c.state == BuildState.BUILT,
    )
    .correlate(environments)
    .scalar_subquery()
)
NEEDED_NUMBERS = (environments.c.current_number, environments.c.latest_number, _previous_number)
"""Current, newest and previous."""

_NEEDED = (
    sa.select(
        build_requests.c.build_id,
        sa.func.max(environments.c.launched).label("launched"),
        sa.func.max(build_requests.c.requested).label("requested"),
    )
    .join_from(environments, build_requests, build_requests.c.environment_id == environments.c.id)
    .where(build_requests.c.number.in_(NEEDED_NUMBERS))
    .group_by(build_requests.c.build_id)
    .subquery("needed")
)
_LAUNCHED = (
    sa.select(launches.c.build_id, sa.func.max(launches.c.created).label("launched"))
    .group_by(launches.c.build_id)
    .subquery("launched")
)


def _uses(connection: sa.Connection, kept: sa.ColumnElement[bool]) -> tuple[ImageUse, ...]:
    query = (
        sa.select(
            builds.c.image,
            builds.c.size_bytes,
            builds.c.created,
            builds.c.finished,
            _NEEDED.c.build_id.label("needed"),
            _NEEDED.c.requested,
            _NEEDED.c.launched.label("environment_launched"),
            _LAUNCHED.c.launched,
        )
        .outerjoin(_NEEDED, _NEEDED.c.build_id == builds.c.id)
        .outerjoin(_LAUNCHED, _LAUNCHED.c.build_id == builds.c.id)
        .where(builds.c.state == BuildState.BUILT, builds.c.image.is_not(None), kept)
    )
    found: dict[str, ImageUse] = {}
    for row in connection.execute(query).mappings():
        use = _read(row)
        known = found.get(use.image)
        found[use.image] = use if known is None else _merged(known, use)
    return tuple(found.values())


def _read(row: sa.RowMapping) -> ImageUse:
    times = ("created", "finished", "requested", "environment_launched", "launched")
    return ImageUse(
        image=row["image"],
        size_bytes=row["size_bytes"] or 0,
        last_used=_latest(row[name] for name in times),
        needed=row["needed"] is not None,
    )


def _latest(times: Iterable[Any]) -> datetime:
    return max(time for time in times if time is not None)


def _merged(one: ImageUse, other: ImageUse) -> ImageUse:
    return ImageUse(
        one.image,
        max(one.size_bytes, other.size_bytes),
        max(one.last_used, other.last_used),
        one.needed or other.needed,
    )


def _images_of(connection: sa.Connection, wanted: Collection[str]) -> Mapping[str, frozenset[str]]:
    query = (
        sa.select(environments.c.id, builds.c.image)
        .outerjoin(build_requests, build_requests.c.environment_id == environments.c.id)
        .outerjoin(builds, builds.c.id == build_requests.c.build_id)
    )
    found: dict[str, set[str]] = {}
    for some in _in_parts(sorted(wanted)):
        for row in connection.execute(query.where(environments.c.id.in_(some))):
            found.setdefault(row.id, set()).update([row.image] if row.image else ())
    return {id_: frozenset(images) for id_, images in found.items()}


def _in_parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Databases limit a statement's parameters."""
    for begin in range(0, len(names), _PART):
        yield names[begin : begin + _PART]


def _is_wanted(connection: sa.Connection, image: str) -> bool:
    made_by = builds.c.image == image
    keys = sa.select(builds.c.base_key).where(made_by)
    digests = sa.select(builds.c.recipe_digest).where(made_by, builds.c.recipe_digest.is_not(None))
    wanted = sa.or_(builds.c.base_key.in_(keys), builds.c.recipe_digest.in_(digests))
    query = sa.select(sa.func.count()).where(wanted, ACTIVE)
    return bool(connection.scalar(query))
