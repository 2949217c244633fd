"""Queries for shares, and for how each person uses an environment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import BuildRequest, Environment, Order, Page, repository_key
from jupyterhub_binder.model.sharing import OthersUse, Right, Share, Subject, SubjectKind
from jupyterhub_binder.store import environments as queries
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.preferences import is_pinned, pinned_first
from jupyterhub_binder.store.sharing_tables import environment_people, featured, shares, transfers
from jupyterhub_binder.store.tables import build_requests, environments

_MAX_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class Access:
    """What a person other than the owner may do with an environment, and how they use it."""

    right: Right | None
    directory: str
    """The folder in their home; the one that a launch would take, if there was none."""
    launched: datetime | None


class ShareQueries:
    """Shares, and the people who use what is shared."""

    _database: Database
    rights_version = 0
    """Raised when somebody may have lost a right. Who waits long asks again if it differs."""

    async def fetch_access(
        self, environment: Environment, person: str, groups: Sequence[str]
    ) -> Access:
        """Return what a person may do; the right comes from shares alone."""
        return await self._database.run(_fetch_access, environment, person, groups)

    async def list_shares(self, environment_id: str) -> tuple[Share, ...]:
        """Return an environment's shares: everyone, groups, people."""
        return await self._database.run(_list_shares, environment_id)

    async def put_shares(
        self, environment_id: str, wanted: Sequence[Share]
    ) -> tuple[tuple[Share, ...], tuple[Share, ...]]:
        """Replace all shares; return those before and after. An unchanged one stays as it was."""
        answer = await self._database.run(_put_shares, environment_id, wanted)
        self.rights_version += 1
        return answer

    async def list_visible(
        self,
        person: str,
        groups: Sequence[str],
        *,
        search: str = "",
        order: Order = "recent",
        offset: int = 0,
        limit: int = 50,
        gallery: bool = False,
    ) -> Page[Environment]:
        """Return a person's environments, then those that are shared with them.

        With a `gallery` beside it, what that shows is left out until the person uses it.
        """
        return await self._database.run(
            _list_visible, person, groups, search, order, offset, limit, gallery
        )

    async def find_shared_request(
        self, build_id: str, person: str, groups: Sequence[str]
    ) -> BuildRequest | None:
        """Return the newest request for a build by an environment that is shared with a person."""
        return await self._database.run(_find_shared_request, build_id, person, groups)

    async def list_named_people(self, *, after: str, limit: int) -> tuple[str, ...]:
        """Return people with shares or offers, in the order of their names."""
        return await self._database.run(_named_people, after, limit)

    async def end_person(self, person: str) -> tuple[str, ...]:
        """End the shares of a person and the offers to them; return the environments."""
        ended = await self._database.run(_end_person, person)
        self.rights_version += 1
        return ended

    async def use_environment(
        self, environment_id: str, person: str, *, launched: datetime | None
    ) -> None:
        """Keep a person's folder for an environment, and when they launched it."""
        await self._database.run(_use, environment_id, person, launched)

    async def forget_directories(self, environment_id: str) -> None:
        """Give people other than the owner another folder with their next launch."""
        await self._database.run(_forget_directories, environment_id)

    async def list_others_use(self, ids: Collection[str]) -> Mapping[str, OthersUse]:
        """Return how others use environments; those that nobody used are left out."""
        return await self._database.run(_others_use, ids)


def names(of: Any, person: str, groups: Sequence[str]) -> sa.ColumnElement[bool]:
    """Match the rows of a table whose subject is or includes a person; `of` are its columns."""
    return sa.or_(
        sa.and_(of.kind == SubjectKind.USER, of.subject == person),
        sa.and_(of.kind == SubjectKind.GROUP, of.subject.in_(tuple(groups)[:_MAX_GROUPS])),
        sa.and_(of.kind == SubjectKind.EVERYONE, of.subject == ""),
    )


def _is_of(person: str, groups: Sequence[str]) -> sa.ColumnElement[bool]:
    """Match the shares of a person."""
    return names(shares.c, person, groups)


_HIGHEST_RIGHT = sa.func.max(sa.case((shares.c.right == Right.MANAGE, 1), else_=0))


def _right(rank: int | None) -> Right | None:
    return None if rank is None else (Right.LAUNCH, Right.MANAGE)[rank]


def _fetch_access(
    connection: sa.Connection, environment: Environment, person: str, groups: Sequence[str]
) -> Access:
    rank = connection.scalar(
        sa.select(_HIGHEST_RIGHT).where(
            shares.c.environment_id == environment.id, _is_of(person, groups)
        )
    )
    used = _fetch_use(connection, environment.id, person)
    directory = used.directory if used else ""
    return Access(
        right=_right(rank),
        directory=directory or find_directory_of(connection, environment, person),
        launched=used.launched if used else None,
    )


