"""Environments: what users keep, and what they may do with it.

Owns names, folders, quotas and undo. `build_requests` has what was built and which build is the
current one; `rights` decides who may do what. For users without any right, an environment does not
exist.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.backends.base import BACKEND_OPTION, PYTHON_OPTION, BuildBackend
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.build_requests import BuildRequests
from jupyterhub_binder.environments.previews import DirectoryNames, Previews
from jupyterhub_binder.environments.rights import (
    Rights,
    no_such_environment,
    repository_permits,
    require_can_build,
    require_can_steer,
    require_can_update,
)
from jupyterhub_binder.errors import LimitReached, NotAllowed
from jupyterhub_binder.model import (
    ContentMode,
    Environment,
    Link,
    Order,
    Page,
    Resolved,
    Spec,
    UpdateMode,
    User,
    repository_key,
)
from jupyterhub_binder.model.admin import Action, LimitName
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.utils.concurrency import SingleFlight, TaskSet
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import clean_name, clean_path, one_line


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota."""

    limit: int | None
    used: int


class _Content(TypedDict):
    content_url: str
    content_ref: str


class Environments(LoggingConfigurable):
    """Manages environments. Every method checks the user's permissions."""

    max_per_user = Integer(
        100,
        min=1,
        help="""How many environments one person may have. Default: 100.

        Environments with the same content share one image, so disk use depends on the number of
        different ones. Lower the limit if disk space is short. Administrators can set other limits
        for groups and people while the service runs.
        """,
    ).tag(config=True)

    undo_seconds = Float(
        600,
        min=0,
        help="How long a deleted environment can be restored, in seconds. Default: 600.",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        previews: Previews,
        providers: Providers,
        backend: BuildBackend,
        builds: Builds,
        rules: Rules,
        limits: Limits,
        audit: Audit,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._previews = previews
        self._providers = providers
        self._backend = backend
        self._builds = builds
        self._rules = rules
        self._limits = limits
        self._audit = audit
        self._rights = Rights(store)
        self._tasks = TaskSet(self.log)
        self.requests = BuildRequests(
            store=store,
            rights=self._rights,
            providers=providers,
            backend=backend,
            builds=builds,
            rules=rules,
            audit=audit,
            tasks=self._tasks,
        )
        """Their build requests."""
        limits.register(LimitName.ENVIRONMENTS, lambda: self.max_per_user)
        self._ensuring: SingleFlight[tuple[str, Spec, str, str], Environment] = SingleFlight()

    async def start(self) -> None:
        """Begin the purge."""
        self._tasks.spawn(self._keep_purging(), name="purge of environments")

    async def stop(self) -> None:
        """Stop purging. Idempotent."""
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
        gallery: bool = False,
    ) -> Page[Environment]:
        """Return the user's environments, then those shared with them.

        With an `owner`, only that person's; those of others, and of all (``*``), are for admins.
        `deleted` returns the owner's that can be restored. Beside a `gallery`, featured ones are
        left out until the user launches or pins them.
        """
        await self._limits.see(user)
        if not owner and not deleted:
            found = self._store.list_visible(
                user.name,
                user.groups,
                search=one_line(search),
                order=order,
                offset=offset,
                limit=limit,
                gallery=gallery,
            )
            return _permitted(user, await found)
        owner = owner or user.name
        if owner != user.name and not user.admin:
            raise NotAllowed("Only administrators may list other people's environments.")
        return await self._store.list_environments(
            # A user may be called "*", but only an admin may see all.
            owner=None if owner == "*" and user.admin else owner,
            search=one_line(search),
            order=order,
            deleted=deleted,
            offset=offset,
            limit=limit,
            pinned_by=user.name,
        )

    async def get(self, user: User, environment_id: str, need: Right = Right.LAUNCH) -> Environment:
        """Return an environment. Raises NotFound without any right, NotAllowed with a lesser one."""
        return await self._rights.fetch(user, environment_id, need)

    async def get_deleted(self, user: User, environment_id: str) -> Environment:
        """Return a restorable environment."""
        environment = await self.recall(user, environment_id)
        if environment.deleted is None:
            raise no_such_environment()
        return environment

    async def recall(
        self, user: User, environment_id: str, need: Right = Right.LAUNCH
    ) -> Environment:
        """Return an environment, to its owner and admins even a deleted one."""
        return await self._rights.recall(user, environment_id, need)

    async def find(
        self, user: User, spec: Spec, *, content_url: str = "", content_ref: str = ""
    ) -> Environment | None:
        """Return the user's most recently used environment of a resolved spec."""
        return await self._store.find_environment(
            user.name, spec, content_url=content_url, content_ref=content_ref
        )

    async def limits(self, user: User) -> Mapping[str, Limit]:
        """Return the user's quotas."""
        await self._limits.see(user)
        most = self._limits.value
        kept = await self._store.count_environments(user.name)
        active = self._builds.count_active(user.name)
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
        """Create an environment from a link, and request its build.

        By default, the environment's own files are copied once if it has any, those of another
        repository are kept in sync. Raises NotAllowed, LimitReached, InvalidInput and providers' errors.
        """
        require_can_build(user)
        chosen = self._backend.clean_options(options or {})
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
            content=content or self._default_content(resolved, source),
            directory="",
            options=chosen,
            created=now,
            updated=now,
            default_branch=resolved.default_branch,
            **_content_of(source),
        )
        names = DirectoryNames(source or resolved)
        return await self.keep(user, environment, resolved if build else None, names)

    def _default_content(self, resolved: Resolved, source: Resolved | None) -> ContentMode:
        if source:
            return ContentMode.SYNC
        has_files = self._providers[resolved.spec.provider].has_files
        return ContentMode.COPY if has_files else ContentMode.LEAVE

    async def keep(
        self, user: User, environment: Environment, build: Resolved | None, names: Iterable[str]
    ) -> Environment:
        """Keep a new environment, and request a build if one is given. Raises LimitReached."""
        await self._limits.see(user)
        async with self._builds.asking[user.name]:
            new = await self.requests.prepare(user, build, environment.options) if build else None
            keeping = self._insert(environment, new, names)
            kept = await asyncio.shield(self._tasks.spawn(keeping, name="new environment"))
            if kept is None:
                raise await self.limit_reached(user.name)
        self._audit.note_environment(user, Action.ENVIRONMENT_CREATE, kept)
        return kept

    async def _insert(
        self, environment: Environment, new: NewBuildRequest | None, directories: Iterable[str]
    ) -> Environment | None:
        """Store and queue, even if the caller is cancelled."""
        kept = await self._store.insert_environment(
            environment, new, directories=directories, limit=self.limit_of(environment.owner)
        )
        if kept is not None and kept.latest is not None:
            self._builds.accept(kept.latest.build)
        return kept

    def limit_of(self, person: str) -> int:
        """Return how many environments a person may have; the hub's own are counted nowhere."""
        if person == HUB_OWNER:
            return sys.maxsize
        return self._limits.value(LimitName.ENVIRONMENTS, person)

    async def fetch_limit(self, user: User) -> int:
        """Return how many environments a person may have who asks, perhaps for the first time."""
        await self._limits.see(user)
        return self.limit_of(user.name)

    async def ensure(self, user: User, link: Link, *, build: bool = True) -> Environment:
        """Return the user's environment of a link, created or updated to the current ref.

        Without `build`, no build is requested. Raises as `create`.
        """
        require_can_build(user)
        link, resolved = await self._previews.resolve(user, link)
        place = (user.name, resolved.spec, link.content_url, link.content_ref)
        return await self._ensuring.do(
            place, lambda: self._find_or_create(user, link, resolved, build)
        )

    async def _find_or_create(
        self, user: User, link: Link, resolved: Resolved, build: bool
    ) -> Environment:
        source = await self._previews.resolve_content(user, link, resolved.clone_url)
        found = await self.find(
            user,
            resolved.spec,
            **_content_of(source),
        )
        if found is None:
            return await self.create(user, link=link, build=build)
        return await self.build(user, found.id) if build else found

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
        updates: UpdateMode | None = None,
        resume: bool = False,
        python: str | None = None,
        backend: str | None = None,
    ) -> Environment:
        """Change fields that are not None. Raises InvalidInput and providers' errors.

        `resume` ends a hold; a changed `updates` does so, too. `python` is the version of later
        builds, empty for the repository's own; `backend` makes them, empty for the first that can.

        An empty `content_url` restores the environment's own files.
        """
        environment = await self.get(user, environment_id, Right.MANAGE)
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = clean_name(name)
        if path is not None:
            changes["path"] = clean_path(path)
        if content is not None:
            changes["content"] = content
        if content_url is not None or content_ref is not None:
            changes |= await self._change_content(user, environment, content_url, content_ref)
        changes |= _change_updates(user, environment, updates, resume=resume)
        options = self._with_options(environment, python, backend)
        if options != environment.options:
            require_can_steer(user, environment)
            if options.get(BACKEND_OPTION) != environment.options.get(BACKEND_OPTION):
                await self._previews.require_choice(user, environment.spec, options)
            changes["options"] = options
        if not changes:
            return environment
        changed = await self._rights.view(user, await self._change(environment, changes))
        if "directory" in changes:
            await self._store.forget_directories(environment.id)
        return changed

    def _with_options(
        self, environment: Environment, python: str | None, backend: str | None
    ) -> Mapping[str, Any]:
        """Return the options with another Python or backend; None keeps what they have."""
        given = {PYTHON_OPTION: python, BACKEND_OPTION: backend}
        changed = {name: value for name, value in given.items() if value is not None}
        if not changed:
            return environment.options
        merged = {**environment.options, **changed}
        return self._backend.clean_options(
            {name: value for name, value in merged.items() if value or name not in given}
        )

    async def _change_content(
        self, user: User, environment: Environment, url: str | None, ref: str | None
    ) -> dict[str, Any]:
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
        resolved = source or await self._providers.resolve(spec)
        directory = await self._store.find_directory(
            environment.owner,
            repository_key(spec),
            DirectoryNames(resolved),
            content_url=columns["content_url"],
        )
        return {**columns, "directory": directory}

    async def delete(self, user: User, environment_id: str) -> Environment:
        """Delete for `undo_seconds`, then purge. Idempotent.

        Images and the home's folder stay.
        """
        environment = await self.recall(user, environment_id, Right.OWN)
        if environment.deleted is not None:
            return environment
        deleted = await self._change(environment, {"deleted": utc_now()})
        self._builds.forget_people()
        self._audit.note_environment(user, Action.ENVIRONMENT_DELETE, deleted)
        return deleted

    async def restore(self, user: User, environment_id: str) -> Environment:
        """Undo a delete. Raises NotFound if too late, and LimitReached."""
        environment = await self.recall(user, environment_id, Right.OWN)
        if environment.deleted is None:
            return environment
        limit = self.limit_of(environment.owner)
        restored = await self._store.restore_environment(environment.id, limit=limit, at=utc_now())
        if restored is None:
            raise no_such_environment()
        self._builds.forget_people()
        if restored.deleted is not None:
            raise await self.limit_reached(environment.owner)
        self._audit.note_environment(user, Action.ENVIRONMENT_RESTORE, restored)
        return restored

    async def keep_directory(self, environment_id: str, person: str) -> None:
        """Keep the folder of a person other than the owner for the environment's files."""
        await self._store.use_environment(environment_id, person, launched=None)

    async def mark_launched(self, environment_id: str, person: str) -> None:
        """Note a person's start."""
        await self._store.use_environment(environment_id, person, launched=utc_now())

    async def _change(self, environment: Environment, changes: Mapping[str, Any]) -> Environment:
        changed = await self._store.update_environment(environment.id, changes, at=utc_now())
        if changed is None:
            raise no_such_environment()
        return changed

    async def limit_reached(self, owner: str) -> LimitReached:
        """Return the error for an owner who has as many as they may."""
        used, limit = await self._store.count_environments(owner), self.limit_of(owner)
        message = Message(
            "You have reached your limit of environments (%(used)s of %(most)s). Delete one "
            "that you no longer need.",
            used=used,
            most=limit,
        )
        return self._limits.reached(LimitName.ENVIRONMENTS, owner, message, used=used)

    # --- Builds of an environment -------------------------------------------------------------

    async def build(
        self,
        user: User,
        environment_id: str,
        *,
        ref: str | None = None,
        force: bool = False,
        python: str | None = None,
        backend: str | None = None,
        cause: ChangeCause = ChangeCause.ASKED,
    ) -> Environment:
        """Request a build of the current ref.

        `ref` changes the ref to follow, `python` and `backend` what to build with; with automatic
        updates, only the owner may do that. Raises NotAllowed, LimitReached and providers' errors.
        """
        require_can_build(user)
        environment = await self.get(user, environment_id, Right.MANAGE)
        link = Link(environment.spec)
        if ref is not None:
            link = self._providers.at_ref(link, ref)
            if link.spec != environment.spec:
                require_can_steer(user, environment)
        if python is not None or backend is not None:
            environment = await self.update(user, environment_id, python=python, backend=backend)
        built = await self._build_newest(user, environment, link.spec, force=force, cause=cause)
        if force:
            self._audit.note_environment(user, Action.BUILD_FORCE, built)
        return built

    async def build_for_launch(self, user: User, environment_id: str) -> Environment:
        """Request the build of the current ref that a launch waits for. Raises as `build`."""
        require_can_build(user)
        environment = await self.get(user, environment_id)
        return await self._build_newest(user, environment, environment.spec)

    async def _build_newest(
        self,
        user: User,
        environment: Environment,
        spec: Spec,
        *,
        force: bool = False,
        cause: ChangeCause = ChangeCause.ASKED,
    ) -> Environment:
        self._rules.require(user, environment)
        resolved = await self._previews.resolve_now(user, spec)
        return await self.requests.request(user, environment, resolved, force=force, cause=cause)

    # --- Purging --------------------------------------------------------------------------------

    async def _keep_purging(self) -> None:
        while True:
            await self.purge(deleted_before=utc_now() - timedelta(seconds=self.undo_seconds))
            await asyncio.sleep(max(self.undo_seconds / 4, 5))

    async def purge(self, *, deleted_before: datetime) -> None:
        """Remove environments, and end builds that only they wanted."""
        purged = await self._store.purge_environments(deleted_before=deleted_before)
        for build_id in purged:
            await self._builds.release(build_id)


def _permitted(user: User, page: Page[Environment]) -> Page[Environment]:
    """Leave out what the repository's host would not let the user have."""
    items = page.items
    seen = [each for each in items if each.owner == user.name or repository_permits(user, each)]
    return replace(page, items=tuple(seen))


def _change_updates(
    user: User, environment: Environment, updates: UpdateMode | None, *, resume: bool
) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if updates is not None and updates is not environment.updates:
        changes = {"updates": updates, "held": None}
    if resume:
        changes["held"] = None
    if changes and (updates or environment.updates) is UpdateMode.AUTO:
        require_can_update(user, environment)
    return changes


def _content_of(source: Resolved | None) -> _Content:
    return {
        "content_url": source.clone_url if source else "",
        "content_ref": source.follow if source else "",
    }
