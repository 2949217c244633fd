"""Queries for environments and their build requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    BuildState,
    Environment,
    Hold,
    Order,
    Page,
    Spec,
    UpdateMode,
    repository_key,
)
from jupyterhub_binder.model.history import ChangeCause, cause_of
from jupyterhub_binder.store import builds as build_queries
from jupyterhub_binder.store.changes import add_change
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.preferences import pinned_first
from jupyterhub_binder.store.sharing_tables import environment_people
from jupyterhub_binder.store.tables import (
    ACTIVE,
    build_requests,
    builds,
    environment_row,
    environments,
    read_environment,
    read_request,
)


def _labelled(table: sa.FromClause, prefix: str) -> list[sa.ColumnElement[Any]]:
    return [column.label(prefix + column.name) for column in table.c]


_current = build_requests.alias("current_request")
_current_build = builds.alias("current_build")
_latest = build_requests.alias("latest_request")
_latest_build = builds.alias("latest_build")


def _joined(source: sa.FromClause) -> sa.FromClause:
    for request, build, number in (
        (_current, _current_build, "current_number"),
        (_latest, _latest_build, "latest_number"),
    ):
        source = source.outerjoin(
            request,
            sa.and_(
                request.c.environment_id == environments.c.id,
                request.c.number == environments.c[number],
            ),
        ).outerjoin(build, build.c.id == request.c.build_id)
    return source


_SELECT = sa.select(
    *environments.c,
    *_labelled(_current, "cr_"),
    *_labelled(_current_build, "cb_"),
    *_labelled(_latest, "lr_"),
    *_labelled(_latest_build, "lb_"),
).select_from(_joined(environments))


def _read(row: sa.RowMapping) -> Environment:
    return read_environment(
        row,
        current=read_request(row, "cr_", "cb_"),
        latest=read_request(row, "lr_", "lb_"),
    )


_BY_ID = _SELECT.where(environments.c.id == sa.bindparam("id"))


def fetch(connection: sa.Connection, environment_id: str) -> Environment | None:
    """Return an environment, even a deleted one."""
    row = connection.execute(_BY_ID, {"id": environment_id}).mappings().first()
    return None if row is None else _read(row)


def fetch_some(connection: sa.Connection, ids: Sequence[str]) -> Iterator[Environment]:
    """Yield environments, in any order."""
    rows = connection.execute(_SELECT.where(environments.c.id.in_(ids)))
    return (_read(row) for row in rows.mappings())


class EnvironmentQueries:
    """Environments and their build requests."""

    _database: Database
    rights_version: int

    async def insert_environment(
        self,
        environment: Environment,
        new: build_queries.NewBuildRequest | None = None,
        *,
        directories: Iterable[str],
        limit: int,
    ) -> Environment | None:
        """Insert an environment, with a folder as in `find_directory`, and a build request.

        Returns None if the owner has `limit` environments.
        """
        return await self._database.run(_insert, environment, new, directories, limit)

    async def fetch_environment(self, environment_id: str) -> Environment | None:
        """Return an environment, even a deleted one."""
        return await self._database.run(fetch, environment_id)

    async def list_environments(
        self,
        *,
        owner: str | None,
        search: str = "",
        order: Order = "recent",
        deleted: bool = False,
        offset: int = 0,
        limit: int = 50,
        pinned_by: str = "",
    ) -> Page[Environment]:
        """Return a page of environments; `owner` None means all.

        Those that `pinned_by` has pinned come first.
        """
        matching = kept(owner, search, deleted=deleted)
        return await self._database.run(list_kept, matching, order, offset, limit, pinned_by)

    async def find_environment(
        self, owner: str, spec: Spec, *, content_url: str = "", content_ref: str = ""
    ) -> Environment | None:
        """Return the owner's most recently used environment of a spec without options.

        Empty `content_url` and `content_ref` mean the repository's own files.
        """
        return await self._database.run(_find, owner, spec, content_url, content_ref)

    async def count_environments(self, owner: str) -> int:
        """Count an owner's environments, except deleted ones."""
        return await self._database.run(count, owner)

    async def update_environment(
        self, environment_id: str, changes: Mapping[str, Any], *, at: datetime
    ) -> Environment | None:
        """Set columns of an environment."""
        changed = await self._database.run(update, environment_id, changes, at)
        self.rights_version += "deleted" in changes
        return changed

    async def restore_environment(
        self, environment_id: str, *, limit: int, at: datetime
    ) -> Environment | None:
        """Undo a delete, unless the owner has `limit` others."""
        return await self._database.run(_restore, environment_id, limit, at)

    async def choose_build(
        self, environment_id: str, number: int, *, by: str, at: datetime, reason: str = ""
    ) -> Environment | None:
        """Make a successful request current; None if missing or not built."""
        return await self._database.run(_choose, environment_id, number, by, at, reason)

    async def request_build(
        self, environment_id: str, new: build_queries.NewBuildRequest
    ) -> tuple[Environment, BuildRequest]:
        """Join, reuse or begin a build. Raises LookupError."""
        return await self._database.run(_request, environment_id, new)

    async def fetch_request(self, environment_id: str, number: int) -> BuildRequest | None:
        """Return one request."""
        page = await self._database.run(list_requests, environment_id, 0, 1, number)
        return page.items[0] if page.items else None

    async def list_requests(
        self, environment_id: str, *, offset: int = 0, limit: int = 50
    ) -> Page[BuildRequest]:
        """Return requests, newest first."""
        return await self._database.run(list_requests, environment_id, offset, limit)

    async def find_environment_of(self, build_id: str, owner: str) -> BuildRequest | None:
        """Return the owner's newest request for a build."""
        return await self._database.run(_find_request, build_id, owner)

    async def find_directory(
        self, owner: str, repository: str, candidates: Iterable[str], *, content_url: str = ""
    ) -> str:
        """Return the folder in the owner's home for a repository's files.

        It is the existing one, else the first candidate that no other repository uses, even in
        deleted environments.
        """
        return await self._database.run(find_directory, owner, repository, content_url, candidates)

    async def purge_environments(self, *, deleted_before: datetime) -> tuple[str, ...]:
        """Remove environments; return the builds they waited for."""
        return await self._database.run(_purge, deleted_before)


