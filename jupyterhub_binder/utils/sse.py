"""Server-sent events: a parser, and a follower that reconnects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from jupyterhub_binder.utils.retry import Backoff

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event as in the HTML standard."""

    event: str
    """``message`` by default."""
    data: str
    id: str
    """The stream's last id, or empty."""

    def json(self) -> dict[str, Any]:
        """Return the data; {} if not a JSON object."""
        try:
            value = json.loads(self.data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


MAX_CHARACTERS = 8 * 2**20
"""Limit of an untrusted event."""

_LINE_END = re.compile(r"\r\n|\n|\r")


class EventParser:
    """Parses a stream; skips comments, cuts events after `max_characters`."""

    def __init__(self, *, max_characters: int = MAX_CHARACTERS) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._max_characters = max_characters
        self._pieces: list[str] = []
        self._begun = False
        """Whether the current line has any character, kept or not."""
        self._room = max_characters
        """What the event may still take."""
        self._after_return = False
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the completed events."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if self._after_return and text[0] == "\n":
            text = text[1:]  # the second half of a line end
        self._after_return = text.endswith("\r")
        *lines, rest = _LINE_END.split(text)
        events = (self._take(line) for line in lines)
        found = [event for event in events if event is not None]
        self._keep(rest)
        return found

    def _keep(self, text: str) -> None:
        self._begun = self._begun or bool(text)
        if kept := text[: self._room]:
            self._pieces.append(kept)
            self._room -= len(kept)

    def _take(self, end: str) -> ServerEvent | None:
        self._keep(end)
        line, begun = "".join(self._pieces), self._begun
        self._pieces.clear()
        self._begun = False
        if not begun:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            return None
        self._room += len(line)
        if name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name, self._data
        self._name, self._data, self._room = "", [], self._max_characters
        return ServerEvent(name or "message", "\n".join(data), self._id) if data else None


# --- Following ----------------------------------------------------------------------------------

OpenStream = Callable[[str], AbstractAsyncContextManager[aiohttp.ClientResponse]]
"""Opens the stream after the event with this id."""


class StreamEnded(aiohttp.ClientPayloadError):
    """A stream ended before its last event."""


def _no_items(_: Exception) -> tuple[()]:
    return ()


async def read_events(response: aiohttp.ClientResponse) -> AsyncGenerator[ServerEvent, None]:
    """Yield the events of one connection."""
    parser = EventParser()
    async for data in response.content.iter_any():
        for event in parser.feed(data):
            yield event


async def follow(
    connect: Callable[[], AsyncGenerator[T, None]],
    *,
    passing: type[E],
    backoff: Backoff,
    on_lost: Callable[[E], Iterable[T]] = _no_items,
) -> AsyncGenerator[T, None]:
    """Yield the items of successive connections until one finishes.

    After `passing`, yield the items of `on_lost` and reconnect; raise when out of patience. Other
    errors are raised at once.
    """
    while True:
        try:
            async with aclosing(connect()) as items:
                async for item in items:
                    yield item
            return
        except passing as error:
            for item in on_lost(error):
                yield item
            if not await backoff.wait():
                raise


async def follow_events(
    open_stream: OpenStream,
    *,
    is_last: Callable[[ServerEvent], bool],
    passing: type[Exception],
    backoff: Backoff,
    after: str = "",
) -> AsyncGenerator[ServerEvent, None]:
    """Yield a stream's events up to the last, reconnecting as needed.

    `open_stream` raises `passing` for errors worth a retry, including `StreamEnded`. Each event
    resets the back-off.
    """
    last_id = after

    async def connect() -> AsyncGenerator[ServerEvent, None]:
        nonlocal last_id
        async with open_stream(last_id) as response, aclosing(read_events(response)) as events:
            async for event in events:
                backoff.reset()
                last_id = event.id or last_id
                yield event
                if is_last(event):
                    return
            raise StreamEnded("the stream ended unexpectedly")

    async with aclosing(follow(connect, passing=passing, backoff=backoff)) as events:
        async for event in events:
            yield event
