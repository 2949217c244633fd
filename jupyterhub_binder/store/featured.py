"""Queries for featured environments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import Environment
from jupyterhub_binder.model.featured import GalleryEntry
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from jupyterhub_binder.store import shares as share_queries
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.sharing_tables import featured, shares
from jupyterhub_binder.store.tables import environments

_SHOWN = tuple(
    column for column in featured.c if column.name not in ("media_type", "picture", "gave")
)


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture as it is served."""

    checksum: str
    media_type: str
    data: bytes


class FeaturedQueries:
    """What is featured: each record belongs to a share, and ends with it."""

    _database: Database
    rights_version: int

    async def list_featured(self) -> tuple[GalleryEntry, ...]:
        """Return all, in the gallery's order; not those of deleted environments."""
        return await self._database.run(_list_all)

    async def list_featured_for(
        self, person: str, groups: Sequence[str]
    ) -> tuple[tuple[GalleryEntry, Environment], ...]:
        """Return a person's gallery, with the environments as they see them."""
        return await self._database.run(_list_for, person, groups)

    async def fetch_featured(self, environment_id: str) -> GalleryEntry | None:
        """Return what the gallery says of an environment."""
        return await self._database.run(_fetch, environment_id)

    async def put_featured(self, wanted: GalleryEntry) -> GalleryEntry:
        """Feature an environment, and share it with its people.

        What was read of the README stays. A share that an earlier audience had only by being
        featured ends.
        """
        answer = await self._database.run(_put, wanted)
        self.rights_version += 1
        return answer

    async def remove_featured(self, environment_id: str) -> bool:
        """End it, with the share that came with it; say whether there was any."""
        removed = await self._database.run(_remove, environment_id)
        self.rights_version += 1
        return removed

    async def put_about(
        self, environment_id: str, *, read_ref: str, paragraph: str, picture: StoredPicture | None
    ) -> None:
        """Keep what a README says."""
        await self._database.run(_put_about, environment_id, read_ref, paragraph, picture)

    async def fetch_picture(self, environment_id: str) -> StoredPicture | None:
        """Return the picture of a featured environment."""
        return await self._database.run(_fetch_picture, environment_id)


def checksum_of(data: bytes) -> str:
    """Return what changes with a picture."""
    return hashlib.sha256(data).hexdigest()[:20]


def _read(row: sa.RowMapping) -> GalleryEntry:
    fields = dict(row)
    subject = Subject(SubjectKind(fields.pop("kind")), fields.pop("subject"))
    return GalleryEntry(subject=subject, picture=fields.pop("checksum"), **fields)


_ALL = (
    sa.select(*_SHOWN)
    .join_from(featured, environments)
    .where(environments.c.deleted.is_(None))
    .order_by(
        featured.c.position.nulls_last(), sa.func.lower(environments.c.name), environments.c.id
    )
)


def _list_all(connection: sa.Connection) -> tuple[GalleryEntry, ...]:
    return tuple(map(_read, connection.execute(_ALL).mappings()))


def _list_for(
    connection: sa.Connection, person: str, groups: Sequence[str]
) -> tuple[tuple[GalleryEntry, Environment], ...]:
    rows = connection.execute(_ALL.where(share_queries.names(featured.c, person, groups)))
    found = [_read(row) for row in rows.mappings()]
    ids = [each.environment_id for each in found]
    seen = share_queries.fetch_seen(connection, person, groups, ids)
    return tuple((each, seen[each.environment_id]) for each in found if each.environment_id in seen)


def _fetch(connection: sa.Connection, environment_id: str) -> GalleryEntry | None:
    query = sa.select(*_SHOWN).where(featured.c.environment_id == environment_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else _read(row)


def _row(connection: sa.Connection, environment_id: str) -> dict[str, Any] | None:
    query = featured.select().where(featured.c.environment_id == environment_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


_NOTHING_READ = {
    "paragraph": "",
    "read_ref": "",
    "checksum": "",
    "media_type": "",
    "picture": None,
}


def _put(connection: sa.Connection, wanted: GalleryEntry) -> GalleryEntry:
    before = _row(connection, wanted.environment_id)
    place = {
        "environment_id": wanted.environment_id,
        "kind": wanted.subject.kind,
        "subject": wanted.subject.name,
    }
    same = before is not None and {name: before[name] for name in place} == place
    if before is not None and not same:
        _remove(connection, wanted.environment_id)
    gave = (
        before["gave"] if before is not None and same else _ensure_share(connection, place, wanted)
    )
    kept = {name: before[name] for name in _NOTHING_READ} if before else _NOTHING_READ
    row = {
        **place,
        **kept,
        "since": before["since"] if before is not None and same else wanted.since,
        "by": wanted.by,
        "written": wanted.written,
        "link": wanted.link,
        "position": wanted.position,
        "gave": gave,
    }
    connection.execute(featured.delete().where(_is(wanted.environment_id)))
    connection.execute(featured.insert(), row)
    made = _fetch(connection, wanted.environment_id)
    assert made is not None
    return made


def _ensure_share(
    connection: sa.Connection, place: Mapping[str, Any], wanted: GalleryEntry
) -> bool:
    """Share with the audience; say whether that was new."""
    known = sa.select(sa.func.count()).where(*(shares.c[name] == place[name] for name in place))
    if connection.scalar(known):
        return False
    given = {"right": Right.LAUNCH, "since": wanted.since, "by": wanted.by}
    connection.execute(shares.insert(), {**place, **given})
    return True


def _is(environment_id: str) -> sa.ColumnElement[bool]:
    return featured.c.environment_id == environment_id


def _remove(connection: sa.Connection, environment_id: str) -> bool:
    row = _row(connection, environment_id)
    if row is None:
        return False
    connection.execute(featured.delete().where(_is(environment_id)))
    if row["gave"]:
        connection.execute(
            shares.delete().where(
                shares.c.environment_id == environment_id,
                shares.c.kind == row["kind"],
                shares.c.subject == row["subject"],
                shares.c.right == Right.LAUNCH,
            )
        )
    return True


def _put_about(
    connection: sa.Connection,
    environment_id: str,
    read_ref: str,
    paragraph: str,
    picture: StoredPicture | None,
) -> None:
    connection.execute(
        featured.update()
        .where(_is(environment_id))
        .values(
            read_ref=read_ref,
            paragraph=paragraph,
            checksum=picture.checksum if picture else "",
            media_type=picture.media_type if picture else "",
            picture=picture.data if picture else None,
        )
    )


def _fetch_picture(connection: sa.Connection, environment_id: str) -> StoredPicture | None:
    columns = (featured.c.checksum, featured.c.media_type, featured.c.picture)
    row = connection.execute(sa.select(*columns).where(_is(environment_id))).first()
    if row is None or row.picture is None:
        return None
    return StoredPicture(row.checksum, row.media_type, bytes(row.picture))