def _insert(
    connection: sa.Connection,
    environment: Environment,
    new: build_queries.NewBuildRequest | None,
    directories: Iterable[str],
    limit: int,
) -> Environment | None:
    row = environment_row(environment)
    used, known = connection.execute(
        _COUNT_AND_DIRECTORY[bool(environment.content_url)], _place(row)
    ).one()
    if used >= limit:
        return None
    place = _place(row)
    known = known or _known_of_others(connection, place)
    directory = known or _first_free(connection, environment.owner, directories)
    environment = replace(environment, directory=directory)
    row["directory"] = directory
    if new is None:
        connection.execute(environments.insert(), row)
        return environment
    build = build_queries.find_or_insert(connection, new)
    current = 1 if build.state is BuildState.BUILT else None
    connection.execute(
        environments.insert(), {**row, "latest_number": 1, "current_number": current}
    )
    request = _insert_request(connection, environment.id, 1, build, new)
    if current:
        _add_change(connection, environment.id, None, 1, new)
    return replace(environment, latest=request, current=request if current else None)


def _insert_request(
    connection: sa.Connection,
    environment_id: str,
    number: int,
    build: Build,
    new: build_queries.NewBuildRequest,
) -> BuildRequest:
    request = BuildRequest(
        environment_id, number, build, new.at, new.by, cause=new.cause, reason=new.reason
    )
    connection.execute(
        build_requests.insert(),
        {
            "environment_id": environment_id,
            "number": number,
            "build_id": build.id,
            "requested": new.at,
            "requested_by": new.by,
            "cause": new.cause,
            "reason": new.reason,
        },
    )
    return request


