"""The log of one running build: numbered, kept in batches, and only then shown.

A line is in the store before anybody sees it, so that no restart takes back what was seen.
Lines that come while a batch is being kept make up the next batch: under no load a line
waits for nothing, under load a batch is as large as it needs to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.escapes import storable
from jupyterhub_binder.model import BuildEvent, Phase

T = TypeVar("T")

_MOST_WAITING = 2_000
"""Lines after which a backend has to wait for the store."""

_LEAVE_SECONDS = 3.0
"""How long the store has for what waits when the service stops; nobody has seen that yet."""
_NOT_KEPT = "This line could not be kept."


@dataclass(slots=True)
class EventBatch:
    """Some lines in a row; encoded once, however many watch."""

    events: tuple[BuildEvent, ...]
    _encoded: dict[Callable[..., bytes], bytes] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Return the last line's sequence number."""
        return self.events[-1].seq

    def after(self, seq: int) -> EventBatch | None:
        """Return this batch without the lines up to `seq`; None if none are left."""
        if self.events[0].seq > seq:
            return self
        left = tuple(event for event in self.events if event.seq > seq)
        return EventBatch(left) if left else None

    def encoded(self, encode: Callable[[tuple[BuildEvent, ...]], bytes]) -> bytes:
        """Return `encode(events)`, computed by the first who asks."""
        if encode not in self._encoded:
            self._encoded[encode] = encode(self.events)
        return self._encoded[encode]


Keep = Callable[[Sequence[BuildEvent]], Awaitable[None]]
Show = Callable[[EventBatch], None]


class BuildLog:
    """Takes lines from a backend, keeps them, shows them."""

    def __init__(
        self,
        *,
        lines: int,
        keep: Keep,
        show: Show,
        most_characters: int,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.last_seq = lines
        """The number of the newest line."""
        self._keep = keep
        self._show = show
        self._characters_left = most_characters
        self._log = log
        self._waiting: list[BuildEvent] = []
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._keeper = asyncio.create_task(self._keep_going(), name="build log")

    async def write(self, phase: Phase, text: str) -> None:
        """Add a line; waits only while the store is far behind."""
        self.add(phase, text)
        await self._room.wait()

    def add(self, phase: Phase, text: str) -> None:
        """Add a line at once; left out after `close`, or when the log is full."""
        if self._closed or self._characters_left <= 0:
            return
        self._characters_left -= len(text) + 1
        if self._characters_left <= 0:
            text = "The log is full; what follows is not kept. The build goes on."
        self._waiting.append(self._number(phase, text))
        self._more.set()
        if len(self._waiting) >= _MOST_WAITING:
            self._room.clear()

    def _number(self, phase: Phase, text: str) -> BuildEvent:
        self.last_seq += 1
        return BuildEvent(self.last_seq, utc_now(), phase, storable(text).replace("\n", "␊"))

    async def close(self) -> None:
        """Keep what waits and take no more; closing twice is harmless."""
        self._closed = True
        self._more.set()
        self._room.set()
        await asyncio.shield(self._keeper)

    async def leave(self) -> None:
        """Keep what waits if that does not take long, since the build does not end here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self.close()
        self._keeper.cancel()

    def last_event(self, phase: Phase, text: str) -> BuildEvent:
        """Return the line after the last, for the caller to keep together with the build's end."""
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
        """Keep lines, or a word in their place: a build does not wait for what no store takes."""
        try:
            await keep_trying(lambda: self._keep(batch), self._log)
        except Exception:  # noqa: BLE001 - the keeper lives as long as its build
            self._log.exception("Lines of a build cannot be kept")
            batch = tuple(replace(event, message=_NOT_KEPT) for event in batch)
            await keep_trying(lambda: self._keep(batch), self._log)
        return batch


async def keep_trying(
    keep: Callable[[], Awaitable[T]], log: logging.Logger | logging.LoggerAdapter[Any]
) -> T:
    """Return what `keep` returns, trying again for as long as the store is out of order."""
    wait_seconds = 0.1
    while True:
        try:
            return await keep()
        except StoreUnavailable as error:
            log.error("%s (trying again in %g s)", error.__cause__ or error, wait_seconds)
        await asyncio.sleep(wait_seconds)
        wait_seconds = min(wait_seconds * 2, 5.0)
