"""Turns BinderHub's events into lines, an image or a failure. Pure.

It handles what BinderHub was seen to send: missing phases, partial and multiple lines in an event,
Docker's JSON in messages, and errors with status 200.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_binder.backends.repo2docker.steps import read_step
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.lines import LineSplitter
from jupyterhub_binder.utils.text import without_escapes

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
"""The keys of Docker's JSON; other objects are a build's output."""
_WAITS = Message("waiting for BinderHub to begin")
_CHUNK = 65_536
_MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Ready:
    """The image exists."""

    image: str


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """BinderHub ended the build without an image."""

    message: str
    """On one line; empty if unknown."""
    status: int | None = None
    """Set if BinderHub refused the request and began no build."""
    worded: bool = True
    """Whether BinderHub gave a message; if not, a second failure with one may follow."""


Said = Line | Ready | BuildFailure


class EventReader:
    """Reads the events of one connection in order; ignore all after `Ready`."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self._splitter = LineSplitter()

    def read(self, data: str) -> Iterator[Said]:
        """Yield the meaning of one event."""
        event = _parse(data)
        phase = str(event.get("phase") or "").lower()
        message = _text(event.get("message"))
        if phase in _FAILED:
            yield from self.end()
            yield BuildFailure(self._reason(message), _status(event), worded=bool(message.strip()))
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
        """Yield an unfinished last line."""
        for text in self._splitter.end():
            yield self._line(text)

    def _line(self, text: str) -> Line:
        if self.phase is Phase.WAITING:
            return Line(self.phase, text, _WAITS)
        return Line(self.phase, text, read_step(text))

    def _reason(self, message: str) -> str:
        """Return BinderHub's reason; empty if the log has it."""
        text = _plain(message)
        if _COMMAND_FAILED.match(text):
            return ""
        return text.removeprefix("Error during build: ")[:_MAX_REASON]


def _plain(text: str) -> str:
    """Return text on one line, without colours."""
    return " ".join(without_escapes(text).split())


def _parse(data: str) -> Mapping[str, Any]:
    """Parse an event; text that is not JSON becomes a message, shortened."""
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return {"message": data[:_MAX_REASON] + "\n"}
    return event if isinstance(event, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _status(event: Mapping[str, Any]) -> int | None:
    status = event.get("status_code")
    return status if isinstance(status, int) else None


def _ready(event: Mapping[str, Any]) -> Said:
    """Return the image, even if a server was launched despite `build_only`."""
    name = _text(event.get("imageName")) or _text(event.get("image"))
    if _IMAGE.fullmatch(name):
        return Ready(name)
    return BuildFailure(
        "BinderHub finished the build but did not return a valid image name. Tell your "
        "administrator."
    )


def readable(message: str) -> str:
    """Return a message as text; Docker's JSON becomes a line or nothing."""
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