def _add_change(
    connection: sa.Connection,
    environment_id: str,
    before: BuildRequest | None,
    number: int,
    new: build_queries.NewBuildRequest,
) -> None:
    add_change(
        connection,
        environment_id,
        before.number if before else None,
        number,
        by=new.by,
        cause=new.cause,
        reason=new.reason,
        at=new.at,
    )


_HIGHEST_NUMBER = sa.select(sa.func.max(build_requests.c.number)).where(
    build_requests.c.environment_id == sa.bindparam("id")
)


def _request(
    connection: sa.Connection, environment_id: str, new: build_queries.NewBuildRequest
) -> tuple[Environment, BuildRequest]:
    environment = fetch(connection, environment_id)
    if environment is None:
        raise LookupError(environment_id)
    build = build_queries.find_or_insert(connection, new)
    for known in (environment.latest, environment.current):
        if known is not None and known.build.id == build.id and known.withdrawn is None:
            request = _repeat(connection, known, new)
            break
    else:
        number = (connection.scalar(_HIGHEST_NUMBER, {"id": environment_id}) or 0) + 1
        request = _insert_request(connection, environment_id, number, build, new)
    changes: dict[str, Any] = {
        "latest_number": request.number,
        "ref": new.build.spec.ref,
        "updated": new.at,
        # What the service does by itself is no use.
        **({} if new.cause is ChangeCause.BY_ITSELF else {"touched": new.at}),
    }
    automatic = environment.updates is UpdateMode.AUTO
    if automatic and new.cause is ChangeCause.ROLLED_BACK:
        changes["held"] = Hold.ROLLBACK
    if new.default_branch:
        changes["default_branch"] = new.default_branch
    if build.state is BuildState.BUILT:
        changes["current_number"] = request.number
        _add_change(connection, environment_id, environment.current, request.number, new)
    _set(connection, environment_id, changes)
    changed = fetch(connection, environment_id)
    assert changed is not None
    return changed, request


def _repeat(
    connection: sa.Connection, known: BuildRequest, new: build_queries.NewBuildRequest
) -> BuildRequest:
    """Note why a repeated request was made; what the service does by itself is no reason."""
    if new.cause in (known.cause, ChangeCause.BY_ITSELF):
        return known
    why = {"requested_by": new.by, "cause": new.cause, "reason": new.reason}
    connection.execute(
        build_requests.update()
        .where(
            build_requests.c.environment_id == known.environment_id,
            build_requests.c.number == known.number,
        )
        .values(**why)
    )
    return replace(known, **why)


def kept(owner: str | None, search: str, *, deleted: bool) -> list[sa.ColumnElement[bool]]:
    """Match an owner's environments, or all, with the words of a search."""
    gone = environments.c.deleted
    found: list[sa.ColumnElement[bool]] = [gone.is_not(None) if deleted else gone.is_(None)]
    if owner is not None:
        found.append(environments.c.owner == owner)
    return found + [
        sa.or_(
            environments.c.name.icontains(word, autoescape=True),
            environments.c.label.icontains(word, autoescape=True),
        )
        for word in search.split()[:8]
    ]


def list_kept(
    connection: sa.Connection,
    matching: list[sa.ColumnElement[bool]],
    order: Order,
    offset: int,
    limit: int,
    pinned_by: str,
) -> Page[Environment]:
    """Return a page of the environments that match."""
    total = connection.scalar(sa.select(sa.func.count()).select_from(environments).where(*matching))
    by: list[sa.ColumnElement[Any]] = (
        [sa.func.lower(environments.c.name), environments.c.id]
        if order == "name"
        else [environments.c.touched.desc(), environments.c.id]
    )
    if pinned_by:
        by.insert(0, pinned_first(pinned_by))
    # The wide rows are read of the page alone: a sort carries them all.
    page = sa.select(environments.c.id).where(*matching).order_by(*by).offset(offset).limit(limit)
    return Page(_fetch_in_order(connection, page), total or 0, offset, limit)