def _fetch_use(
    connection: sa.Connection, environment_id: str, person: str
) -> sa.Row[Any, Any] | None:
    return connection.execute(
        sa.select(environment_people.c.directory, environment_people.c.launched).where(
            environment_people.c.environment_id == environment_id,
            environment_people.c.person == person,
        )
    ).first()


def find_directory_of(connection: sa.Connection, environment: Environment, person: str) -> str:
    """Return the folder that a person would take for an environment of another."""
    return queries.find_directory(
        connection,
        person,
        repository_key(environment.spec),
        environment.content_url,
        _Numbered(environment.directory),
    )


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Endless names: ``course``, ``course-2``."""

    name: str

    def __iter__(self) -> Iterator[str]:
        yield self.name
        yield from (f"{self.name}-{number}" for number in count(2))


def _use(
    connection: sa.Connection, environment_id: str, person: str, launched: datetime | None
) -> None:
    environment = queries.fetch(connection, environment_id)
    if environment is None:
        return
    if environment.owner == person:
        if launched is not None:
            queries.update(connection, environment_id, {"launched": launched}, launched)
        return
    used = _fetch_use(connection, environment_id, person)
    directory = used.directory if used else ""
    row: dict[str, Any] = {
        "directory": directory or find_directory_of(connection, environment, person)
    }
    if launched is not None:
        row["launched"] = launched
    if used is None:
        place = {"environment_id": environment_id, "person": person}
        connection.execute(environment_people.insert(), {**place, **row})
        return
    connection.execute(
        environment_people.update()
        .where(
            environment_people.c.environment_id == environment_id,
            environment_people.c.person == person,
        )
        .values(**row)
    )


def _forget_directories(connection: sa.Connection, environment_id: str) -> None:
    connection.execute(
        environment_people.update()
        .where(environment_people.c.environment_id == environment_id)
        .values(directory="")
    )


def _others_use(connection: sa.Connection, ids: Collection[str]) -> Mapping[str, OthersUse]:
    people = environment_people.c
    query = (
        sa.select(people.environment_id, sa.func.count(), sa.func.max(people.launched))
        .where(people.environment_id.in_(tuple(ids)), people.launched.is_not(None))
        .group_by(people.environment_id)
    )
    return {row[0]: OthersUse(row[1], row[2]) for row in connection.execute(query)}


# --- Shares ---------------------------------------------------------------------------------------

_KINDS = (SubjectKind.EVERYONE, SubjectKind.GROUP, SubjectKind.USER)


def _list_shares(connection: sa.Connection, environment_id: str) -> tuple[Share, ...]:
    rows = connection.execute(shares.select().where(shares.c.environment_id == environment_id))
    found = (_read(row) for row in rows.mappings())
    return tuple(sorted(found, key=lambda s: (_KINDS.index(s.subject.kind), s.subject.name)))


def _read(row: sa.RowMapping) -> Share:
    subject = Subject(SubjectKind(row["kind"]), row["subject"])
    return Share(subject, Right(row["right"]), row["since"], row["by"])


def _put_shares(
    connection: sa.Connection, environment_id: str, wanted: Sequence[Share]
) -> tuple[tuple[Share, ...], tuple[Share, ...]]:
    before = _list_shares(connection, environment_id)
    known = {share.subject: share for share in before}
    for subject in known.keys() - {share.subject for share in wanted}:
        connection.execute(shares.delete().where(*_is(environment_id, subject)))
    for share in wanted:
        row = _row(environment_id, share)
        if share.subject not in known:
            connection.execute(shares.insert(), row)
        elif known[share.subject].right is not share.right:
            # What belongs to the share, stays.
            place = _is(environment_id, share.subject)
            connection.execute(shares.update().where(*place).values(**row))
    return before, _list_shares(connection, environment_id)


def _is(environment_id: str, subject: Subject) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        shares.c.environment_id == environment_id,
        shares.c.kind == subject.kind,
        shares.c.subject == subject.name,
    )


def _row(environment_id: str, share: Share) -> dict[str, Any]:
    return {
        "environment_id": environment_id,
        "kind": share.subject.kind,
        "subject": share.subject.name,
        "right": share.right,
        "since": share.since,
        "by": share.by,
    }


def _named_people(connection: sa.Connection, after: str, limit: int) -> tuple[str, ...]:
    named = sa.union(
        sa.select(shares.c.subject.label("name")).where(shares.c.kind == SubjectKind.USER),
        sa.select(transfers.c.to.label("name")),
    ).subquery()
    query = sa.select(named.c.name).where(named.c.name > after).order_by(named.c.name).limit(limit)
    return tuple(connection.scalars(query))


def _end_person(connection: sa.Connection, person: str) -> tuple[str, ...]:
    theirs = (shares.c.kind == SubjectKind.USER, shares.c.subject == person)
    ended = [
        *connection.scalars(sa.select(shares.c.environment_id).where(*theirs)),
        *connection.scalars(sa.select(transfers.c.environment_id).where(transfers.c.to == person)),
    ]
    connection.execute(shares.delete().where(*theirs))
    connection.execute(transfers.delete().where(transfers.c.to == person))
    return tuple(dict.fromkeys(ended))


# --- What a person sees ---------------------------------------------------------------------------


def _list_visible(
    connection: sa.Connection,
    person: str,
    groups: Sequence[str],
    search: str,
    order: Order,
    offset: int,
    limit: int,
    gallery: bool,
) -> Page[Environment]:
    own = queries.list_kept(
        connection, queries.kept(person, search, deleted=False), order, offset, limit, person
    )
    matching = [
        *queries.kept(None, search, deleted=False),
        environments.c.owner != person,
    ]
    if gallery:
        matching.append(_is_in_list(person, groups))
    given = _given(person, groups)
    source = environments.join(given, given.c.environment_id == environments.c.id)
    total = connection.scalar(sa.select(sa.func.count()).select_from(source).where(*matching)) or 0
    room, skip = limit - len(own.items), max(0, offset - own.total)
    shared: Iterable[Environment] = ()
    if room and skip < total:
        shared = _shared(connection, person, given, matching, order, skip, room)
    return Page((*own.items, *shared), own.total + total, offset, limit)


def _given(person: str, groups: Sequence[str]) -> sa.Subquery:
    """Return a person's right for each environment that is shared with them."""
    return (
        sa.select(shares.c.environment_id, _HIGHEST_RIGHT.label("rank"))
        .where(_is_of(person, groups))
        .group_by(shares.c.environment_id)
        .subquery("given")
    )


