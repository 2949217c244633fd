"""The log of one running build, stored in batches.

Lines are stored before they are shown, so a restart loses nothing that people have seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyterhub_binder.model import BuildEvent, Phase
from jupyterhub_binder.store.retry import keep_trying
from jupyterhub_binder.utils.text import storable
from jupyterhub_binder.utils.time import utc_now

_MAX_WAITING = 2_000
"""A backend waits at this number."""

_LEAVE_SECONDS = 3.0
"""For unseen lines when the service stops."""
_NOT_KEPT = "This line could not be saved."


@dataclass(slots=True)
class EventBatch:
    """Consecutive lines, encoded once for all watchers."""

    events: tuple[BuildEvent, ...]
    _encoded: dict[Callable[..., bytes], bytes] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last number."""
        return self.events[-1].seq

    def after(self, seq: int) -> EventBatch | None:
        """Return the lines after `seq`, or None."""
        if self.events[0].seq > seq:
            return self
        left = tuple(event for event in self.events if event.seq > seq)
        return EventBatch(left) if left else None

    def encoded(self, encode: Callable[[tuple[BuildEvent, ...]], bytes]) -> bytes:
        """Return the encoded lines, computed once."""
        if encode not in self._encoded:
            self._encoded[encode] = encode(self.events)
        return self._encoded[encode]


Keep = Callable[[Sequence[BuildEvent]], Awaitable[None]]
Show = Callable[[EventBatch], None]


class BuildLog:
    """Numbers, stores and shows lines."""

    def __init__(
        self,
        *,
        lines: int,
        keep: Keep,
        show: Show,
        max_characters: int,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.last_seq = lines
        self._keep = keep
        self._show = show
        self._characters_left = max_characters
        self._log = log
        self._waiting: list[BuildEvent] = []
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._keeper = asyncio.create_task(self._keep_going(), name="build log")

    async def write(self, phase: Phase, text: str) -> None:
        """Add a line; wait if the store is far behind."""
        self.add(phase, text)
        await self._room.wait()

    def add(self, phase: Phase, text: str) -> None:
        """Add a line, unless closed or full."""
        if self._closed or self._characters_left <= 0:
            return
        self._characters_left -= len(text) + 1
        if self._characters_left <= 0:
            text = "The log is full. Later lines are not saved. The build continues."
        self._waiting.append(self._number(phase, text))
        self._more.set()
        if len(self._waiting) >= _MAX_WAITING:
            self._room.clear()

    def _number(self, phase: Phase, text: str) -> BuildEvent:
        self.last_seq += 1
        return BuildEvent(self.last_seq, utc_now(), phase, storable(text).replace("\n", "␊"))

    async def close(self) -> None:
        """Store pending lines. Idempotent."""
        self._closed = True
        self._more.set()
        self._room.set()
        await asyncio.shield(self._keeper)

    async def leave(self) -> None:
        """Store pending lines if that is quick; the build continues after a restart."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.close()
        self._keeper.cancel()

    def last_event(self, phase: Phase, text: str) -> BuildEvent:
        """Return the final line; the caller stores it with the build's end."""
        return self._number(phase, text)

    async def _keep_going(self) -> None:
        while not self._closed or self._waiting:
            await self._more.wait()
            self._more.clear()
            batch, self._waiting = tuple(self._waiting), []
            self._room.set()
            if batch:
                self._show(EventBatch(await self._keep_batch(batch)))

    async def _keep_batch(self, batch: tuple[BuildEvent, ...]) -> tuple[BuildEvent, ...]:
        """Store a note if the store refuses the lines."""
        try:
            await keep_trying(lambda: self._keep(batch), self._log)
        except Exception:  # noqa: BLE001 - the task must last as long as the build
            self._log.exception("Lines of a build can't be saved")
            batch = tuple(replace(event, message=_NOT_KEPT) for event in batch)
            await keep_trying(lambda: self._keep(batch), self._log)
        return batch
