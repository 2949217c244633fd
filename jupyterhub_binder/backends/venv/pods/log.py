"""Reads the log of a pod across broken connections, so that each line comes once."""

from __future__ import annotations

from jupyterhub_binder.utils.lines import LineSplitter


class PodLog:
    """The log of one pod, whose lines begin with their time.

    Times have nanoseconds and a space after them, and sort as texts.
    """

    def __init__(self) -> None:
        self.since = ""
        """From when to read on: the time of the last line, in whole seconds."""
        self._last = self._known = ""
        self._rest = b""
        self._splitter = LineSplitter()

    def begin(self) -> None:
        """Note a new connection, which repeats the lines of `since`."""
        self._known, self._rest = self._last, b""

    def feed(self, data: bytes) -> list[str]:
        """Return the new lines."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in whole:
            stamp, _, text = line.partition(b" ")
            if (time := _sortable(stamp)) <= self._known:
                continue
            self._last = max(self._last, time)
            self.since = f"{self._last[:19]}Z"
            found += self._splitter.feed(text + b"\n")
        return found

    def end(self) -> list[str]:
        """Return the rest, a line without its end."""
        return self.feed(b"\n") if self._rest else []


def _sortable(stamp: bytes) -> str:
    """Return a time with all nine digits; Kubernetes leaves out zeros at the end."""
    date, _, fraction = stamp.decode("ascii", "replace").rstrip("Z").partition(".")
    return f"{date}.{fraction:0<9}"
