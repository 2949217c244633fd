"""Asks the hosts for the newest commits of what environments follow.

One question serves all who follow a repository's ref. Pages never wait for a host: they show what
is known, and note what should be asked. `upstream_changes` finds out what a commit changes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from traitlets import Bool, Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.builds.history import BuildHistory
from jupyterhub_binder.environments.upstream_changes import UpstreamChanges
from jupyterhub_binder.errors import BinderError, NotAllowed
from jupyterhub_binder.model import (
    BuildState,
    Environment,
    Reason,
    Resolved,
    Spec,
    UpdateMode,
    repository_key,
)
from jupyterhub_binder.model.upstream import Newer, Upstream
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.urls import SHA
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.upstreams import Followed
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now

_MAX_ASKING = 500
"""Questions that wait. Later looks ask again."""

_ROUND_SECONDS = 60
_MAX_BUILDS = 50
_MAX_COMPARING_SECONDS = 300
_MAX_WAIT = timedelta(days=1)
_RATE_LIMITED = timedelta(hours=1)
_KEPT = timedelta(days=60)


class Upstreams(LoggingConfigurable):
    """Knows the newest commits."""

    interval_seconds = Float(
        900,
        min=60,
        help="""
        Minimum time between two checks of a branch for new commits, in seconds. One check serves
        everybody who follows the branch. Failures and rate limits make the time longer.
        Default: 900.
        """,
    ).tag(config=True)

    background = Bool(
        True,
        help="""
        Also check in the background, so that pages show new commits at once. Without it,
        automatic updates wait until somebody opens a page. Default: True.
        """,
    ).tag(config=True)

    background_days = Float(
        30,
        min=0,
        help="""
        An environment that was not used for this many days is checked only when somebody opens
        its page, unless it is updated automatically. Default: 30.
        """,
    ).tag(config=True)

    max_questions_per_minute = Integer(
        30,
        min=1,
        help="Maximum number of repositories checked per minute in the background. Default: 30.",
    ).tag(config=True)

    max_questions = Integer(
        2, min=1, help="Maximum number of checks at the same time. Default: 2."
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        providers: Providers,
        changes: UpstreamChanges,
        history: BuildHistory,
        rules: Rules,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._providers = providers
        self._changes = changes
        self._history = history
        self._rules = rules
        self._tasks = TaskSet(self.log)
        self._asking: dict[Followed, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(self.max_questions)
        self.moved: Signal[[Upstream]] = Signal()
        """Sent after a host has named a newest commit, and its changes are known."""

    async def start(self) -> None:
        """Begin to ask in the background."""
        if self.background:
            self._tasks.spawn(self._keep_asking(), name="upstream")

    async def stop(self) -> None:
        """Stop asking. Idempotent."""
        await self._tasks.close()

    # --- Looking --------------------------------------------------------------------------------

    async def look(self, environments: Iterable[Environment]) -> Mapping[str, Newer]:
        """Return what is newer, by environment. Asks no host; notes what should be asked."""
        followed = {each.id: each for each in environments if follows(each)}
        known = await self._store.list_upstreams({followed_by(e) for e in followed.values()})
        now, newer = utc_now(), dict[str, Upstream]()
        for environment in followed.values():
            upstream = known.get(followed_by(environment))
            if upstream is None or is_due(upstream, environment, now):
                self.ask_later(environment.spec)
            if upstream is not None and is_newer(upstream, environment):
                newer[environment.id] = upstream
        return await self._with_changes(followed, newer)

    async def _with_changes(
        self, environments: Mapping[str, Environment], newer: Mapping[str, Upstream]
    ) -> Mapping[str, Newer]:
        keys = {id_: (_key_of(environments[id_]), up.resolved_ref) for id_, up in newer.items()}
        changes = await self._store.list_upstream_changes(set(keys.values()))
        found = {}
        for id_, upstream in newer.items():
            environment = environments[id_]
            build = environment.current.build if environment.current else None
            expected = await self._history.expected_seconds(
                repository_key(environment.spec), build.backend if build else ""
            )
            found[id_] = Newer(upstream, changes.get(keys[id_]), expected)
        return found

    # --- Asking -----------------------------------------------------------------------------------

    def ask_later(self, spec: Spec) -> None:
        """Ask in the background, once however often this is called."""
        key = (repository_key(spec), spec.ref)
        if key in self._asking or len(self._asking) >= _MAX_ASKING:
            return
        task = self._tasks.spawn(self._ask_in_turn(spec), name=f"upstream of {key[0]}")
        self._asking[key] = task
        task.add_done_callback(lambda _: self._asking.pop(key, None))

    def is_asking(self, environment: Environment) -> bool:
        """Say whether a question about an environment is on its way."""
        return followed_by(environment) in self._asking

    async def fetch_state(self, environment: Environment) -> Upstream | None:
        """Return what is known of what an environment follows; None if it follows nothing."""
        if not follows(environment):
            return None
        key = followed_by(environment)
        known = await self._store.list_upstreams([key])
        return known.get(key) or Upstream(environment.spec)

    async def asked(self) -> None:
        """Wait until no question is left."""
        while self._asking:
            await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _ask_in_turn(self, spec: Spec) -> None:
        async with self._turns:
            await self.ask(spec)

    async def ask(self, spec: Spec) -> Upstream:
        """Ask the host, and store the answer, what it changes, and when to ask again."""
        key = (repository_key(spec), spec.ref)
        known = (await self._store.list_upstreams([key])).get(key) or Upstream(spec)
        try:
            resolved = await self._resolve(spec)
        except BinderError as error:
            upstream = self._failed(known, error)
            await self._store.put_upstream(upstream)
            return upstream
        now = utc_now()
        upstream = Upstream(spec, resolved.resolved_ref, now, self._next(now))
        await self._store.put_upstream(upstream)
        with suppress(TimeoutError):  # a slow host must not keep the others from their turn
            async with asyncio.timeout(_MAX_COMPARING_SECONDS):
                await self._find_changes(resolved)
        self.moved.send(upstream)
        return upstream

    async def _resolve(self, spec: Spec) -> Resolved:
        """Never asks the host of a refused repository."""
        if (refusal := self._rules.judge(spec)) is not None:
            raise NotAllowed(refusal.message, code=refusal.code)
        return await self._providers.resolve(spec, fresh=True)

    def _next(self, now: datetime) -> datetime:
        """Return when to ask again, never for all repositories at once."""
        return now + timedelta(seconds=self.interval_seconds * random.uniform(1, 1.2))  # noqa: S311

    def _failed(self, known: Upstream, error: BinderError) -> Upstream:
        """Wait longer after each failure, and as long as the host says."""
        now, failures = utc_now(), known.failures + 1
        wait = min((self._next(now) - now) * 2 ** min(failures, 10), _MAX_WAIT)
        if (seconds := error.detail.get("retry_after_seconds")) is not None:
            wait = max(wait, timedelta(seconds=float(seconds)))
        elif error.detail.get("rate_limited"):
            wait = max(wait, _RATE_LIMITED)
        self.log.info("Upstream of %s: %s", known.spec.repo, error.message)
        reason = Reason(error.error_code, error.message)
        return replace(known, failures=failures, reason=reason, due=now + wait)

    async def _find_changes(self, resolved: Resolved) -> None:
        """Find out what the commit changes for each build that people use."""
        for build in await self._store.list_followed_builds(resolved.spec, limit=_MAX_BUILDS):
            if build.resolved_ref == resolved.resolved_ref:
                continue
            place = (build.base_key, resolved.resolved_ref)
            known = (await self._store.list_upstream_changes([place])).get(place)
            with suppress(BinderError):  # the next question tries again
                if known is None:
                    await self._changes.find(build, resolved)
                else:
                    await self._changes.check_again(build, resolved, known)

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(_ROUND_SECONDS)
            now = utc_now()
            for spec in await self._store.list_due_upstreams(
                now=now,
                used_since=now - timedelta(days=self.background_days),
                limit=self.max_questions_per_minute,
            ):
                self.ask_later(spec)
            await self._store.prune_upstreams(before=now - _KEPT)


def follows(environment: Environment) -> bool:
    """Say whether an environment has a build of something that can move."""
    if environment.current is None or environment.deleted is not None:
        return False
    if environment.updates is UpdateMode.NEVER:
        return False
    build, ref = environment.current.build, environment.spec.ref
    is_commit = SHA.fullmatch(ref) or build.resolved_ref.startswith(ref)
    return build.state is BuildState.BUILT and not is_commit


def followed_by(environment: Environment) -> Followed:
    """Return what an environment follows."""
    return repository_key(environment.spec), environment.spec.ref


def is_due(upstream: Upstream, environment: Environment, now: datetime) -> bool:
    """Say whether to ask again."""
    return upstream.due is None or upstream.due <= now


def is_newer(upstream: Upstream, environment: Environment) -> bool:
    """Say whether the host has another commit than the current build.

    What the host said before the newest build was asked for says nothing.
    """
    current, latest = environment.current, environment.latest
    if current is None or not upstream.resolved_ref or upstream.checked is None:
        return False
    if latest is not None and latest.requested > upstream.checked:
        return False
    return upstream.resolved_ref != current.build.resolved_ref


def _key_of(environment: Environment) -> str:
    return environment.current.build.base_key if environment.current else ""
