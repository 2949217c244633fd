"""A start's messages on the hub's spawn page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from jupyterhub_binder.utils.concurrency import Broadcast
from jupyterhub_binder.utils.sse import ServerEvent
from jupyterhub_binder.utils.text import without_escapes

MAX_LINES = 1000
"""Maximum log lines; the build's own page shows all."""

_MAX_CHARACTERS = 2000


class StartLog:
    """One start's messages, for any number of pages."""

    def __init__(self) -> None:
        self._said: Broadcast[dict[str, Any]] = Broadcast(keep=2 * MAX_LINES)
        self.lines = 0

    @property
    def closed(self) -> bool:
        """Whether the log has ended."""
        return self._said.closed

    def close(self) -> None:
        """End the log. Idempotent."""
        self._said.close()

    def read(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all progress events until closed."""
        return self._said.read()

    def say(self, message: str, **more: Any) -> None:
        """Add a message unless closed."""
        if not self.closed:
            self._said.publish({"message": message, **more})

    def show(self, event: ServerEvent) -> int:
        """Add an event; return its sequence number or 0."""
        data = event.json()
        if event.event == "build":
            self._show_standing(data)
            return 0
        message = str(data.get("message", ""))
        if not message.endswith("\r"):  # the next line replaces a provisional one
            self._show_line(message)
        seq = data.get("seq")
        return seq if isinstance(seq, int) else 0

    def _show_line(self, message: str) -> None:
        self.lines += 1
        text = without_escapes(message).strip()
        if self.lines < MAX_LINES and text:
            self.say(text[:_MAX_CHARACTERS])
        elif self.lines == MAX_LINES:
            self.say("The rest of the log is on the build's page.")

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
