"""Text for terminals: what a stranger wrote is made harmless before it is shown.

A repository's name or log line may hold escape sequences that move the cursor, set the
window's title or answer for the person; only colours and weights pass, and only in logs.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime

from traitlets.config.application import LevelFormatter

_ESCAPE = re.compile(
    r"""
    \x1b\[ (?P<sgr>[0-9;:]*) m                       # colours, weights: the one kind that may stay
    | (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]            # other control sequences
    | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])        # strings: titles, links, device control
      [^\x1b\x07\x9c]* (?:\x1b\\|\x07|\x9c|$)
    | \x1b [ -/]* [0-~]                              # two-letter escapes
    """,
    re.VERBOSE,
)
# Controls but the tab; line and paragraph separators; marks that turn the reading direction.
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_RESET = "\x1b[0m"


def plain(value: object) -> str:
    """Return a text for one line of a terminal, without any control character."""
    return _CONTROLS.sub("", _ESCAPE.sub("", str(value)))


def coloured(text: str) -> str:
    """Return a log line with its colours, which end with it, and nothing else that acts."""
    parts, position, colours = [], 0, False
    for match in _ESCAPE.finditer(text):
        parts.append(_CONTROLS.sub("", text[position : match.start()]))
        if match["sgr"] is not None:
            parts.append(match[0])
            colours = True
        position = match.end()
    parts.append(_CONTROLS.sub("", text[position:]))
    return "".join(parts) + (_RESET if colours else "")


class OneLineFormatter(LevelFormatter):
    """Writes a message of a log on one line: nobody's words become lines of their own.

    What git or a host said is among them; a stack trace that follows keeps its lines.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, with escapes in the place of control characters."""
        record.message = _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)


def duration(seconds: float | None) -> str:
    """Write a duration as people say it: ``8 s``, ``1:24``, ``2:10:00``."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, what is too much left out of its middle."""
    if len(text) <= most:
        return text
    if most < 2:
        return "…"[:most]
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def ago(time: str | None, *, now: datetime | None = None) -> str:
    """Write how long ago an ISO 8601 time was; the empty text for none."""
    if not time:
        return ""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if (count := int(seconds // size)) >= 1:
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"
