"""Environments: what a person keeps, and what they may do with it.

Owns permissions (mine, or I am an admin; all else does not exist), names, folders, quotas,
undo, and which build a server starts from. Queues and runs no build itself: `builds` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import Full, SingleFlight, TaskSet, Turns
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import (
    BinderError,
    Conflict,
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.inputs import clean_name, clean_path, one_line
from jupyterhub_binder.model import (
    Assessment,
    Build,
    BuildRequest,
    BuildState,
    Commit,
    ContentMode,
    Environment,
    EnvironmentState,
    Finding,
    LaunchSpec,
    Link,
    Order,
    Page,
    Recipe,
    Resolved,
    Spec,
    User,
)
from jupyterhub_binder.oversight import Action, LimitName
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.providers.binderlinks import format_binder_link
from jupyterhub_binder.recipe import read_recipe
from jupyterhub_binder.slugs import is_id, new_id, repository_key, safe_name
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import BuildWish

_WAITING_QUESTIONS = 100


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be built of a link, found out without building anything."""

    link: Link
    resolved: Resolved
    commit: Commit | None
    recipe: Recipe
    assessment: Assessment
    findings: tuple[Finding, ...]
    """Of the recipe and of the backend, together."""
    built: bool
    """Whether the image is there already."""
    expected_seconds: float | None
    earlier_builds: int
    """How many earlier builds of the repository the expectation rests on."""
    suggested_name: str
    directory: str
    content_url: str = ""
    """Where git fetches the person's files, if that is not `resolved`."""
    content_ref: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota and how much of it is used."""

    limit: int | None
    used: int


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

    max_questions_per_user = Integer(
        4,
        min=1,
        help="""For how many repositories at once one person may have hosts asked; others wait.

        So that nobody who asks for many large or slow ones holds up everybody.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        providers: Providers,
        fetcher: Fetcher,
        backend: BuildBackend,
        builds: Builds,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.store = store
        self.providers = providers
        self.fetcher = fetcher
        self.backend = backend
        self.builds = builds
        self.command = builds.command
        self.command.limits.register(LimitName.ENVIRONMENTS, lambda: self.max_per_user)
        self._tasks = TaskSet(self.log)
        self._turns: Turns[str] = Turns(self.max_questions_per_user, waiting=_WAITING_QUESTIONS)
        self._ensuring: SingleFlight[tuple[str, Spec, str], Environment] = SingleFlight()

    async def start(self) -> None:
        """Begin to purge what was deleted."""
        self._tasks.spawn(self._keep_purging(), name="purge of environments")

    async def stop(self) -> None:
        """Stop purging; may be called twice."""
        await self._tasks.close()

    # --- Looking ----------------------------------------------------------------------------

    async def preview(self, user: User, link: Link) -> Preview:
        """Find out what would be built of a link. Raises what providers and fetch raise."""
        async with self._asking(user):
            link, resolved = await self._resolve(user, link)
            commit, recipe = await self._peek(resolved)
            assessment = await asyncio.to_thread(self.backend.assess, recipe, {})
        repository = repository_key(resolved.spec)
        source = await self._resolve_content(user, link, resolved.clone_url)
        content_url = source.clone_url if source else ""
        return Preview(
            link=link,
            resolved=resolved,
            commit=commit,
            recipe=recipe,
            assessment=assessment,
            findings=_distinct(recipe.findings + assessment.findings),
            built=await self.builds.is_built(resolved, {}),
            expected_seconds=await self.builds.expected_seconds(repository),
            earlier_builds=len(await self.builds.earlier_durations(repository)),
            suggested_name=resolved.default_name,
            directory=await self.store.find_directory(
                user.name, repository, directory_names(source or resolved), content_url=content_url
            ),
            content_url=content_url,
            content_ref=source.spec.ref if source else "",
        )

    async def _peek(self, resolved: Resolved) -> tuple[Commit | None, Recipe]:
        """Look at the configuration files, without fetching all of the repository.

        A backend that fetches for itself may reach what this service does not: then nothing is
        known, and that is no reason against a build.
        """
        try:
            async with self.fetcher.peek(resolved) as peek:
                return peek.commit, await asyncio.to_thread(read_recipe, peek.path)
        except BinderError as error:
            if self.backend.needs_checkout:
                raise
            self.log.info("The recipe of %s is not known: %s", resolved.label, error.message)
            return None, Recipe()

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
        environment = await self._get_kept_or_deleted(user, environment_id)
        if environment.deleted is not None:
            raise _no_such_environment()
        return environment

    async def get_deleted(self, user: User, environment_id: str) -> Environment:
        """Return one that was deleted, and can still be brought back. Raises NotFound."""
        environment = await self._get_kept_or_deleted(user, environment_id)
        if environment.deleted is None:
            raise _no_such_environment()
        return environment

    async def _get_kept_or_deleted(self, user: User, environment_id: str) -> Environment:
        found = (
            await self.store.fetch_environment(environment_id) if is_id(environment_id) else None
        )
        if found is None or not _may_see(user, found):
            raise _no_such_environment()
        return found

    async def find(self, user: User, spec: Spec, *, content_url: str = "") -> Environment | None:
        """Return a person's own environment of a resolved spec, the one used last; None if none.

        `content_url` is as an environment has it: where git fetches the files of another one.
        """
        return await self.store.find_environment(user.name, spec, content_url=content_url)

    async def _resolve_content(self, user: User, link: Link, own: str) -> Resolved | None:
        """Return where a person's files come from; None where it is the environment's own.

        Raises InvalidInput for what git does not fetch, and what providers raise.
        """
        if not link.content_url:
            return None
        found = self.providers.understand(link.content_url)
        if not self.providers[found.spec.provider].takes_ref:
            raise InvalidInput("Files can be brought from git repositories only.")
        if link.content_ref:
            found = self.providers.at_ref(found, link.content_ref)
        _, resolved = await self._resolve_link(user, found)
        same = resolved.clone_url == own and resolved.spec.ref == link.spec.ref
        return None if same else resolved

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

    @asynccontextmanager
    async def _asking(self, user: User) -> AsyncIterator[None]:
        """Hold one of a person's turns to ask hosts. Raises LimitReached."""
        try:
            async with self._turns.take(user.name):
                yield
        except Full:
            raise LimitReached(
                "You are asking for too many repositories at once. Wait for the answers.",
                detail={"limit": self.max_questions_per_user + _WAITING_QUESTIONS},
            ) from None

    async def _resolve_link(self, user: User, link: Link) -> tuple[Link, Resolved]:
        async with self._asking(user):
            return await self._resolve(user, link)

    async def _resolve(self, user: User, link: Link) -> tuple[Link, Resolved]:
        """Resolve a link; hosts of refused repositories are not even asked."""
        self.command.rules.require(user, link.spec)
        link, resolved = await self.providers.resolve_link(link)
        self.command.rules.require(user, resolved)
        return link, resolved

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
        link, resolved = await self._resolve_link(user, link)
        source = await self._resolve_content(user, link, resolved.clone_url)
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
            content_url=source.clone_url if source else "",
            content_ref=source.spec.ref if source else "",
        )
        async with self.builds.asking[user.name]:
            wish = await self.builds.prepare(resolved, chosen, user=user) if build else None
            keeping = self._insert(environment, wish, directory_names(source or resolved))
            kept = await asyncio.shield(self._tasks.spawn(keeping, name="new environment"))
            if kept is None:
                raise await self._limit_reached(user.name)
        self._note(user, Action.ENVIRONMENT_CREATE, kept)
        return kept

    def _note(self, user: User, action: Action, environment: Environment) -> None:
        owner = environment.owner if environment.owner != user.name else ""
        self.command.audit.note(
            user.name, action, environment.id, repository=environment.label, owner=owner
        )

    async def _insert(
        self, environment: Environment, wish: BuildWish | None, directories: Iterator[str]
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
        link, resolved = await self._resolve_link(user, link)
        place = (user.name, resolved.spec, link.content_url)
        return await self._ensuring.do(place, lambda: self._find_or_create(user, link, resolved))

    async def _find_or_create(self, user: User, link: Link, resolved: Resolved) -> Environment:
        source = await self._resolve_content(user, link, resolved.clone_url)
        content_url = source.clone_url if source else ""
        found = await self.find(user, resolved.spec, content_url=content_url)
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
        source = await self._resolve_content(user, link, own)
        columns = {
            "content_url": source.clone_url if source else "",
            "content_ref": source.spec.ref if source else "",
        }
        if columns["content_url"] == environment.content_url:
            return columns
        resolved = source or await self.providers.resolve(spec)
        directory = await self.store.find_directory(
            environment.owner,
            repository_key(spec),
            directory_names(resolved),
            content_url=columns["content_url"],
        )
        return {**columns, "directory": directory}

    async def delete(self, user: User, environment_id: str) -> Environment:
        """Delete an environment; `restore` undoes it for `undo_seconds`.

        Its images and its folder in the home stay. Deleting twice is success.
        """
        environment = await self._get_kept_or_deleted(user, environment_id)
        if environment.deleted is not None:
            return environment
        deleted = await self._change(environment, {"deleted": utc_now()})
        self._note(user, Action.ENVIRONMENT_DELETE, deleted)
        return deleted

    async def restore(self, user: User, environment_id: str) -> Environment:
        """Undo a delete. Raises NotFound once it is too late, LimitReached."""
        environment = await self._get_kept_or_deleted(user, environment_id)
        if environment.deleted is None:
            return environment
        owner = environment.owner
        if await self.store.count_environments(owner) >= self._most_of(owner):
            raise await self._limit_reached(owner)
        restored = await self._change(environment, {"deleted": None})
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
            link = self.providers.at_ref(link, ref)
        self.command.rules.require(user, environment)
        async with self._asking(user):
            resolved = await self.providers.resolve(link.spec, fresh=True)
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

    async def bring_back(self, user: User, environment_id: str) -> Environment:
        """Build the current build's commit again if its image was removed to make room.

        Does nothing where the image is there, or there never was one. Raises NotAllowed and
        LimitReached.
        """
        environment = await self.get(user, environment_id)
        current = environment.current
        if current is None or await self._is_there(current.build):
            return environment
        _require_can_build(user)
        resolved = replace(current.build.resolved, spec=environment.spec)
        return await self._request_build(user, environment, resolved)

    async def begin_build(self, user: User, environment_id: str) -> Environment:
        """Have made what a server could start from.

        An image that was removed comes back as it was; else what the ref is now is built.
        Raises as `bring_back` and `build`.
        """
        environment = await self.get(user, environment_id)
        begin = self.bring_back if environment.current else self.build
        return await begin(user, environment_id)

    async def prepare_start(self, user: User, environment_id: str) -> LaunchSpec:
        """Say what the hub needs to start a server; begin a build where nothing is there to start.

        A build that failed or was cancelled is not begun again by this. Raises as `begin_build`.
        """
        environment = await self.get(user, environment_id)
        spec = await self.launch_spec(user, environment_id)
        if spec.image is not None:
            await self.mark_launched(environment_id)
            return spec
        missing = environment.current is not None or environment.latest is None
        if not missing or spec.state in (EnvironmentState.QUEUED, EnvironmentState.BUILDING):
            return spec
        await self.begin_build(user, environment_id)
        return await self.launch_spec(user, environment_id)

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

    async def launch_spec(self, user: User, environment_id: str) -> LaunchSpec:
        """Say what the hub needs to start a server in an environment.

        Raises NotAllowed for one of a repository that is refused.
        """
        environment = await self.get(user, environment_id)
        self.command.rules.require(user, environment)
        current, latest = environment.current, environment.latest
        shown = current or latest
        resolved_ref = shown.build.resolved_ref if shown else ""
        image = current.build.image if current and await self._is_there(current.build) else None
        removed = (
            current is not None and image is None and environment.state is EnvironmentState.READY
        )
        return LaunchSpec(
            environment_id=environment.id,
            environment_name=environment.name,
            state=EnvironmentState.UNBUILT if removed else environment.state,
            build_id=latest.build.id if latest else None,
            image=image,
            content=environment.content,
            directory=environment.directory,
            path=environment.path,
            repo_url=environment.repo_url,
            resolved_ref=resolved_ref,
            ref=environment.spec.ref,
            **self.addresses(environment, resolved_ref),
            **self._content_source(environment, shown.build if shown else None),
        )

    def _content_source(self, environment: Environment, build: Build | None) -> dict[str, Any]:
        """Return where git fetches an environment's files, as `LaunchSpec` has it."""
        if environment.content_url:
            return {
                "content_url": environment.content_url,
                "content_ref": environment.content_ref,
                "content_elsewhere": True,
            }
        spec = environment.spec
        try:
            is_git = self.providers[spec.provider].takes_ref
        except InvalidInput:
            is_git = False
        return {
            "content_url": build.clone_url if is_git and build else "",
            "content_ref": spec.ref,
        }

    async def _is_there(self, build: Build) -> bool:
        """Say whether a build's image is there; if that cannot be told, let a start find out."""
        try:
            return await self.backend.find_image(build.key) is not None
        except BinderError as error:
            self.log.warning("Whether %s is there is not known: %s", build.image, error.message)
            return True

    def addresses(self, environment: Environment, resolved_ref: str) -> dict[str, str]:
        """Return where an environment is read and asked for again, as `LaunchSpec` has it.

        None for a provider that is no longer enabled.
        """
        spec = environment.spec
        try:
            provider = self.providers[spec.provider]
        except InvalidInput:
            return {}
        request = {"request": format_binder_link(provider, Link(spec))}
        if not resolved_ref:
            return request
        return {
            **request,
            "ref_url": provider.ref_url(environment.repo_url, resolved_ref),
            "persistent_request": format_binder_link(
                provider, Link(replace(spec, ref=resolved_ref))
            ),
        }

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


def directory_names(resolved: Resolved) -> Iterator[str]:
    """Yield names for the folder of a repository's files, the best first, without an end."""
    plain = safe_name(resolved.default_name)
    yield plain
    yield safe_name(resolved.label.partition("/")[2] or resolved.label)
    yield from (f"{plain}-{number}" for number in count(2))


def _may_see(user: User, environment: Environment) -> bool:
    return user.admin or environment.owner == user.name


def _require_can_build(user: User) -> None:
    if not user.can_build:
        raise NotAllowed(
            "You may not build environments on this hub. Ask its administrators for the "
            "permission custom:binder:build."
        )


def _no_such_environment() -> NotFound:
    return NotFound("There is no such environment, or none that you may see.")


def _distinct(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
