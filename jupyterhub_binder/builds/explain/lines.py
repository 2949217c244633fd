"""The lines of a log as the rules see them: without colours, drawing and the marks of builders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jupyterhub_binder.builds.explain.patterns import MAX_LINE
from jupyterhub_binder.utils.text import CONTROL, without_escapes

# What BuildKit puts before each line: the step's number and the time since it began.
_STEP = re.compile(r"#\d{1,6} (\d{1,9}(\.\d{1,6})? )?")
_DRAWING = re.compile("[\\s\u00d7\u2570\u251c\u2502\u2500\u25b6\u256f\u256d\u256e>|]+")
_INDENT = re.compile("\\s+\u2502?\\s*(?=[^\\s\u2570\u251c\u2502\u00d7])")
_BEGINS = ("\u2570\u2500\u25b6", "\u251c\u2500\u25b6", "\u00d7")
"""What uv draws before a sentence."""
_CAUSE = "cause: "
"""What newer versions of uv write there."""
_MAX_JOINED = 12
"""Lines of one wrapped sentence."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line, or a wrapped sentence under the number of its first line."""

    seq: int
    text: str


def _mark(text: str) -> int:
    match = _STEP.match(text)
    return match.end() if match else 0


def read_lines(lines: Iterable[tuple[int, str]]) -> Iterator[LogLine]:
    """Yield the lines to look at, with uv's wrapped sentences joined."""
    seq, parts = 0, []
    for number, raw in lines:
        text = CONTROL.sub("", without_escapes(raw[: 2 * MAX_LINE]))[:MAX_LINE]
        text = text[_mark(text) :].rstrip()
        goes_on = _INDENT.match(text) and not text.lstrip().startswith(_CAUSE)
        if parts and len(parts) < _MAX_JOINED and goes_on:
            parts.append(_DRAWING.sub(" ", text, count=1).strip())
            continue
        if parts:
            yield LogLine(seq, " ".join(parts)[:MAX_LINE])
            parts = []
        bare = text.lstrip()
        if bare.startswith(_BEGINS):
            seq, parts = number, [_DRAWING.sub("", bare, count=1)]
        elif bare.startswith(_CAUSE):
            seq, parts = number, [bare.removeprefix(_CAUSE)]
        elif bare:
            yield LogLine(number, bare)
    if parts:
        yield LogLine(seq, " ".join(parts)[:MAX_LINE])
