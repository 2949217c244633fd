"""Server-sent events: one stream a watcher, each at its own pace.

A stream waits until its client has taken what it sent, so a slow client holds at most one
batch of events and no other watcher up; one that takes nothing for long is let go.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tornado.iostream import StreamClosedError

from jupyterhub_binder.clock import isoformat
from jupyterhub_binder.errors import LimitReached
from jupyterhub_binder.model import BuildEvent
from jupyterhub_binder.web.base import APIHandler
from jupyterhub_binder.web.parse import query_integer, whole_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tornado.http1connection import HTTP1Connection

T = TypeVar("T")

log = logging.getLogger("jupyterhub_binder.web")

HEARTBEAT_SECONDS = 15.0
STALLED_SECONDS = 90.0
"""How long a client may take nothing at all of what was sent to it."""

_RECONNECT = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"


def encode_events(events: Iterable[BuildEvent]) -> bytes:
    """Encode lines of a log; their sequence numbers are the ids that a client resumes from."""
    return "".join(map(_encode_event, events)).encode("ascii")


def _encode_event(event: BuildEvent) -> str:
    return (
        f'id: {event.seq}\ndata: {{"seq":{event.seq},"time":"{isoformat(event.time)}",'
        f'"phase":"{event.phase}","message":{encode_basestring_ascii(event.message)}}}\n\n'
    )


def encode_named(name: str, value: Any) -> bytes:
    """Encode an event with a name of its own and JSON data."""
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode("ascii")


class Streams:
    """The streams that are open now; closing ends them all, so that the service can stop."""

    def __init__(self, most_per_user: int = 250) -> None:
        self._most_per_user = most_per_user
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @contextmanager
    def place(self, user_name: str) -> Iterator[None]:
        """Hold one of a person's places. Raises LimitReached when all are taken."""
        if self._open[user_name] >= self._most_per_user:
            raise LimitReached(
                "You follow too many things at once. Close some pages.",
                detail={"limit": self._most_per_user, "used": self._open[user_name]},
            )
        self._open[user_name] += 1
        try:
            yield
        finally:
            self._open[user_name] -= 1
            if not self._open[user_name]:
                del self._open[user_name]

    async def run(self, task: asyncio.Task[None]) -> None:
        """Wait for a stream's end; whatever ends the waiting ends the stream."""
        self._tasks.add(task)
        if self._closed:
            task.cancel()
        try:
            await asyncio.wait({task})
        finally:
            self._tasks.discard(task)
            task.cancel()

    async def close(self) -> None:
        """End every stream, and those that come later at once."""
        self._closed = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class EventsHandler(APIHandler):
    """An answer that goes on: events from an iterator until it ends or the client has gone."""

    preamble = _RECONNECT
    """What is sent before the first event."""

    _stream: asyncio.Task[None] | None = None

    def initialize(self) -> None:
        """Prepare for one request."""
        self._sending = asyncio.Lock()

    def last_event_id(self) -> int:
        """Return the sequence number after which the client wants to go on. Raises InvalidInput."""
        after = query_integer(self, "after", default=0)
        header = self.request.headers.get("Last-Event-ID", "").strip()
        return max(after, whole_number(header, "Last-Event-ID")) if header else after

    async def send_events(
        self, source: AsyncIterator[T], encode: Callable[[T], Awaitable[bytes]]
    ) -> None:
        """Send what the iterator yields, encoded, with a heartbeat in between.

        Raises LimitReached before anything is sent.
        """
        with self.services.streams.place(self.me.name):
            await self._send_events(source, encode)

    async def _send_events(
        self, source: AsyncIterator[T], encode: Callable[[T], Awaitable[bytes]]
    ) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=UTF-8")
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")
        self._stream = asyncio.create_task(self._pump(source, encode), name="event stream")
        heart = asyncio.create_task(self._beat(), name="heartbeat")
        try:
            await self.services.streams.run(self._stream)
        finally:
            heart.cancel()
        if not self._stream.cancelled() and (error := self._stream.exception()) is not None:
            raise error

    async def _pump(self, source: Any, encode: Callable[[T], Awaitable[bytes]]) -> None:
        try:
            async with aclosing(source):
                await self._send(self.preamble)
                async for item in source:
                    await self._send(await encode(item))
        except StreamClosedError:
            log.debug("Request %s: the client left its event stream", self.request_id)
        except TimeoutError:
            log.info("Request %s: let go of a client that takes nothing", self.request_id)
            cast("HTTP1Connection", self.request.connection).close()

    async def _send(self, data: bytes) -> None:
        # One at a time: tornado forgets a flush that another one overtakes.
        async with self._sending, asyncio.timeout(STALLED_SECONDS):
            self.write(data)
            await self.flush()

    async def _beat(self) -> None:
        with suppress(StreamClosedError, TimeoutError):
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                if not self._sending.locked():
                    await self._send(_HEARTBEAT)

    def on_connection_close(self) -> None:
        """Stop watching for a client that has gone."""
        super().on_connection_close()
        if self._stream is not None:
            self._stream.cancel()
