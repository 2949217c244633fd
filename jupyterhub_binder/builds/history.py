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
    """The successful builds of a hub's backends."""

    def __init__(self, *, store: Store, backend: BuildBackend) -> None:
        self._store = store
        self._backend = backend
        self._built = Remembered(store.find_built, max_keys=_MAX_REMEMBERED)
        self._durations = Remembered(self._list_durations, max_keys=_MAX_REPOSITORIES)
        """By repository, None for all, and backend."""
        self._seen: dict[str, float] = {}
        """Expiry times."""

    def forget(self, ended: Build) -> None:
        """Ask again for what a build's end changes."""
        self._built.forget(ended.base_key)
        if ended.state is BuildState.BUILT:
            of = ended.backend
            self._durations.forget((repository_key(ended.spec), of), (None, of))

    async def find(self, base_key: str) -> Build | None:
        """Return the newest successful build whose image exists, as far as its backend works.

        Raises the backend's errors.
        """
        build = await self._built.get(base_key)
        if build is None or not await self._has_image(build):
            return None
        return build

    async def _has_image(self, build: Build) -> bool:
        key, now = build.image_key, time.monotonic()
        if now < self._seen.get(key, 0.0):
            return True
        maker = self._backend.maker(build.backend)
        if maker.start_failure or await maker.find_image(key) is None:
            return False
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen = {}
        self._seen[key] = now + _SEEN_SECONDS
        return True

    async def expected_seconds(self, repository: str, backend: str) -> float | None:
        """Return the expected duration with a backend, or None; as `Build.backend` names it.

        Before a backend is chosen, only the repository's own builds tell something.
        """
        name = self._backend.maker(backend).name
        if name not in {maker.name for maker in self._backend.makers}:
            own = [await self.durations(repository, each.name) for each in self._backend.makers]
            return buildqueue.expected_seconds([one for some in own for one in some], ())
        return buildqueue.expected_seconds(
            await self.durations(repository, name), await self.durations(None, name)
        )

    async def durations(self, repository: str | None, backend: str) -> tuple[float, ...]:
        """Return recent durations, for all repositories if None."""
        return await self._durations.get((repository, backend))

    async def _list_durations(self, of: tuple[str | None, str]) -> tuple[float, ...]:
        return await self._store.list_durations(of[0], backend=of[1])