def _is_in_list(person: str, groups: Sequence[str]) -> sa.ColumnElement[bool]:
    """Match what is not featured for a person, and what they have launched or pinned."""
    in_gallery = sa.exists().where(
        featured.c.environment_id == environments.c.id, names(featured.c, person, groups)
    )
    people = environment_people.alias("launched_by")
    launched = sa.exists().where(
        people.c.environment_id == environments.c.id,
        people.c.person == person,
        people.c.launched.is_not(None),
    )
    return sa.or_(~in_gallery, launched, is_pinned(person))


def fetch_seen(
    connection: sa.Connection, person: str, groups: Sequence[str], ids: Collection[str]
) -> Mapping[str, Environment]:
    """Return environments as a person sees them; those that are not shared are left out."""
    matching: list[sa.ColumnElement[bool]] = [environments.c.id.in_(tuple(ids))]
    given = _given(person, groups)
    found = _shared(connection, person, given, matching, "name", 0, len(ids))
    return {each.id: each for each in found}


def _shared(
    connection: sa.Connection,
    person: str,
    given: sa.Subquery,
    matching: list[sa.ColumnElement[bool]],
    order: Order,
    offset: int,
    limit: int,
) -> Iterator[Environment]:
    """Yield a part of what is shared: pinned ones, then what the person used last."""
    used = environment_people
    by: list[sa.ColumnElement[Any]] = (
        [sa.func.lower(environments.c.name)]
        if order == "name"
        else [used.c.launched.desc().nulls_last(), environments.c.touched.desc()]
    )
    rows = connection.execute(
        sa.select(environments.c.id, given.c.rank, used.c.directory, used.c.launched)
        .select_from(
            environments.join(given, given.c.environment_id == environments.c.id).outerjoin(
                used, sa.and_(used.c.environment_id == environments.c.id, used.c.person == person)
            )
        )
        .where(*matching)
        .order_by(pinned_first(person), *by, environments.c.id)
        .offset(offset)
        .limit(limit)
    ).all()
    found = {each.id: each for each in queries.fetch_some(connection, [row.id for row in rows])}
    for row in rows:
        environment = found[row.id]
        if environment.owner == person:
            yield environment
            continue
        yield replace(
            environment,
            right=_right(row.rank) or Right.LAUNCH,
            directory=row.directory or environment.directory,
            launched=row.launched,
        )


def _find_shared_request(
    connection: sa.Connection, build_id: str, person: str, groups: Sequence[str]
) -> BuildRequest | None:
    wanted = (
        sa.select(build_requests.c.environment_id, build_requests.c.number)
        .join_from(build_requests, environments)
        .join(shares, shares.c.environment_id == environments.c.id)
        .where(
            build_requests.c.build_id == build_id,
            environments.c.deleted.is_(None),
            _is_of(person, groups),
        )
        .order_by(build_requests.c.requested.desc(), environments.c.id)
        .limit(1)
    )
    found = connection.execute(wanted).first()
    if found is None:
        return None
    page = queries.list_requests(connection, found.environment_id, 0, 1, found.number)
    return page.items[0] if page.items else None
