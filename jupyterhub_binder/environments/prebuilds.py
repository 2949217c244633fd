"""Builds ahead: looks at repositories after a delivery or by a schedule, and builds what is newer.

Each environment has one look or build at a time. What comes meanwhile waits in the database, the
newest in place of an earlier one: a look finds the newest commit, so no change is left out.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta

from traitlets import Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.auto_updates import AutoUpdates
from jupyterhub_binder.environments.commit_statuses import CommitStatuses
from jupyterhub_binder.environments.hooks import Hooks
from jupyterhub_binder.environments.launch_specs import LaunchSpecs
from jupyterhub_binder.environments.rights import require_can_build
from jupyterhub_binder.environments.schedules import Schedule, read_schedule
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.upstream import Upstreams
from jupyterhub_binder.errors import (
    BinderError,
    LimitReached,
    StoreUnavailable,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Build, BuildState, Environment, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.prebuild import Outcome, Prebuild
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.upstream import Upstream
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.deliveries import KEPT
from jupyterhub_binder.store.hooks import Looked
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.time import utc_now

_ROUND_SECONDS = 30.0
_MAX_A_ROUND = 500
_NOT_NOW = timedelta(minutes=1)
_PRUNED_EVERY = timedelta(hours=1)
_GIVE_UP = timedelta(days=1)
_LATER = (LimitReached, UpstreamUnavailable, StoreUnavailable)
"""What passes by itself."""


class Prebuilds(LoggingConfigurable):
    """Looks, and builds ahead."""

    min_interval_minutes = Integer(
        60,
        min=1,
        help="""
        Minimum time between two times of a schedule, in minutes. Schedules that come more often are
        refused. Default: 60.
        """,
    ).tag(config=True)

    min_seconds_between = Float(
        60,
        min=0,
        help="""
        Minimum time between two checks of the repository of one environment, in seconds. Pushes in
        quick succession are then built once, at the newest commit. Default: 60.
        """,
    ).tag(config=True)

    max_looks = Integer(
        2,
        min=1,
        help="Maximum number of repositories that are checked at the same time. Default: 2.",
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        updates: AutoUpdates,
        upstreams: Upstreams,
        launch_specs: LaunchSpecs,
        builds: Builds,
        hooks: Hooks,
        statuses: CommitStatuses,
        rules: Rules,
        drain: Draining,
        audit: Audit,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._updates = updates
        self._upstreams = upstreams
        self._launch_specs = launch_specs
        self._statuses = statuses
        self._rules = rules
        self._drain = drain
        self._audit = audit
        self._tasks = TaskSet(self.log)
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(self.max_looks)
        self._wake = asyncio.Event()
        self._pruned = utc_now()
        self._disconnect = (hooks.accepted.connect(self._wanted), builds.ended.connect(self._ended))

    async def start(self) -> None:
        """Take up what waits, and follow the schedules."""
        self._tasks.spawn(self._keep_looking(), name="prebuilds")

    async def stop(self) -> None:
        """Stop. Idempotent."""
        for disconnect in self._disconnect:
            disconnect()
        await self._tasks.close()

    def _wanted(self, environment_id: str) -> None:
        self._wake.set()

    def _ended(self, build: Build) -> None:
        self._wake.set()

    # --- Schedules ----------------------------------------------------------------------------

    async def fetch(self, user: User, environment_id: str) -> Prebuild:
        """Return an environment's schedule, and what happened last. For its owner and admins."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        return await self._store.fetch_prebuild(environment.id)

    async def set_schedule(
        self, user: User, environment_id: str, cron: str, time_zone: str = "UTC"
    ) -> Prebuild:
        """Look at the repository by a schedule; an empty one ends that. Raises InvalidInput."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        due = None
        if cron.strip():
            require_can_build(user)
            schedule = self.read(cron, time_zone)
            cron, time_zone = schedule.cron, schedule.time_zone
            due = next(iter(schedule.next(utc_now())), None)
        await self._store.put_schedule(environment.id, cron.strip(), time_zone, due)
        self._audit.note_environment(user, Action.SCHEDULE_SET, environment, schedule=cron.strip())
        self._wake.set()
        return await self._store.fetch_prebuild(environment.id)

    def read(self, cron: str, time_zone: str) -> Schedule:
        """Read a schedule that a person wrote. Raises InvalidInput."""
        least = timedelta(minutes=self.min_interval_minutes)
        return read_schedule(cron, time_zone, after=utc_now(), least=least)

    # --- Looking ------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.check()
            except StoreUnavailable as error:
                self.log.warning("Prebuilds wait: %s", error.message)
            except Exception:  # the next round tries again
                self.log.exception("Prebuilds")
            with suppress(TimeoutError):
                async with asyncio.timeout(_ROUND_SECONDS):
                    await self._wake.wait()

    async def check(self) -> None:
        """Note the schedules that have come, and begin the looks that may begin now."""
        now = utc_now()
        for each in await self._store.list_due_prebuilds(at=now, limit=_MAX_A_ROUND):
            following = next(iter(Schedule(each.cron, each.time_zone).next(now)), None)
            await self._store.begin_scheduled(each.environment_id, at=now, due=following)
        if now - self._pruned > _PRUNED_EVERY:
            self._pruned = now
            await self._store.prune_deliveries(before=now - KEPT)
        if self._drain.state is not None:
            return
        for each in await self._store.list_pending_prebuilds(at=now, limit=_MAX_A_ROUND):
            self._begin(each)

    def _begin(self, wanted: Prebuild) -> None:
        id_ = wanted.environment_id
        if id_ in self._looking:
            return
        task = self._tasks.spawn(self._look_in_turn(wanted), name=f"prebuild of {id_}")
        self._looking[id_] = task
        task.add_done_callback(lambda _: self._looking.pop(id_, None))

    async def looked(self) -> None:
        """Wait until no look is under way."""
        while self._looking:
            await asyncio.gather(*self._looking.values(), return_exceptions=True)

    async def _look_in_turn(self, wanted: Prebuild) -> None:
        async with self._turns:
            environment = await self._store.fetch_environment(wanted.environment_id)
            if environment is None:
                return
            latest = environment.latest
            if latest is not None and not latest.build.state.finished:
                return  # its end wakes us
            try:
                looked = await self._look(environment)
            except _LATER as error:
                if wanted.pending is None or wanted.pending > utc_now() - _GIVE_UP:
                    await self._delay(wanted, error)
                    return
                looked = Looked(Outcome.NOT_BUILT, message=error.message)
            except BinderError as error:
                looked = Looked(Outcome.NOT_BUILT, message=error.message)
            if looked.commit:
                await self._statuses.want(environment.id, looked.commit)
            await self._finish(wanted, looked)

    async def _delay(self, wanted: Prebuild, error: BinderError) -> None:
        self.log.info("Prebuild of %s waits: %s", wanted.environment_id, error.message)
        next_try: datetime = error.detail.get("next_try") or utc_now() + _NOT_NOW
        await self._store.delay_prebuild(wanted.environment_id, next_try, error.message)

    async def _finish(self, wanted: Prebuild, looked: Looked) -> None:
        now = utc_now()
        await self._store.finish_prebuild(
            wanted, looked, at=now, not_before=now + timedelta(seconds=self.min_seconds_between)
        )
        said = looked.message or ""
        self.log.info("Prebuild of %s: %s %s", wanted.environment_id, looked.outcome, said)

    async def _look(self, environment: Environment) -> Looked:
        """Ask the host, and build what it has if that is worth a build."""
        if environment.deleted is not None:
            return Looked(Outcome.NOT_BUILT, message=Message("The environment is deleted."))
        if environment.held is not None:
            return Looked(Outcome.ON_HOLD)
        if (refusal := self._rules.judge(environment, environment.owner)) is not None:
            return Looked(Outcome.NOT_BUILT, message=refusal.message)
        began = utc_now()
        upstream = await self._ask(environment)
        await self._updates.build_newest(environment.id, upstream, Action.BUILD_PREBUILD)
        looked = await self._result(environment.id, upstream, began)
        if looked.outcome is Outcome.NOTHING_NEW:
            owner = await self._updates.fetch_owner(environment)
            await self._launch_specs.bring_back(owner, environment.id)
            looked = await self._result(environment.id, upstream, began)
        return looked

    async def _ask(self, environment: Environment) -> Upstream:
        upstream = await self._upstreams.ask(environment.spec)
        if upstream.reason is not None:
            raise UpstreamUnavailable(upstream.reason.message, detail={"next_try": upstream.due})
        return upstream

    async def _result(self, environment_id: str, upstream: Upstream, began: datetime) -> Looked:
        """Say what came of a look; an automatic update of the same commit counts."""
        environment = await self._store.fetch_environment(environment_id)
        latest = environment.latest if environment else None
        commit = upstream.resolved_ref
        if latest is None:
            return Looked(Outcome.NOTHING_NEW)
        if latest.requested >= began:
            return Looked(Outcome.BUILDING, latest.number, commit=latest.build.resolved_ref)
        tried = latest.build.resolved_ref == commit
        if tried and latest.build.state is not BuildState.BUILT:
            return Looked(Outcome.FAILED_BEFORE, latest.number, commit=commit)
        return Looked(Outcome.NOTHING_NEW, commit=commit)
