"""The places of waiting builds in the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from jupyterhub_binder.model import Build

_TELL_SECONDS = 1.0
"""Watchers hear of new positions at most this often."""


class Positions:
    """Computes positions once per change, and tells which ones moved."""

    def __init__(self, order: Callable[[], Iterable[Build]], tell: Callable[[str], None]) -> None:
        """`order` returns the waiting builds; `tell` gets the id of each that moved."""
        self._order = order
        self._tell = tell
        self._known: Mapping[str, int] | None = None
        self._told: Mapping[str, int] = {}
        self._told_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def find(self, build_id: str) -> int | None:
        """Return a build's position, 1 if it is next; None if it does not wait."""
        return self._all().get(build_id)

    def _all(self) -> Mapping[str, int]:
        if self._known is None:
            self._known = {build.id: number for number, build in enumerate(self._order(), start=1)}
        return self._known

    def change(self) -> None:
        """Note that the queue has changed."""
        self._known = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            at = max(loop.time(), self._told_at + _TELL_SECONDS)
            self._timer = loop.call_at(at, self._tell_moved)

    def _tell_moved(self) -> None:
        self._timer = None
        self._told_at = asyncio.get_running_loop().time()
        told, self._told = self._told, self._all()
        for build_id, position in self._told.items():
            if told.get(build_id) != position:
                self._tell(build_id)

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