def _fetch_in_order(connection: sa.Connection, ids: sa.Select[Any]) -> tuple[Environment, ...]:
    wanted = list(connection.scalars(ids))
    found = {each.id: each for each in fetch_some(connection, wanted)}
    return tuple(found[id_] for id_ in wanted)


def _find(
    connection: sa.Connection, owner: str, spec: Spec, content_url: str, content_ref: str
) -> Environment | None:
    query = _SELECT.where(
        environments.c.owner == owner,
        environments.c.repository_key == repository_key(spec),
        environments.c.ref == spec.ref,
        environments.c.content_url == content_url,
        environments.c.content_ref == content_ref,
        environments.c.deleted.is_(None),
    ).order_by(environments.c.touched.desc(), environments.c.id)
    found = (_read(row) for row in connection.execute(query).mappings())
    return next((each for each in found if each.spec == spec and not each.options), None)


_COUNT = sa.select(sa.func.count()).where(
    environments.c.owner == sa.bindparam("owner"), environments.c.deleted.is_(None)
)


def count(connection: sa.Connection, owner: str) -> int:
    """Count an owner's environments, except deleted ones."""
    return connection.scalar(_COUNT, {"owner": owner}) or 0


def _set(connection: sa.Connection, environment_id: str, changes: Mapping[str, Any]) -> None:
    connection.execute(
        environments.update().where(environments.c.id == environment_id).values(**changes)
    )


def update(
    connection: sa.Connection, environment_id: str, changes: Mapping[str, Any], at: datetime
) -> Environment | None:
    """Set columns; a launch is no update."""
    touched = {"touched": at}
    if not changes.keys() <= {"launched"}:
        touched["updated"] = at
    _set(connection, environment_id, {**changes, **touched})
    return fetch(connection, environment_id)


def _restore(
    connection: sa.Connection, environment_id: str, limit: int, at: datetime
) -> Environment | None:
    environment = fetch(connection, environment_id)
    if environment is None or environment.deleted is None:
        return environment
    if count(connection, environment.owner) >= limit:
        return environment
    return update(connection, environment_id, {"deleted": None}, at)


def _choose(
    connection: sa.Connection,
    environment_id: str,
    number: int,
    by: str,
    at: datetime,
    reason: str,
) -> Environment | None:
    page = list_requests(connection, environment_id, 0, 1, number)
    if not page.items or page.items[0].build.state is not BuildState.BUILT:
        return None
    found = fetch(connection, environment_id)
    before = found.current.number if found and found.current else None
    add_change(
        connection,
        environment_id,
        before,
        number,
        by=by,
        cause=cause_of(before, number),
        reason=reason,
        at=at,
    )
    # An environment that is updated by itself stays at an earlier build until it is resumed.
    is_earlier = sa.and_(
        environments.c.updates == UpdateMode.AUTO, environments.c.latest_number > number
    )
    held = sa.case((is_earlier, Hold.ROLLBACK.value), else_=environments.c.held)
    return update(connection, environment_id, {"current_number": number, "held": held}, at)


def list_requests(
    connection: sa.Connection,
    environment_id: str,
    offset: int,
    limit: int,
    number: int | None = None,
) -> Page[BuildRequest]:
    """Return an environment's requests, newest first, or the one of a number."""
    matching = [build_requests.c.environment_id == environment_id]
    if number is not None:
        matching.append(build_requests.c.number == number)
    counted = sa.select(sa.func.count()).select_from(build_requests).where(*matching)
    total = connection.scalar(counted)
    query = (
        _REQUESTS.where(*matching)
        .order_by(build_requests.c.number.desc())
        .offset(offset)
        .limit(limit)
    )
    return Page(_read_requests(connection, query), total or 0, offset, limit)


_REQUESTS = sa.select(*_labelled(build_requests, "r_"), *_labelled(builds, "b_")).join_from(
    build_requests, builds
)


def _read_requests(connection: sa.Connection, query: sa.Select[Any]) -> tuple[BuildRequest, ...]:
    found = (read_request(row, "r_", "b_") for row in connection.execute(query).mappings())
    return tuple(request for request in found if request is not None)


