"""Server-sent events.

Each stream waits for its client, so a slow client holds at most one batch.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tornado.iostream import StreamClosedError

from jupyterhub_binder.errors import BinderError, NotAllowed, NotFound
from jupyterhub_binder.model import BuildEvent
from jupyterhub_binder.utils.time import isoformat
from jupyterhub_binder.web.api.parse import whole_number
from jupyterhub_binder.web.handlers import APIHandler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tornado.http1connection import HTTP1Connection

T = TypeVar("T")

log = logging.getLogger("jupyterhub_binder.web")

HEARTBEAT_SECONDS = 15.0
RIGHTS_SECONDS = 60.0
"""How old what a stream knows of its person's rights may be; the hub's answer is cached longer."""

STALLED_SECONDS = 90.0
"""A client that takes no data for this long is disconnected."""

_RECONNECT = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"


def encode_events(events: Iterable[BuildEvent]) -> bytes:
    """Encode log lines; sequence numbers are ids."""
    return "".join(map(_encode_event, events)).encode("ascii")


def _encode_event(event: BuildEvent) -> str:
    return (
        f'id: {event.seq}\ndata: {{"seq":{event.seq},"time":"{isoformat(event.time)}",'
        f'"phase":"{event.phase}","message":{encode_basestring_ascii(event.message)}}}\n\n'
    )


def encode_named(name: str, value: Any) -> bytes:
    """Encode a named event with JSON data."""
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode("ascii")


class EventsHandler(APIHandler):
    """Sends an iterator's events until it ends or the client disconnects."""

    preamble = _RECONNECT
    """Bytes sent before the first event."""

    _stream: asyncio.Task[None] | None = None

    def initialize(self) -> None:
        """Prepare for one request."""
        self._sending = asyncio.Lock()
        self._look_again = _next_look()
        self._looking: asyncio.Task[None] | None = None

    async def require_right(self) -> None:
        """Raise NotFound or NotAllowed if the person may no longer follow this. Asked now and then.

        `me` is then the person as the hub knows them by now.
        """

    def last_event_id(self, after: int) -> int:
        """Return the larger of `after` and ``Last-Event-ID``. Raises InvalidInput."""
        header = self.request.headers.get("Last-Event-ID", "").strip()
        return max(after, whole_number(header, "Last-Event-ID")) if header else after

    async def send_events(
        self, source: AsyncIterator[T], encode: Callable[[T], Awaitable[bytes]]
    ) -> None:
        """Send events with heartbeats. Raises LimitReached before the first."""
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
            if self._looking is not None:
                self._looking.cancel()
        if not self._stream.cancelled() and (error := self._stream.exception()) is not None:
            raise error

    async def _pump(self, source: Any, encode: Callable[[T], Awaitable[bytes]]) -> None:
        try:
            async with aclosing(source):
                await self._send(self.preamble)
                async for item in source:
                    await self._send(await encode(item))
        except StreamClosedError:
            log.debug("Request %s: the client closed its event stream", self.request_id)
        except TimeoutError:
            log.info("Request %s: disconnected a client that reads nothing", self.request_id)
            cast("HTTP1Connection", self.request.connection).close()

    async def _send(self, data: bytes) -> None:
        # Tornado forgets a flush when another one starts before it ends.
        async with self._sending, asyncio.timeout(STALLED_SECONDS):
            self.write(data)
            await self.flush()

    async def _beat(self) -> None:
        with suppress(StreamClosedError, TimeoutError):
            while True:
                await asyncio.sleep(HEARTBEAT_SECONDS)
                if not self._sending.locked():
                    await self._send(_HEARTBEAT)
                if time.monotonic() >= self._look_again and not self._is_looking():
                    self._look_again = _next_look()
                    self._looking = asyncio.create_task(self._look(), name="rights of a stream")

    def _is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    async def _look(self) -> None:
        """End the stream if the person has lost the right, and keep it if the hub doesn't answer."""
        try:
            user = await self.services.streams.identify(self.token, self.fetch_user)
            if user is not None:
                self.user = user
                await self.require_right()
                return
        except (NotFound, NotAllowed) as error:
            log.debug("Request %s: %s", self.request_id, error)
        except BinderError as error:
            log.info("Request %s: could not check rights: %s", self.request_id, error)
            return
        if self._stream is not None:
            self._stream.cancel()

    def on_connection_close(self) -> None:
        """Stop when the client disconnects."""
        super().on_connection_close()
        if self._stream is not None:
            self._stream.cancel()


def _next_look() -> float:
    """Return when to look at rights again: not all streams at the same time."""
    return time.monotonic() + RIGHTS_SECONDS * random.uniform(1, 1.5)  # noqa: S311
