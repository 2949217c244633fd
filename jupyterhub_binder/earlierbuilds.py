"""What builds that have ended tell of the next one: whether it is there already, and how long it takes.

The store and the backend know; what they said is remembered here until a build ends, and that an
image is there for some seconds. What is made of it is for `builds` and `previews` to say.
"""

from __future__ import annotations

import time

from jupyterhub_binder import buildqueue
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.model import Build
from jupyterhub_binder.store import Store

_SEEN_SECONDS = 10.0
"""For how long an image that was there is not asked for again: a registry is not always near."""
_MOST_REMEMBERED = 10_000
_MOST_REPOSITORIES = 1_000
"""Repositories whose earlier durations are remembered until the next build ends."""


class EarlierBuilds:
    """The successful builds of one backend."""

    def __init__(self, *, store: Store, backend: BuildBackend) -> None:
        self._store = store
        self._backend = backend
        self._built: dict[str, Build] = {}
        """By base key, the newest build of it that succeeded."""
        self._seen: dict[str, float] = {}
        """By key, until when its image counts as there."""
        self._durations: dict[str | None, tuple[float, ...]] = {}

    def forget(self) -> None:
        """Ask the store anew from now on: a build has ended."""
        # Other objects, so that no question under way leaves an old answer.
        self._durations, self._built = {}, {}

    async def find(self, base_key: str) -> Build | None:
        """Return the newest build of a content that succeeded and whose image is there.

        Raises what the backend raises when it cannot tell.
        """
        built = self._built
        build = built.get(base_key) or await self._store.find_built(base_key)
        if build is None or not await self._has_image(build.key):
            return None
        if len(built) < _MOST_REMEMBERED:
            built[base_key] = build
        return build

    async def _has_image(self, key: str) -> bool:
        now = time.monotonic()
        if now < self._seen.get(key, 0.0):
            return True
        if await self._backend.find_image(key) is None:
            return False
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen = {}
        self._seen[key] = now + _SEEN_SECONDS
        return True

    async def expected_seconds(self, repository: str) -> float | None:
        """Return the seconds that a build of a repository should take, None if unknown."""
        return buildqueue.expected_seconds(
            await self.durations(repository), await self.durations(None)
        )

    async def durations(self, repository: str | None) -> tuple[float, ...]:
        """Return the seconds of the newest successful builds of a repository, or of all."""
        known = self._durations
        if repository not in known:
            if len(known) >= _MOST_REPOSITORIES:
                known.clear()
            known[repository] = await self._store.list_durations(
                repository, backend=self._backend.name
            )
        return known[repository]
