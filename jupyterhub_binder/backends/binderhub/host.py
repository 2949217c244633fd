"""The state and counters of one BinderHub."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.backends.binderhub.client import BinderHubClient, ConnectionLost
from jupyterhub_binder.utils.time import utc_now


class Host:
    """A BinderHub and its counters."""

    def __init__(
        self,
        client: BinderHubClient,
        *,
        weight: float = 1.0,
        ignored_checks: Collection[str] = (),
        retry_seconds: float = 90.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.name = client.remote.name
        self.weight = weight
        self._ignored_checks = frozenset(ignored_checks)
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._state = HostState.UNKNOWN
        self._reason = ""
        self._retry_at = 0.0
        self._failed_builds = False
        """Whether it failed a build, which a successful check does not undo."""
        self._checked: datetime | None = None
        self._version = ""
        self._running = self._built = self._build_failures = self._host_failures = 0
        self.prefixes: frozenset[str] | None = None

    def status(self) -> HostStatus:
        """Return a snapshot of its status."""
        return HostStatus(
            name=self.name,
            url=str(self.client.remote.url),
            weight=self.weight,
            state=self._state,
            reason=self._reason,
            checked=self._checked,
            version=self._version,
            prefixes=self.prefixes,
            running=self._running,
            built=self._built,
            build_failures=self._build_failures,
            host_failures=self._host_failures,
        )

    @property
    def reason(self) -> str:
        """The problem, or ""."""
        return self._reason

    @property
    def well(self) -> bool:
        """Whether to send builds; a failed host is retried after a while."""
        return self._state is not HostState.FAILED or self._clock() >= self._retry_at

    @property
    def full(self) -> bool:
        """Whether it is at its limit of pods."""
        return self._state is HostState.FULL

    def builds(self, prefix: str) -> bool:
        """Whether it has a provider; True if unknown."""
        return self.prefixes is None or prefix in self.prefixes

    async def check(self) -> None:
        """Check health and providers; store problems, don't raise them."""
        try:
            health = await self.client.fetch_health()
            self._version = await self.client.fetch_version() or self._version
            self.prefixes = await self.client.fetch_prefixes() or self.prefixes
        except ConnectionLost as lost:
            self._fail(str(lost))
        else:
            state, reason = assess_health(health, ignored=self._ignored_checks)
            if state is HostState.FAILED:
                self._fail(reason)
            elif not self._failed_builds or self._clock() >= self._retry_at:
                # A host that is well by its own account may have failed a build a moment ago.
                self._state, self._reason, self._failed_builds = state, reason, False
        self._checked = utc_now()

    def _fail(self, reason: str) -> None:
        """Mark it as failed until a check succeeds, or it is due for a retry."""
        self._state, self._reason = HostState.FAILED, reason
        self._retry_at = self._clock() + self._retry_seconds

    @contextmanager
    def building(self) -> Iterator[None]:
        """Count a running build."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def count_built(self) -> None:
        """Count a success, which clears earlier problems."""
        self._built += 1
        self._failed_builds = False
        if self._state is not HostState.FULL:
            self._state, self._reason = HostState.OK, ""

    def count_build_failure(self) -> None:
        """Count a build that failed because of its repository."""
        self._build_failures += 1

    def count_host_failure(self, reason: str) -> None:
        """Count a build that it could not accept or finish."""
        self._host_failures += 1
        self._failed_builds = True
        self._fail(reason)


def assess_health(
    health: Mapping[str, Any], *, ignored: Collection[str] = ()
) -> tuple[HostState, str]:
    """Return whether `/health` allows builds, and why not. Pure.

    `ignored` names checks that don't affect builds: a BinderHub in API-only mode would always fail
    the check of its hub.
    """
    checks = [check for check in _list(health.get("checks")) if isinstance(check, Mapping)]
    for check in checks:
        name = str(check.get("service", ""))[:80]
        if not check.get("ok") and not check.get("_ignore_failure") and name not in ignored:
            return HostState.FAILED, f"its check of {name or 'something'} failed"
    if not checks and health.get("ok") is not True:
        return HostState.FAILED, "it reports a problem"
    for check in checks:
        quota, total = check.get("quota"), check.get("total_pods")
        if isinstance(quota, int) and isinstance(total, int) and total >= quota:
            return HostState.FULL, f"it runs {total} pods of at most {quota}"
    return HostState.OK, ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
