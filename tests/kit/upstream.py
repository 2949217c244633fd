"""A host whose branches move, and what asks it, for tests that start no process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from jupyterhub_binder.environments.auto_updates import AutoUpdates
from jupyterhub_binder.environments.upstream import Upstreams
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Build, Environment, Resolved, Spec, User
from jupyterhub_binder.model.upstream import Comparison, Newer, UpstreamChange
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ALICE, Service


@dataclass
class MovingHost:
    """Answers for every repository; `push` moves all branches."""

    answer: Any
    """The real `resolve`."""
    commit: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    error: BinderError | None = None

    async def resolve(self, spec: Spec, *, fresh: bool = False) -> Resolved:
        """Return the newest commit."""
        self.asked[spec.repo] += 1
        if self.error is not None:
            raise self.error
        resolved = await self.answer(spec)
        return replace(resolved, resolved_ref=f"{self.commit:040x}")

    def push(self) -> str:
        """Move; return the new commit."""
        self.commit += 1
        return f"{self.commit:040x}"


class KnownChanges:
    """Says of each commit that it changes files only."""

    def __init__(self, service: Service) -> None:
        self.store = service.store
        self.found: list[str] = []

    async def find(self, build: Build, resolved: Resolved) -> UpstreamChange:
        """Store a change."""
        self.found.append(build.id)
        change = UpstreamChange(
            build.base_key, resolved.resolved_ref, needs_build=False, comparison=Comparison(3)
        )
        await self.store.put_upstream_change(change, at=utc_now())
        return change

    async def check_again(
        self, build: Build, resolved: Resolved, change: UpstreamChange
    ) -> UpstreamChange:
        """Leave it as it is."""
        return change


@dataclass
class Following:
    """A service that asks a moving host."""

    service: Service
    host: MovingHost
    upstreams: Upstreams
    updates: AutoUpdates
    changes: KnownChanges

    async def built(self, user: User = ALICE, **where: Any) -> Environment:
        """Return an environment with a build of the newest commit."""
        environment = await self.service.create(user, **where)
        await self.service.finished(environment.latest.build.id)
        return await self.service.environments.get(user, environment.id)

    async def look(self, environment: Environment) -> Newer | None:
        """Look as a page does, until what is asked is answered."""
        await self.upstreams.look([environment])
        await self.upstreams.asked()
        return (await self.upstreams.look([environment])).get(environment.id)

    async def let_time_pass(self, environment: Environment, minutes: float = 30) -> None:
        """Bring the next question nearer."""
        known = await self.upstreams.fetch_state(environment)
        assert known is not None
        assert known.due is not None
        due = known.due - timedelta(minutes=minutes)
        await self.service.store.put_upstream(replace(known, due=due))


def follow(service: Service) -> Following:
    """Let a service ask a moving host."""
    host = MovingHost(service.providers.resolve)
    service.providers.resolve = host.resolve  # type: ignore[method-assign]
    changes = KnownChanges(service)
    admin = service.admin
    upstreams = Upstreams(
        store=service.store,
        providers=service.providers,
        changes=changes,  # type: ignore[arg-type]
        history=service.environments._builds._history,
        rules=admin.rules,
        background=False,
    )
    updates = AutoUpdates(
        store=service.store,
        environments=service.environments,
        upstreams=upstreams,
        builds=service.builds,
        limits=admin.limits,
        drain=admin.drain,
        audit=admin.audit,
    )
    return Following(service, host, upstreams, updates, changes)
