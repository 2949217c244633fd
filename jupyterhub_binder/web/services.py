"""The parts of the service, as `handler.services`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyterhub_binder.errors import LimitReached
from jupyterhub_binder.model import User
from jupyterhub_binder.utils.concurrency import SingleFlight

if TYPE_CHECKING:
    from jupyterhub.services.auth import HubOAuth

    from jupyterhub_binder.admin.audit import Audit
    from jupyterhub_binder.admin.drain import Draining
    from jupyterhub_binder.admin.limits import Limits
    from jupyterhub_binder.admin.rules import Rules
    from jupyterhub_binder.admin.usage import PeopleUsage
    from jupyterhub_binder.admin.usage_reports import UsageReports
    from jupyterhub_binder.backends.base import BuildBackend
    from jupyterhub_binder.builds.service import Builds
    from jupyterhub_binder.environments.copies import Copies
    from jupyterhub_binder.environments.detections import Detections
    from jupyterhub_binder.environments.files import RepositoryFiles
    from jupyterhub_binder.environments.gallery import Gallery
    from jupyterhub_binder.environments.hooks import Hooks
    from jupyterhub_binder.environments.inventories import Inventories
    from jupyterhub_binder.environments.launch_specs import LaunchSpecs
    from jupyterhub_binder.environments.prebuilds import Prebuilds
    from jupyterhub_binder.environments.preferences import Preferences
    from jupyterhub_binder.environments.previews import Previews
    from jupyterhub_binder.environments.profiles import Profiles
    from jupyterhub_binder.environments.receipts import Receipts
    from jupyterhub_binder.environments.reproductions import Reproductions
    from jupyterhub_binder.environments.service import Environments
    from jupyterhub_binder.environments.sharing import Sharing
    from jupyterhub_binder.environments.transfers import Transfers
    from jupyterhub_binder.environments.upstream import Upstreams
    from jupyterhub_binder.hub import HubClient
    from jupyterhub_binder.launches.service import Launches
    from jupyterhub_binder.maintenance.alerts.service import Alerts
    from jupyterhub_binder.maintenance.archive.service import Archive
    from jupyterhub_binder.maintenance.health import Disk
    from jupyterhub_binder.maintenance.images import Cleanup
    from jupyterhub_binder.maintenance.software import Software
    from jupyterhub_binder.repositories.providers.registry import Providers
    from jupyterhub_binder.store import Store


class Traffic:
    """Counts requests, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Count one in."""
        self._count += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count one out."""
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no request is left."""
        await self._idle.wait()


_MAX_IDENTIFYING = 4
"""Questions to the hub at the same time about people whose streams are open."""


class Streams:
    """Open event streams."""

    def __init__(self, max_per_user: int = 250) -> None:
        self._max_per_user = max_per_user
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._closed = False
        self._identifying: SingleFlight[str, User | None] = SingleFlight()
        self._turns = asyncio.Semaphore(_MAX_IDENTIFYING)

    def __len__(self) -> int:
        return len(self._tasks)

    @contextmanager
    def place(self, user_name: str) -> Iterator[None]:
        """Reserve one of a person's streams. Raises LimitReached."""
        if self._open[user_name] >= self._max_per_user:
            raise LimitReached(
                "You have too many live pages open. Close some of them.",
                detail={"limit": self._max_per_user, "used": self._open[user_name]},
            )
        self._open[user_name] += 1
        try:
            yield
        finally:
            self._open[user_name] -= 1
            if not self._open[user_name]:
                del self._open[user_name]

    async def identify(
        self, token: str, fetch: Callable[[], Awaitable[User | None]]
    ) -> User | None:
        """Ask who has a token: one question for all their streams, few at the same time."""

        async def in_turn() -> User | None:
            async with self._turns:
                return await fetch()

        return await self._identifying.do(token, in_turn)

    async def run(self, task: asyncio.Task[None]) -> None:
        """Wait for a stream; cancel it if the wait is cancelled."""
        self._tasks.add(task)
        if self._closed:
            task.cancel()
        try:
            await asyncio.wait({task})
        finally:
            self._tasks.discard(task)
            task.cancel()

    async def close(self) -> None:
        """End all streams, including later ones."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that routes and pages call."""

    hub_auth: HubOAuth
    hub: HubClient
    providers: Providers
    backend: BuildBackend
    builds: Builds
    previews: Previews
    environments: Environments
    sharing: Sharing
    gallery: Gallery
    copies: Copies
    transfers: Transfers
    upstreams: Upstreams
    hooks: Hooks
    detections: Detections
    prebuilds: Prebuilds
    launch_specs: LaunchSpecs
    inventories: Inventories
    files: RepositoryFiles
    preferences: Preferences
    profiles: Profiles
    receipts: Receipts
    reproductions: Reproductions
    launches: Launches
    rules: Rules
    limits: Limits
    drain: Draining
    audit: Audit
    usage: PeopleUsage
    usage_reports: UsageReports
    store: Store
    streams: Streams
    traffic: Traffic
    cleanup: Cleanup
    archive: Archive
    alerts: Alerts
    software: Software
    disk: Callable[[], Disk]
    """Raises OSError."""
    health: Callable[[], Awaitable[Mapping[str, str | None]]]
    """None, or a sentence about a problem."""
    base_url: str
    """With a slash at both ends: ``/services/binder/``."""
    hub_url: str
    """For browsers: ``/hub/``."""
    hub_host: str
    """Its origin, if the hub gives one: on a hub with subdomains it is not ours."""
    public_origin: str
    """The origin of this service's pages, if the hub's public URL is configured."""
    named_servers: bool
    """Whether people may have several servers."""

    @property
    def public_base(self) -> str:
        """What addresses that others call begin with; a path if the public URL is unknown."""
        return f"{self.public_origin}{self.base_url}"
