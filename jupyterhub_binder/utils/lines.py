"""Splits program output into lines as it arrives. Has almost no imports."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import IO

LINE_LIMIT = 16_384


class LineSplitter:
    r"""Splits output into lines; replaces invalid UTF-8 and breaks long lines.

    A line that ends in a carriage return is provisional. Of several received together, as from
    progress bars, only the last is kept.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Return the completed lines."""
        text = self._rest + self._decoder.decode(data).replace("\r\n", "\n")
        *whole, self._rest = text.split("\n")
        lines = [piece for line in whole for piece in _pieces(_overwritten(line))]
        # A trailing return may be the first half of a line end: wait for more.
        at = self._rest.rfind("\r", 0, max(len(self._rest) - 1, 0))
        if at >= 0:
            lines.append(_overwritten(self._rest[:at])[:LINE_LIMIT] + "\r")
            self._rest = self._rest[at + 1 :]
        while len(self._rest) > LINE_LIMIT:
            lines.append(self._rest[:LINE_LIMIT])
            self._rest = self._rest[LINE_LIMIT:]
        return lines

    def end(self) -> list[str]:
        """Return the rest."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return _pieces(_overwritten(rest)) if rest else []


def read_lines(output: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a pipe. Blocks."""
    splitter = LineSplitter()
    while data := os.read(output.fileno(), 65536):
        yield from splitter.feed(data)
    yield from splitter.end()


def _overwritten(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> list[str]:
    return [line[i : i + LINE_LIMIT] for i in range(0, len(line), LINE_LIMIT)] or [""]
