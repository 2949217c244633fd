"""Lines out of what a program says, as it comes. Loads next to nothing."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import IO

LINE_LIMIT = 16_384
"""Characters after which a line is broken into several; a log line is for people to read."""


class LineSplitter:
    r"""Cuts decoded output into lines; invalid UTF-8 is replaced, over-long lines are broken.

    A line that a carriage return ends is provisional and keeps it: progress bars send many of
    those, so of several that come together only the last is kept.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that these bytes complete."""
        text = self._rest + self._decoder.decode(data).replace("\r\n", "\n")
        *whole, self._rest = text.split("\n")
        lines = [piece for line in whole for piece in _pieces(_overwritten(line))]
        # A trailing return may be the first half of a line's end: wait for what follows.
        at = self._rest.rfind("\r", 0, max(len(self._rest) - 1, 0))
        if at >= 0:
            lines.append(_overwritten(self._rest[:at])[:LINE_LIMIT] + "\r")
            self._rest = self._rest[at + 1 :]
        while len(self._rest) > LINE_LIMIT:
            lines.append(self._rest[:LINE_LIMIT])
            self._rest = self._rest[LINE_LIMIT:]
        return lines

    def end(self) -> list[str]:
        """Return what is left when the output ends."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return _pieces(_overwritten(rest)) if rest else []


def read_lines(output: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a pipe as they come, for a program that may block."""
    splitter = LineSplitter()
    while data := os.read(output.fileno(), 65536):
        yield from splitter.feed(data)
    yield from splitter.end()


def _overwritten(line: str) -> str:
    """Return what a terminal would show of a line in which carriage returns overwrite."""
    return line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> list[str]:
    return [line[i : i + LINE_LIMIT] for i in range(0, len(line), LINE_LIMIT)] or [""]
