"""Build requests: what was built for an environment, and which build is the current one.

A request counts for an environment; builds themselves belong to nobody. `service` says when one is
made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.rules import MAX_REASON_CHARACTERS, Rules
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.rights import Rights, require, require_can_build
from jupyterhub_binder.errors import Conflict, NotFound, RateLimited, UpstreamUnavailable
from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    BuildState,
    Environment,
    Page,
    Resolved,
    User,
)
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.history import Change, ChangeCause, cause_of
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.names import is_id
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import one_line


class BuildRequests:
    """The build requests of environments. Every method for a user checks permissions."""

    def __init__(
        self,
        *,
        store: Store,
        rights: Rights,
        providers: Providers,
        backend: BuildBackend,
        builds: Builds,
        rules: Rules,
        audit: Audit,
        tasks: TaskSet,
    ) -> None:
        self._store = store
        self._rights = rights
        self._providers = providers
        self._backend = backend
        self._builds = builds
        self._rules = rules
        self._audit = audit
        self._tasks = tasks

    # --- Looking ----------------------------------------------------------------------------

    async def list(
        self, user: User, environment_id: str, *, offset: int = 0, limit: int = 50
    ) -> Page[BuildRequest]:
        """Return build requests, newest first."""
        environment = await self._rights.fetch(user, environment_id)
        return await self._store.list_requests(environment.id, offset=offset, limit=limit)

    async def get(self, user: User, environment_id: str, number: int) -> BuildRequest:
        """Return build `number` of an environment. Raises NotFound."""
        environment = await self._rights.fetch(user, environment_id)
        request = await self._store.fetch_request(environment.id, number)
        if request is None:
            raise NotFound(
                "“%(name)s” has no build %(number)s.", name=environment.name, number=number
            )
        return request

    async def of_build(
        self, user: User, build_id: str
    ) -> tuple[Build, Environment | None, BuildRequest | None]:
        """Return a build and the user's environment that wants it, or raise NotFound.

        One that is shared with the user counts. An admin sees every build, perhaps without
        environment.
        """
        no_such_build = NotFound("There is no such build, or you may not see it.")
        if not is_id(build_id):
            raise no_such_build
        request = await self._store.find_environment_of(build_id, user.name)
        if request is not None:
            environment = await self._store.fetch_environment(request.environment_id)
            return await self._builds.fetch_build(build_id), environment, request
        environment, request = await self._shared_request(user, build_id)
        if request is None and not user.admin:
            raise no_such_build
        return await self._builds.fetch_build(build_id), environment, request

    async def _shared_request(
        self, user: User, build_id: str
    ) -> tuple[Environment | None, BuildRequest | None]:
        request = await self._store.find_shared_request(build_id, user.name, user.groups)
        if request is None:
            return None, None
        try:
            return await self._rights.fetch(user, request.environment_id), request
        except NotFound:
            return None, None

    async def changes(
        self, user: User, environment_id: str, *, offset: int = 0, limit: int = 50
    ) -> Page[Change]:
        """Return the changes of the current build, newest first."""
        environment = await self._rights.fetch(user, environment_id)
        return await self._store.list_changes(environment.id, offset=offset, limit=limit)

    # --- Making -----------------------------------------------------------------------------

    async def prepare(
        self, user: User, resolved: Resolved, options: Mapping[str, Any], *, force: bool = False
    ) -> NewBuildRequest:
        """Prepare a request; another's build may be new to the user only if the host serves it.

        The host is asked for the repository, not for the commit: a host gives away any commit of a
        public repository by its SHA, and asking for one takes a fetch.
        """
        new = await self._builds.prepare(resolved, options, user=user, force=force)
        build = new.reuse or self._builds.find_active(new.build.base_key)
        if build and not await self._sees(user, build.id):
            try:
                await self._providers.require_served(resolved)
            except RateLimited:
                raise  # the host is there, and others' requests must not open what it may refuse
            except UpstreamUnavailable:
                if all(maker.needs_checkout for maker in self._backend.makers):
                    raise  # otherwise the backend may be the only one that reaches the host
        return new

    async def _sees(self, user: User, build_id: str) -> bool:
        if await self._store.find_environment_of(build_id, user.name):
            return True
        return (await self._shared_request(user, build_id))[1] is not None

    async def request(
        self,
        user: User,
        environment: Environment,
        resolved: Resolved,
        *,
        force: bool = False,
        options: Mapping[str, Any] | None = None,
        cause: ChangeCause = ChangeCause.ASKED,
        reason: str = "",
    ) -> Environment:
        """Request a build of a resolved ref. Raises NotAllowed and LimitReached."""
        options = environment.options if options is None else options
        async with self._builds.asking[user.name]:
            new = await self.prepare(user, resolved, options, force=force)
            new = replace(new, cause=cause, reason=reason)
            keeping = self._keep_request(environment.id, new)
            kept = await asyncio.shield(self._tasks.spawn(keeping, name="request for a build"))
        return await self._rights.view(user, kept)

    async def _keep_request(self, environment_id: str, new: NewBuildRequest) -> Environment:
        """Store and queue, even if the caller is cancelled."""
        environment, request = await self._store.request_build(environment_id, new)
        self._builds.accept(request.build)
        return environment

    async def build_again(
        self, user: User, environment: Environment, earlier: Build
    ) -> Environment:
        """Request an earlier commit. Raises NotAllowed and LimitReached."""
        require_can_build(user)
        resolved = replace(earlier.resolved, spec=environment.spec)
        return await self.request(user, environment, resolved)

    async def choose(
        self, user: User, environment_id: str, number: int, *, reason: str = ""
    ) -> Environment:
        """Make build `number` current; if its image is gone, build its commit again.

        Raises NotAllowed, LimitReached, and Conflict if it has never succeeded.
        """
        environment = await self._rights.fetch(user, environment_id, Right.MANAGE)
        build = (await self.get(user, environment_id, number)).build
        self._rules.require(user, build)
        chosen = None
        if build.state is BuildState.BUILT:
            why = one_line(reason)[:MAX_REASON_CHARACTERS]
            if await self._backend.maker(build.backend).find_image(build.image_key):
                chosen = await self._store.choose_build(
                    environment.id, number, by=user.name, at=utc_now(), reason=why
                )
            else:
                chosen = await self._build_chosen(user, environment, number, build, why)
        if chosen is None:
            raise Conflict(
                "Build %(number)s did not succeed. Choose a successful build, or build again.",
                number=number,
                code="not_built",
            )
        self._audit.note_environment(user, Action.BUILD_CHOOSE, chosen)
        return await self._rights.view(user, chosen)

    async def _build_chosen(
        self, user: User, environment: Environment, number: int, build: Build, reason: str
    ) -> Environment:
        require_can_build(user)
        current = environment.current
        return await self.request(
            user,
            environment,
            replace(build.resolved, spec=environment.spec),
            options=build.options,
            cause=cause_of(current.number if current else None, number),
            reason=reason,
        )

    async def cancel(self, user: User, build_id: str) -> Build:
        """Withdraw the request of the user's environment, or of one that they manage."""
        build, environment, request = await self.of_build(user, build_id)
        if environment is None or request is None or user.name == environment.owner or user.admin:
            return await self._builds.cancel(build.id, user=user)
        require(environment, environment.right, Right.MANAGE)
        return await self._builds.cancel(build.id, user=user, environment_id=environment.id)
