"""Environments: what a person keeps, and what they may do with it.

Owns permissions (mine, or I am an admin; all else does not exist), names, folders, quotas,
undo, and which build is the current one. What a link means `previews` finds out, what a server
starts from `starts`; `builds` queues and runs builds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import SingleFlight, TaskSet
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import (
    Conflict,
    LimitReached,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.inputs import clean_name, clean_path, one_line
from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    BuildState,
    ContentMode,
    Environment,
    Link,
    Order,
    Page,
    Resolved,
    Spec,
    User,
)
from jupyterhub_binder.oversight import Action, LimitName
from jupyterhub_binder.previews import DirectoryNames, Previews
from jupyterhub_binder.slugs import is_id, new_id, repository_key
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import BuildWish

_WAITING_QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota and how much of it is used."""

    limit: int | None
    used: int


class _Content(TypedDict):
    """Where an environment's files come from; both empty for those of its own repository."""

    content_url: str
    content_ref: str


class Environments(LoggingConfigurable):
    """All environments of the service. Every method checks what its user may."""

    max_per_user = Integer(
        100,
        min=1,
        help="""How many environments one person may keep.

        Environments of the same content share one image, so the disk grows with the number of
        different ones. Lower it where disk is short. Administrators set other limits for groups
        and people while the service runs.
        """,
    ).tag(config=True)

    undo_seconds = Float(
        600,
        min=0,
        help="Seconds for which a deleted environment can be restored; then it is gone.",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        previews: Previews,
        backend: BuildBackend,
        builds: Builds,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self._previews = previews
        self.backend = backend
        self.builds = builds
        self.command = builds.command
        self.command.limits.register(LimitName.ENVIRONMENTS, lambda: self.max_per_user)
        self._tasks = TaskSet(self.log)
        self._ensuring: SingleFlight[tuple[str, Spec, str, str], Environment] = SingleFlight()

    async def start(self) -> None:
        """Begin to purge what was deleted."""
        self._tasks.spawn(self._keep_purging(), name="purge of environments")

    async def stop(self) -> None:
        """Stop purging; may be called twice."""
        await self._tasks.close()

    # --- Looking ----------------------------------------------------------------------------

    async def list(
        self,
        user: User,
        *,
        search: str = "",
        owner: str | None = None,
        order: Order = "recent",
        deleted: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> Page[Environment]:
        """Return a page of one's own environments; an admin may ask for another's, or ``*``.

        With `deleted` those that can still be restored.
        """
        owner = owner or user.name
        if owner != user.name and not user.admin:
            raise NotAllowed("Only administrators may list other people's environments.")
        return await self.store.list_environments(
            # Somebody may be called so: what is everybody's is an administrator's to see.
            owner=None if owner == "*" and user.admin else owner,
            search=one_line(search),
            order=order,
            deleted=deleted,
            offset=offset,
            limit=limit,
        )

    async def get(self, user: User, environment_id: str) -> Environment:
        """Return an environment. Raises NotFound also for one that is somebody else's."""
        environment = await self.recall(user, environment_id)
        if environment.deleted is not None:
            raise _no_such_environment()
        return environment

    async def get_deleted(self, user: User, environment_id: str) -> Environment:
        """Return one that was deleted, and can still be brought back. Raises NotFound."""
        environment = await self.recall(user, environment_id)
        if environment.deleted is None:
            raise _no_such_environment()
        return environment

    async def recall(self, user: User, environment_id: str) -> Environment:
        """Return an environment that is kept or was deleted lately. Raises NotFound."""
        found = (
            await self.store.fetch_environment(environment_id) if is_id(environment_id) else None
        )
        if found is None or not _may_see(user, found):
            raise _no_such_environment()
        return found

    async def find(
        self, user: User, spec: Spec, *, content_url: str = "", content_ref: str = ""
    ) -> Environment | None:
        """Return a person's own environment of a resolved spec, the one used last; None if none.

        `content_url` and `content_ref` are as an environment has them: where git fetches the
        files of another repository, and which.
        """
        return await self.store.find_environment(
            user.name, spec, content_url=content_url, content_ref=content_ref
        )

    async def history(
        self, user: User, environment_id: str, *, offset: int = 0, limit: int = 50
    ) -> Page[BuildRequest]:
        """Return an environment's requests for builds, newest first."""
        environment = await self.get(user, environment_id)
        return await self.store.list_requests(environment.id, offset=offset, limit=limit)

    async def request_of(
        self, user: User, build_id: str
    ) -> tuple[Build, Environment | None, BuildRequest | None]:
        """Return a build, with the environment of this person that wants it.

        An admin sees every build, with no environment if none of theirs wants it.
        Raises NotFound.
        """
        no_such_build = NotFound("There is no such build, or none that you may see.")
        if not is_id(build_id):
            raise no_such_build
        request = await self.store.find_environment_of(build_id, user.name)
        if request is None and not user.admin:
            raise no_such_build
        build = await self.builds.fetch_build(build_id)
        if request is None:
            return build, None, None
        environment = await self.store.fetch_environment(request.environment_id)
        return build, environment, request

    async def limits(self, user: User) -> Mapping[str, Limit]:
        """Return a person's quotas: environments kept, builds waiting or running."""
        await self.command.limits.see(user)
        most = self.command.limits.value
        kept = await self.store.count_environments(user.name)
        active = self.builds.count_active(user.name)
        return {
            "environments": Limit(most(LimitName.ENVIRONMENTS, user.name), kept),
            "builds": Limit(most(LimitName.BUILDS, user.name), active),
        }

    # --- Making and changing ----------------------------------------------------------------

    async def create(
        self,
        user: User,
        *,
        link: Link,
        name: str | None = None,
        content: ContentMode | None = None,
        options: Mapping[str, Any] | None = None,
        build: bool = True,
    ) -> Environment:
        """Keep a new environment of a link, and ask for its build unless told not to.

        Unless `content` says otherwise, another repository's files are kept in step, and the
        environment's own are copied once. Raises NotAllowed, LimitReached, InvalidInput and what providers raise.
        """
        _require_can_build(user)
        await self.command.limits.see(user)
        chosen = self.backend.clean_options(options or {})
        link, resolved = await self._previews.resolve(user, link)
        source = await self._previews.resolve_content(user, link, resolved.clone_url)
        now = utc_now()
        environment = Environment(
            id=new_id(),
            owner=user.name,
            name=clean_name(resolved.default_name if name is None else name),
            spec=resolved.spec,
            label=resolved.label,
            repo_url=resolved.repo_url,
            path=clean_path(link.path),
            content=content or (ContentMode.SYNC if source else ContentMode.COPY),
            directory="",
            options=chosen,
            created=now,
            updated=now,
            **_content_of(source),
        )
        async with self.builds.asking[user.name]:
            wish = await self.builds.prepare(resolved, chosen, user=user) if build else None
            keeping = self._insert(environment, wish, DirectoryNames(source or resolved))
            kept = await asyncio.shield(self._tasks.spawn(keeping, name="new environment"))
            if kept is None:
                raise await self._limit_reached(user.name)
        self._note(user, Action.ENVIRONMENT_CREATE, kept)
        return kept

    def _note(self, user: User, action: Action, environment: Environment) -> None:
        owner = environment.owner if environment.owner != user.name else ""
        self.command.audit.note(
            user.name,
            action,
            environment.id,
            always=user.admin,
            repository=environment.label,
            owner=owner,
        )

    async def _insert(
        self, environment: Environment, wish: BuildWish | None, directories: Iterable[str]
    ) -> Environment | None:
        """Keep an environment and queue its build: both, whatever becomes of who asked."""
        kept = await self.store.insert_environment(
            environment, wish, directories=directories, most=self._most_of(environment.owner)
        )
        if kept is not None and kept.latest is not None:
            self.builds.accept(kept.latest.build)
        return kept

    def _most_of(self, person: str) -> int:
        return self.command.limits.value(LimitName.ENVIRONMENTS, person)

    async def ensure(self, user: User, link: Link) -> Environment:
        """Return a person's environment of a link, kept now if there was none; ask for its build.

        What is there already is followed to what its ref is now. Raises as `create`.
        """
        _require_can_build(user)
        link, resolved = await self._previews.resolve(user, link)
        place = (user.name, resolved.spec, link.content_url, link.content_ref)
        return await self._ensuring.do(place, lambda: self._find_or_create(user, link, resolved))

    async def _find_or_create(self, user: User, link: Link, resolved: Resolved) -> Environment:
        source = await self._previews.resolve_content(user, link, resolved.clone_url)
        found = await self.find(
            user,
            resolved.spec,
            **_content_of(source),
        )
        if found is None:
            return await self.create(user, link=link)
        return await self.build(user, found.id)

    async def update(
        self,
        user: User,
        environment_id: str,
        *,
        name: str | None = None,
        path: str | None = None,
        content: ContentMode | None = None,
        content_url: str | None = None,
        content_ref: str | None = None,
    ) -> Environment:
        """Change what a person may change; None leaves a thing as it is.

        An empty `content_url` brings the environment's own files again. Raises InvalidInput and
        what providers raise.
        """
        environment = await self.get(user, environment_id)
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = clean_name(name)
        if path is not None:
            changes["path"] = clean_path(path)
        if content is not None:
            changes["content"] = content
        if content_url is not None or content_ref is not None:
            changes |= await self._change_content(user, environment, content_url, content_ref)
        return await self._change(environment, changes) if changes else environment

    async def _change_content(
        self, user: User, environment: Environment, url: str | None, ref: str | None
    ) -> dict[str, Any]:
        """Return what changes when files come from elsewhere, the folder that takes them too."""
        url = environment.content_url if url is None else url.strip()
        ref = environment.content_ref if ref is None else ref.strip()
        if (url, ref) == (environment.content_url, environment.content_ref):
            return {}
        spec = environment.spec
        link = Link(spec, content_url=url, content_ref=ref)
        own = environment.latest.build.clone_url if environment.latest else ""
        source = await self._previews.resolve_content(user, link, own)
        columns = {**_content_of(source)}
        if columns["content_url"] == environment.content_url:
            return columns
        resolved = source or await self._previews.providers.resolve(spec)
        directory = await self.store.find_directory(
            environment.owner,
            repository_key(spec),
            DirectoryNames(resolved),
            content_url=columns["content_url"],
        )
        return {**columns, "directory": directory}

    async def delete(self, user: User, environment_id: str) -> Environment:
        """Delete an environment; `restore` undoes it for `undo_seconds`.

        Its images and its folder in the home stay. Deleting twice is success.
        """
        environment = await self.recall(user, environment_id)
        if environment.deleted is not None:
            return environment
        deleted = await self._change(environment, {"deleted": utc_now()})
        self._note(user, Action.ENVIRONMENT_DELETE, deleted)
        return deleted

    async def restore(self, user: User, environment_id: str) -> Environment:
        """Undo a delete. Raises NotFound once it is too late, LimitReached."""
        environment = await self.recall(user, environment_id)
        if environment.deleted is None:
            return environment
        most = self._most_of(environment.owner)
        restored = await self.store.restore_environment(environment.id, most=most, at=utc_now())
        if restored is None:
            raise _no_such_environment()
        if restored.deleted is not None:
            raise await self._limit_reached(environment.owner)
        self._note(user, Action.ENVIRONMENT_RESTORE, restored)
        return restored

    async def mark_launched(self, environment_id: str) -> None:
        """Note that a server was started from an environment; one that is gone is success."""
        await self.store.update_environment(environment_id, {"launched": utc_now()}, at=utc_now())

    async def _change(self, environment: Environment, changes: Mapping[str, Any]) -> Environment:
        changed = await self.store.update_environment(environment.id, changes, at=utc_now())
        if changed is None:
            raise _no_such_environment()
        return changed

    async def _limit_reached(self, owner: str) -> LimitReached:
        used, most = await self.store.count_environments(owner), self._most_of(owner)
        return LimitReached(
            f"You keep {used} environments, and may keep {most}. "
            "Delete one that you no longer need.",
            detail={"limit": most, "used": used},
        )

    # --- Builds of an environment -------------------------------------------------------------

    async def build(
        self, user: User, environment_id: str, *, ref: str | None = None, force: bool = False
    ) -> Environment:
        """Ask for a build of what the ref is now.

        `ref` changes what the environment follows; `force` makes the image anew even if it is
        there. Raises NotAllowed, LimitReached and what providers raise.
        """
        _require_can_build(user)
        environment = await self.get(user, environment_id)
        link = Link(environment.spec)
        if ref is not None:
            link = self._previews.providers.at_ref(link, ref)
        self.command.rules.require(user, environment)
        resolved = await self._previews.resolve_now(user, link.spec)
        built = await self._request_build(user, environment, resolved, force=force)
        if force:
            self._note(user, Action.BUILD_FORCE, built)
        return built

    async def _request_build(
        self, user: User, environment: Environment, resolved: Resolved, *, force: bool = False
    ) -> Environment:
        options = environment.options
        async with self.builds.asking[user.name]:
            wish = await self.builds.prepare(resolved, options, user=user, force=force)
            keeping = self._keep_request(environment.id, wish)
            return await asyncio.shield(self._tasks.spawn(keeping, name="request for a build"))

    async def _keep_request(self, environment_id: str, wish: BuildWish) -> Environment:
        """Keep a request and queue its build: both, whatever becomes of who asked."""
        environment, request = await self.store.request_build(environment_id, wish)
        self.builds.accept(request.build)
        return environment

    async def build_again(
        self, user: User, environment: Environment, earlier: Build
    ) -> Environment:
        """Ask for a build of an earlier one's commit. Raises NotAllowed and LimitReached."""
        _require_can_build(user)
        resolved = replace(earlier.resolved, spec=environment.spec)
        return await self._request_build(user, environment, resolved)

    async def choose(self, user: User, environment_id: str, number: int) -> Environment:
        """Start servers from build `number` from now on. Raises Conflict if it has no image."""
        environment = await self.get(user, environment_id)
        request = await self.store.fetch_request(environment.id, number)
        if request is None:
            raise NotFound(f"“{environment.name}” has no build {number}.")
        build = request.build
        there = build.state is BuildState.BUILT and await self.backend.find_image(build.key)
        chosen = there and await self.store.choose_build(environment.id, number, at=utc_now())
        if not chosen:
            raise Conflict(
                f"Build {number} has no image to start from. Choose one that succeeded, or "
                "build again.",
                code="not_built",
            )
        return chosen

    # --- Purging --------------------------------------------------------------------------------

    async def _keep_purging(self) -> None:
        while True:
            await self.purge(deleted_before=utc_now() - timedelta(seconds=self.undo_seconds))
            await asyncio.sleep(max(self.undo_seconds / 4, 5))

    async def purge(self, *, deleted_before: datetime) -> None:
        """Remove what was deleted before a time, and end the builds that only it wanted."""
        purged = await self.store.purge_environments(deleted_before=deleted_before)
        for build_id in purged:
            await self.builds.release(build_id)


def _may_see(user: User, environment: Environment) -> bool:
    return user.admin or environment.owner == user.name


def _require_can_build(user: User) -> None:
    if not user.can_build:
        raise NotAllowed(
            "You may not build environments on this hub. Ask its administrators for the "
            "permission custom:binder:build."
        )


def _content_of(source: Resolved | None) -> _Content:
    return {
        "content_url": source.clone_url if source else "",
        "content_ref": source.spec.ref if source else "",
    }


def _no_such_environment() -> NotFound:
    return NotFound("There is no such environment, or none that you may see.")
