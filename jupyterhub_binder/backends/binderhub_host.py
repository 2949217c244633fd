"""One of the BinderHubs that builds are sent to: how it stands, and what it has done for us.

What is shown of it is a frozen snapshot; the choice among several is in `federation_choice`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.backends.binderhub_client import BinderHubClient, ConnectionLost
from jupyterhub_binder.clock import utc_now


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
        self._checked: datetime | None = None
        self._version = ""
        self._running = self._built = self._build_failures = self._host_failures = 0
        self.prefixes: frozenset[str] | None = None

    def status(self) -> HostStatus:
        """Return how it stands now."""
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
        """What is wrong, in words."""
        return self._reason

    @property
    def well(self) -> bool:
        """Say whether builds should be sent to it; one that failed long enough ago is tried."""
        return self._state is not HostState.FAILED or self._clock() >= self._retry_at

    @property
    def full(self) -> bool:
        """Say whether it runs as many pods as it may."""
        return self._state is HostState.FULL

    def builds(self, prefix: str) -> bool:
        """Say whether it has a provider; one that does not tell is taken to have it."""
        return self.prefixes is None or prefix in self.prefixes

    async def check(self) -> None:
        """Ask how it is, which providers it has; what is wrong is kept, not raised."""
        try:
            health = await self.client.fetch_health()
            self._version = await self.client.fetch_version() or self._version
            self.prefixes = await self.client.fetch_prefixes() or self.prefixes
        except ConnectionLost as lost:
            self.fail(str(lost))
        else:
            state, reason = assess_health(health, ignored=self._ignored_checks)
            if state is HostState.FAILED:
                self.fail(reason)
            elif self._state is not HostState.FAILED or self._clock() >= self._retry_at:
                # A host that is well by its own account may have failed a build a moment ago.
                self._state, self._reason = state, reason
        self._checked = utc_now()

    def fail(self, reason: str) -> None:
        """Note that it is out of order: it is sent nothing for a while."""
        self._state, self._reason = HostState.FAILED, reason
        self._retry_at = self._clock() + self._retry_seconds

    @contextmanager
    def building(self) -> Iterator[None]:
        """Count a build as running."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def count_built(self) -> None:
        """Note a build that succeeded: whatever was wrong is over."""
        self._built += 1
        if self._state is not HostState.FULL:
            self._state, self._reason = HostState.OK, ""

    def count_build_failure(self) -> None:
        """Note a build that failed through its repository."""
        self._build_failures += 1

    def count_host_failure(self, reason: str) -> None:
        """Note a build that it could not take or finish."""
        self._host_failures += 1
        self.fail(reason)


def assess_health(
    health: Mapping[str, Any], *, ignored: Collection[str] = ()
) -> tuple[HostState, str]:
    """Return what `/health` says about building; pure.

    Checks that say nothing about builds are named in `ignored`: without them a BinderHub in
    API-only mode, which knows no hub, would never be well.
    """
    checks = [check for check in _list(health.get("checks")) if isinstance(check, Mapping)]
    for check in checks:
        name = str(check.get("service", ""))[:80]
        if not check.get("ok") and not check.get("_ignore_failure") and name not in ignored:
            return HostState.FAILED, f"its check of {name or 'something'} fails"
    if not checks and health.get("ok") is not True:
        return HostState.FAILED, "it says that it is not well"
    for check in checks:
        quota, total = check.get("quota"), check.get("total_pods")
        if isinstance(quota, int) and isinstance(total, int) and total >= quota:
            return HostState.FULL, f"it runs {total} pods and may run {quota}"
    return HostState.OK, ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
