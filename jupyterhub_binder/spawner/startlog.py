"""What a start tells the hub's spawn page: a build's lines, cut, plain, from the first for every page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from jupyterhub_binder.aio import Broadcast
from jupyterhub_binder.escapes import without_escapes
from jupyterhub_binder.sse import ServerEvent

MOST_LINES = 1000
"""How many lines of a build's log a spawn page is given; the build's own page has them all."""

_MOST_CHARACTERS = 2000


class StartLog:
    """The messages of one start, for any number of pages."""

    def __init__(self) -> None:
        self._said: Broadcast[dict[str, Any]] = Broadcast(keep=2 * MOST_LINES)
        self.lines = 0
        """How many lines of the build have come."""

    @property
    def closed(self) -> bool:
        """Say whether all has been said."""
        return self._said.closed

    def close(self) -> None:
        """Say that no more comes; may be called twice."""
        self._said.close()

    def read(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the hub's progress events from the first one on, until closed."""
        return self._said.read()

    def say(self, message: str, **more: Any) -> None:
        """Add a message, unless all has been said."""
        if not self.closed:
            self._said.publish({"message": message, **more})

    def show(self, event: ServerEvent) -> int:
        """Add an event of a build; return its sequence number, 0 for one without."""
        data = event.json()
        if event.event == "build":
            self._show_standing(data)
            return 0
        message = str(data.get("message", ""))
        if not message.endswith("\r"):  # provisional: the next line is shown in its place
            self._show_line(message)
        seq = data.get("seq")
        return seq if isinstance(seq, int) else 0

    def _show_line(self, message: str) -> None:
        self.lines += 1
        text = without_escapes(message).strip()
        if self.lines < MOST_LINES and text:
            self.say(text[:_MOST_CHARACTERS])
        elif self.lines == MOST_LINES:
            self.say("The log goes on, on the page of the build.")

    def _show_standing(self, build: Mapping[str, Any]) -> None:
        position = build.get("queue_position")
        expected, elapsed = build.get("expected_seconds"), build.get("elapsed_seconds")
        more: dict[str, Any] = {}
        if isinstance(expected, int | float) and isinstance(elapsed, int | float) and expected > 0:
            more["progress"] = 5 + round(35 * min(elapsed / expected, 1))
        if position:
            self.say(f"The build is number {position} in the queue", **more)
        elif build.get("phase"):
            self.say(f"Build: {build['phase']}", **more)
