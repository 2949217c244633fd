"""Server-sent events, the reading side: bytes in, events out, however they are cut.

Knows nothing of HTTP, reconnecting or what an event means.
"""

from __future__ import annotations

import codecs
import json
import re
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


MOST_CHARACTERS = 8 * 2**20
"""What an event may hold by default; a stream may come from a stranger."""

_LINE_END = re.compile(r"\r\n|\n|\r")


class EventParser:
    """Turns a stream's bytes into events. Comments, heartbeats and half events yield nothing.

    Of an event with more than `most_characters` only the beginning is kept, so that a stream
    without end takes no memory without end.
    """

    def __init__(self, *, most_characters: int = MOST_CHARACTERS) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._most = most_characters
        self._pieces: list[str] = []
        """The line that has begun, as it came."""
        self._begun = False
        """Whether it has any character, kept or not."""
        self._room = most_characters
        """How many more characters of the event are kept."""
        self._after_return = False
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that these bytes complete."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if self._after_return and text[0] == "\n":
            text = text[1:]  # the second half of a line's end
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
        """Take in a line whose end has come."""
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
        self._name, self._data, self._room = "", [], self._most
        return ServerEvent(name or "message", "\n".join(data), self._id) if data else None
