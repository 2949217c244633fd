r"""What BinderHub says during a build, turned into lines, an image or a failure; pure.

Owns the reading of its events as they were observed: phases left out, parts of lines and many
lines in one event, Docker's JSON in messages, and errors that come with status 200. What is
done about a failure is decided elsewhere.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_binder.backends.r2d_log import explain
from jupyterhub_binder.escapes import without_escapes
from jupyterhub_binder.lines import LineSplitter
from jupyterhub_binder.model import Line, Phase

_PHASES = {
    "waiting": Phase.WAITING,
    "fetching": Phase.FETCHING,
    "building": Phase.BUILDING,
    "pushing": Phase.PUSHING,
}
_FAILED = frozenset({"failed", "failure"})
_DONE = frozenset({"built", "ready"})

_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,511}")
_COMMAND_FAILED = re.compile(
    r"Error during build: Command .* returned non-zero exit status", re.DOTALL
)
_DOCKER = frozenset(
    {"aux", "error", "errorDetail", "id", "progress", "progressDetail", "status", "stream"}
)
"""What Docker's JSON has; an object with anything else is what a build printed."""
_REMEMBERED = 60
"""Lines in which the reason of a failure without words is looked for."""
_CHUNK = 65_536
_MOST_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Ready:
    """The image is there."""

    image: str


@dataclass(frozen=True, slots=True)
class Failure:
    """BinderHub says that it is over."""

    message: str
    """On one line; empty where nothing says why."""
    status: int | None = None
    """Set where BinderHub refused the request, and no build was begun."""
    worded: bool = True
    """Whether BinderHub gave a message itself; if not, a second failure with one may follow."""


Said = Line | Ready | Failure


class EventReader:
    """Reads the events of one connection, in order; what follows a `Ready` means nothing."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self._splitter = LineSplitter()
        self._last: deque[str] = deque(maxlen=_REMEMBERED)

    def read(self, data: str) -> Iterator[Said]:
        """Yield what one event's data says."""
        event = _parse(data)
        phase = str(event.get("phase") or "").lower()
        message = _text(event.get("message"))
        if phase in _FAILED:
            yield from self.end()
            yield Failure(self._reason(message), _status(event), worded=bool(message.strip()))
        elif phase in _DONE:
            yield from self.end()
            yield _ready(event)
        else:
            yield from self._turn_to(_PHASES.get(phase, self.phase))
            yield from self._lines(readable(message))

    def _turn_to(self, phase: Phase) -> Iterator[Line]:
        if phase is not self.phase:
            yield from self.end()
            self.phase = phase

    def _lines(self, message: str) -> Iterator[Line]:
        # A lone half of a surrogate pair is valid JSON, and no text.
        data = message.encode("utf-8", "replace")
        for at in range(0, len(data), _CHUNK):
            for text in self._splitter.feed(data[at : at + _CHUNK]):
                yield self._line(text)

    def end(self) -> Iterator[Line]:
        """Yield the line that has begun and will not be ended any more."""
        for text in self._splitter.end():
            yield self._line(text)

    def _line(self, text: str) -> Line:
        # What is said before a build begins is no reason: BinderHub's greeting, its looking around.
        if self.phase is not Phase.WAITING:
            self._last.append(text)
        return Line(self.phase, text)

    def _reason(self, message: str) -> str:
        """Return a failure's words; those of the log where BinderHub has none that say why."""
        text = _plain(message)
        if not text or _COMMAND_FAILED.match(text):
            text = _plain(explain(self._last)) or text
        return text.removeprefix("Error during build: ")[:_MOST_REASON]


def _plain(text: str) -> str:
    """Return a text on one line, without colours."""
    return " ".join(without_escapes(text).split())


def _parse(data: str) -> Mapping[str, Any]:
    """Return an event; what is not JSON is shown as a message, its beginning at least."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return {"message": data[:_MOST_REASON] + "\n"}
    return event if isinstance(event, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _status(event: Mapping[str, Any]) -> int | None:
    status = event.get("status_code")
    return status if isinstance(status, int) else None


def _ready(event: Mapping[str, Any]) -> Said:
    """Return the image; a server that was started in spite of `build_only` changes nothing."""
    name = _text(event.get("imageName")) or _text(event.get("image"))
    if _IMAGE.fullmatch(name):
        return Ready(name)
    return Failure("BinderHub finished the build, and did not say a valid name of its image.")


def readable(message: str) -> str:
    """Return a message as text: Docker's own JSON objects become a line, or nothing."""
    if not message.lstrip().startswith("{"):
        return message
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return message
    if not value or not isinstance(value, Mapping) or value.keys() - _DOCKER:
        return message
    return _docker_line(value, message)


def _docker_line(value: Mapping[str, Any], message: str) -> str:
    aux = value.get("aux")
    if isinstance(aux, Mapping):
        digest = _text(aux.get("Digest")) or _text(aux.get("ID"))
        return f"{'Pushed' if 'Digest' in aux else 'Made'} {digest}\n" if digest else ""
    for key in ("error", "stream", "status"):
        if text := _text(value.get(key)):
            progress = _text(value.get("progress"))
            return text if key == "stream" else f"{text} {progress}".rstrip() + "\n"
    return message
