"""Whether the parts of the service work: asked every few seconds at most, whoever wants to know.

What is wrong inside a part is for the part to say, in a sentence; what a probe is answered is
`web`'s.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from typing import Protocol

from jupyterhub_binder.aio import SingleFlight
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import BinderError, StoreUnavailable
from jupyterhub_binder.store import Store

_FRESH_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0


_PUBLIC = {
    "database": "The service cannot use its database at the moment.",
    "disk": "The service's disk is almost full.",
    "hub": "The hub does not answer.",
    "backend": "Nothing can be built at the moment.",
}


def without_detail(parts: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Return what is wrong for those who need not know folders, hosts and settings."""
    return {part: _PUBLIC[part] if wrong else None for part, wrong in parts.items()}


class Hub(Protocol):
    """The part of a hub's client that is needed here."""

    async def fetch_version(self) -> tuple[int, ...]:
        """Return the hub's version. Raises BinderError."""
        ...


class Health:
    """The health of the service; anybody may ask, so asking is cheap."""

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        hub: Hub,
        state_dir: str,
        least_free_bytes: int,
    ) -> None:
        self._store = store
        self._backend = backend
        self._hub = hub
        self._state_dir = state_dir
        self._least_free_bytes = least_free_bytes
        self._asking: SingleFlight[str, Mapping[str, str | None]] = SingleFlight()
        self._asked = float("-inf")
        self._answer: Mapping[str, str | None] = {}

    async def check(self) -> Mapping[str, str | None]:
        """Return each part's name to None, or to a sentence that says what is wrong with it."""
        if time.monotonic() - self._asked > _FRESH_SECONDS:
            return await self._asking.do("all", self._ask)
        return self._answer

    async def _ask(self) -> Mapping[str, str | None]:
        database, hub, backend = await asyncio.gather(
            self._ask_database(), self._ask_hub(), self._ask_backend()
        )
        disk = self._look_at_disk()
        self._answer = {"database": database, "disk": disk, "hub": hub, "backend": backend}
        self._asked = time.monotonic()
        return self._answer

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._store.list_active_builds()
        except TimeoutError:
            return "The database does not answer."
        except StoreUnavailable as error:
            return error.message
        return None

    def _look_at_disk(self) -> str | None:
        try:
            free = shutil.disk_usage(self._state_dir).free
        except OSError as error:
            return f"The folder {self._state_dir} cannot be looked at: {error.strerror}."
        if free >= self._least_free_bytes:
            return None
        return (
            f"{free // 10**6} MB are free at {self._state_dir}: make room, for example with "
            "Cleanup.budget_bytes. JupyterHubBinder.least_free_bytes says when this is a warning."
        )

    async def _ask_hub(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._hub.fetch_version()
        except TimeoutError:
            return "The hub does not answer."
        except BinderError as error:
            return error.message
        return None

    async def _ask_backend(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._backend.health()
        except TimeoutError:
            return f"The {self._backend.name} backend does not answer."
