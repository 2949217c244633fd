"""Back-off for everything that is retried."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable


class Backoff:
    """The waits between failed attempts, doubling up to a maximum.

    A random reduction of up to half spreads clients. The patience runs from the first failure after
    a success.
    """

    def __init__(
        self,
        first_seconds: float,
        *,
        max_seconds: float = math.inf,
        patience_seconds: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_seconds = first_seconds
        self._max_seconds = max_seconds
        self._patience_seconds = patience_seconds
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Note a success."""
        self._next_seconds = self._first_seconds
        self._failing_since: float | None = None

    def next_wait(self) -> float | None:
        """Note a failure; return the seconds to wait, or None when out of patience."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        wait = min(self._next_seconds, self._max_seconds)
        if now - self._failing_since + wait > self._patience_seconds:
            return None
        self._next_seconds = wait * 2
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads clients, hides nothing

    async def wait(self) -> bool:
        """Wait before a retry; return False at once when out of patience."""
        seconds = self.next_wait()
        if seconds is None:
            return False
        await asyncio.sleep(seconds)
        return True
