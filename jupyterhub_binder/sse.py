"""Server-sent events, the reading side: bytes in, events out, however they are cut.

Knows nothing of HTTP, reconnecting or what an event means.
"""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream, as the HTML standard reads it."""

    event: str
    """Its name; ``message`` where the stream gave none."""
    data: str
    id: str
    """The last id that the stream gave, empty where it gave none: resume after it."""

    def json(self) -> dict[str, Any]:
        """Return the data as a JSON object; an empty one for whatever else it is."""
        try:
            value = json.loads(self.data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class EventParser:
    """Turns a stream's bytes into events. Comments, heartbeats and half events yield nothing."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that these bytes complete."""
        text = self._rest + self._decoder.decode(data)
        # A return at the end may be the first half of a line's end.
        held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._rest = rest + held
        events = (self._take(line) for line in lines)
        return [event for event in events if event is not None]

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name, self._data
        self._name, self._data = "", []
        return ServerEvent(name or "message", "\n".join(data), self._id) if data else None
