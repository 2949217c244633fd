"""What a request may reach: the parts of the running service, in one frozen bundle.

`app` fills it; handlers find it as `handler.services`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyterhub.services.auth import HubOAuth

    from jupyterhub_binder.backends.base import BuildBackend
    from jupyterhub_binder.builds import Builds
    from jupyterhub_binder.command import Command
    from jupyterhub_binder.environments import Environments
    from jupyterhub_binder.hub import HubClient
    from jupyterhub_binder.launches import Launches
    from jupyterhub_binder.previews import Previews
    from jupyterhub_binder.providers import Providers
    from jupyterhub_binder.starts import Starts
    from jupyterhub_binder.store import Store
    from jupyterhub_binder.web.events import Streams


class Traffic:
    """Counts the requests that are being answered, so that a stop can wait for them."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Count a request in."""
        self._count += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count a request out."""
        self._count -= 1
        if self._count == 0:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no request is being answered."""
        await self._idle.wait()


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
    starts: Starts
    launches: Launches
    command: Command
    store: Store
    streams: Streams
    traffic: Traffic
    health: Callable[[], Awaitable[Mapping[str, str | None]]]
    """Each part's name to None where it works, else to a sentence that says what is wrong."""
    base_url: str
    """The service's prefix, with a slash at both ends: ``/services/binder/``."""
    hub_url: str
    """Where a browser finds the hub: ``/hub/``."""
    named_servers: bool
    """Whether people may have more than one server on this hub."""
