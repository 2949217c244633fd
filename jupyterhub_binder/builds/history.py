"""Finds existing builds and estimates durations.

Cached until a build ends; an image's existence for a few seconds.
"""

from __future__ import annotations

import time

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds import queue as buildqueue
from jupyterhub_binder.model import Build, BuildState, repository_key
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import Remembered

_SEEN_SECONDS = 10.0
_MAX_REMEMBERED = 10_000
_MAX_REPOSITORIES = 1_000


class BuildHistory:
    """One backend's successful builds."""

    def __init__(self, *, store: Store, backend: BuildBackend) -> None:
        self._store = store
        self._backend = backend
        self._built = Remembered(store.find_built, max_keys=_MAX_REMEMBERED)
        self._durations = Remembered(self._list_durations, max_keys=_MAX_REPOSITORIES)
        self._seen: dict[str, float] = {}
        """Expiry times."""

    def forget(self, ended: Build) -> None:
        """Ask again for what a build's end changes."""
        self._built.forget(ended.base_key)
        if ended.state is BuildState.BUILT:
            self._durations.forget(repository_key(ended.spec), None)

    async def find(self, base_key: str) -> Build | None:
        """Return the newest successful build whose image exists.

        Raises the backend's errors.
        """
        build = await self._built.get(base_key)
        if build is None or not await self._has_image(build.image_key):
            return None
        return build

    async def _has_image(self, key: str) -> bool:
        now = time.monotonic()
        if now < self._seen.get(key, 0.0):
            return True
        if await self._backend.find_image(key) is None:
            return False
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen = {}
        self._seen[key] = now + _SEEN_SECONDS
        return True

    async def expected_seconds(self, repository: str) -> float | None:
        """Return the expected duration, or None."""
        return buildqueue.expected_seconds(
            await self.durations(repository), await self.durations(None)
        )

    async def durations(self, repository: str | None) -> tuple[float, ...]:
        """Return recent durations, for all repositories if None."""
        return await self._durations.get(repository)

    async def _list_durations(self, repository: str | None) -> tuple[float, ...]:
        return await self._store.list_durations(repository, backend=self._backend.name)
