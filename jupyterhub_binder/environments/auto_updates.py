"""Updates environments by themselves: builds beside the current build, and pauses when needed.

A build becomes current when it succeeds, as always. After a rollback, and after two failures in a
row, an environment is on hold until its owner resumes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from traitlets import Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.upstream import Upstreams, follows, is_newer
from jupyterhub_binder.errors import BinderError, NotAllowed
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model import Build, BuildState, Environment, Hold, User
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.model.upstream import Upstream
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import Locks, TaskSet
from jupyterhub_binder.utils.time import utc_now

_FAILURES = 2
_SERVICE = "service:"
"""How the names of the hub's services begin."""


class AutoUpdates(LoggingConfigurable):
    """Builds what environments follow."""

    max_per_commit = Integer(
        200,
        min=1,
        help="""
        Maximum number of environments of one branch that are updated after one check. The others
        are updated after the next checks. Default: 200.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        upstreams: Upstreams,
        builds: Builds,
        limits: Limits,
        drain: Draining,
        audit: Audit,
        hub: HubClient | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._limits = limits
        self._drain = drain
        self._audit = audit
        self._hub = hub
        self._tasks = TaskSet(self.log)
        self._locks: Locks[str] = Locks()
        self._disconnect = (
            upstreams.moved.connect(self._moved),
            builds.ended.connect(self._ended),
        )

    async def start(self) -> None:
        """Do nothing: signals begin the work."""

    async def stop(self) -> None:
        """Stop. Idempotent."""
        for disconnect in self._disconnect:
            disconnect()
        await self._tasks.close()

    # --- A newer commit -------------------------------------------------------------------------

    def _moved(self, upstream: Upstream) -> None:
        self._tasks.spawn(self.update(upstream), name=f"updates of {upstream.spec.repo}")

    async def update(self, upstream: Upstream) -> None:
        """Build the newest commit for those who asked for that."""
        if self._drain.state is not None:
            return
        for id_ in await self._store.list_auto_updated(upstream.spec, limit=self.max_per_commit):
            environment = await self._store.fetch_environment(id_)
            if environment is None or not follows(environment):
                continue
            try:
                await self.build_newest(id_, upstream, Action.BUILD_AUTO)
            except BinderError as error:
                self.log.info("No automatic update of %s: %s", id_, error.message)

    async def build_newest(self, environment_id: str, upstream: Upstream, action: Action) -> None:
        """Build what the host has, with the owner's rights and limits, if it is worth a build.

        Raises NotAllowed, LimitReached, the hub's errors and providers' errors.
        """
        async with self._locks[environment_id]:
            environment = await self._store.fetch_environment(environment_id)
            if environment is None or not is_wanted(upstream, environment):
                return
            owner = await self.fetch_owner(environment)
            await self._environments.build(owner, environment.id, cause=ChangeCause.BY_ITSELF)
        self._audit.note(
            SERVICE,
            action,
            environment.id,
            always=True,
            name=environment.name,
            repository=environment.label,
            owner=environment.owner,
        )

    async def fetch_owner(self, environment: Environment) -> User:
        """Return the owner, in whose name is built. Raises the hub's errors.

        Above all, it raises for a person whom the hub no longer knows.
        """
        owner = self._limits.recall(environment.owner)
        if self._hub is not None and not owner.name.startswith(_SERVICE):
            with suppress(NotAllowed):  # a hub that does not let us look
                await self._hub.fetch_servers(self._hub.api_token, owner.name)
        return owner

    # --- Failures -----------------------------------------------------------------------------------

    def _ended(self, build: Build) -> None:
        if build.state is BuildState.FAILED:
            self._tasks.spawn(self.note_failure(build.id), name=f"failure of {build.id}")

    async def note_failure(self, build_id: str) -> None:
        """Pause the environments whose newest builds failed."""
        for id_ in await self._store.list_auto_waiting(build_id):
            newest = await self._store.list_requests(id_, limit=_FAILURES)
            failed = [each.build.state is BuildState.FAILED for each in newest.items]
            if len(failed) == _FAILURES and all(failed):
                await self._store.update_environment(id_, {"held": Hold.FAILURES}, at=utc_now())


def is_wanted(upstream: Upstream, environment: Environment) -> bool:
    """Say whether to build: not again what failed, and not beside an unfinished build."""
    latest = environment.latest
    if latest is None:
        return True
    if environment.current is not None and not is_newer(upstream, environment):
        return False
    tried = latest.build.resolved_ref == upstream.resolved_ref
    return latest.build.state is BuildState.BUILT or (latest.build.state.finished and not tried)