def _find_request(connection: sa.Connection, build_id: str, owner: str) -> BuildRequest | None:
    query = (
        _REQUESTS.join(environments, environments.c.id == build_requests.c.environment_id)
        .where(build_requests.c.build_id == build_id, environments.c.owner == owner)
        .order_by(environments.c.deleted.is_not(None), build_requests.c.requested.desc())
        .limit(1)
    )
    return next(iter(_read_requests(connection, query)), None)


_DIRECTORY = (
    sa.select(environments.c.directory)
    .where(environments.c.owner == sa.bindparam("owner"))
    .limit(1)
)
_DIRECTORY_OF = _DIRECTORY.where(
    environments.c.repository_key == sa.bindparam("repository"), environments.c.content_url == ""
)
_DIRECTORY_OF_CONTENT = _DIRECTORY.where(environments.c.content_url == sa.bindparam("content_url"))
_DIRECTORY_TAKEN = _DIRECTORY.where(environments.c.directory == sa.bindparam("directory"))

_OTHERS_DIRECTORY = (
    sa.select(environment_people.c.directory)
    .where(
        environment_people.c.person == sa.bindparam("owner"), environment_people.c.directory != ""
    )
    .limit(1)
)
_OF_OTHERS = _OTHERS_DIRECTORY.join_from(environment_people, environments)
_DIRECTORY_OF_OTHERS = _OF_OTHERS.where(
    environments.c.repository_key == sa.bindparam("repository"), environments.c.content_url == ""
)
_DIRECTORY_OF_OTHERS_CONTENT = _OF_OTHERS.where(
    environments.c.content_url == sa.bindparam("content_url")
)
_DIRECTORY_TAKEN_BY_OTHERS = _OTHERS_DIRECTORY.where(
    environment_people.c.directory == sa.bindparam("directory")
)


_COUNT_AND_DIRECTORY = {
    of_content: sa.select(_COUNT.scalar_subquery(), query.scalar_subquery())
    for of_content, query in ((False, _DIRECTORY_OF), (True, _DIRECTORY_OF_CONTENT))
}


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: row[name] for name in ("owner", "content_url")}
    return {**given, "repository": row["repository_key"]}


def find_directory(
    connection: sa.Connection,
    owner: str,
    repository: str,
    content_url: str,
    candidates: Iterable[str],
) -> str:
    """Return a person's folder for a repository's files, as `EnvironmentQueries.find_directory`."""
    query = _DIRECTORY_OF_CONTENT if content_url else _DIRECTORY_OF
    given = {"owner": owner, "repository": repository, "content_url": content_url}
    known = connection.scalar(query, given) or _known_of_others(connection, given)
    return known or _first_free(connection, owner, candidates)


def _known_of_others(connection: sa.Connection, place: Mapping[str, Any]) -> str | None:
    """Return a person's folder of the same files, from what others share with them."""
    query = _DIRECTORY_OF_OTHERS_CONTENT if place["content_url"] else _DIRECTORY_OF_OTHERS
    return connection.scalar(query, place)


def _first_free(connection: sa.Connection, owner: str, candidates: Iterable[str]) -> str:
    return next(name for name in candidates if not _is_taken(connection, owner, name))


def _is_taken(connection: sa.Connection, owner: str, directory: str) -> bool:
    given = {"owner": owner, "directory": directory}
    return any(
        connection.scalar(query, given) is not None
        for query in (_DIRECTORY_TAKEN, _DIRECTORY_TAKEN_BY_OTHERS)
    )


def _purge(connection: sa.Connection, deleted_before: datetime) -> tuple[str, ...]:
    gone = environments.c.deleted < deleted_before
    waited_for = (
        sa.select(builds.c.id)
        .distinct()
        .join_from(builds, build_requests)
        .join(environments, environments.c.id == build_requests.c.environment_id)
        .where(gone, ACTIVE)
    )
    build_ids = tuple(connection.scalars(waited_for))
    connection.execute(environments.delete().where(gone))
    return build_ids
