"""Whether the parts of the service work: asked every few seconds at most, whoever wants to know.

What is wrong inside a part is for the part to say, in a sentence; what a probe is answered is
`web`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from jupyterhub_binder.aio import SingleFlight
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.store import Store

_FRESH_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0


class Health:
    """The health of the service; anybody may ask, so asking is cheap."""

    def __init__(self, *, store: Store, backend: BuildBackend) -> None:
        self._store = store
        self._backend = backend
        self._asking: SingleFlight[str, Mapping[str, str | None]] = SingleFlight()
        self._asked = float("-inf")
        self._answer: Mapping[str, str | None] = {}

    async def check(self) -> Mapping[str, str | None]:
        """Return each part's name to None, or to a sentence that says what is wrong with it."""
        if time.monotonic() - self._asked > _FRESH_SECONDS:
            return await self._asking.do("all", self._ask)
        return self._answer

    async def _ask(self) -> Mapping[str, str | None]:
        database, backend = await asyncio.gather(self._ask_database(), self._ask_backend())
        self._answer = {"database": database, "backend": backend}
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

    async def _ask_backend(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._backend.health()
        except TimeoutError:
            return f"The {self._backend.name} backend does not answer."
