"""Makes untrusted text safe to show in a terminal.

Escape sequences could move the cursor, set the title or type commands.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from babel.dates import format_timedelta
from traitlets.config.application import LevelFormatter

from jupyterhub_binder.utils.text import ACTS_IN_LINE, ESCAPE, without_escapes

_RESET = "\x1b[0m"


def plain(value: object) -> str:
    """Return one line without control characters."""
    return ACTS_IN_LINE.sub("", without_escapes(str(value)))


def coloured(text: str) -> str:
    """Return a log line with only its colours, reset at the end."""
    parts, position, colours = [], 0, False
    for match in ESCAPE.finditer(text):
        parts.append(ACTS_IN_LINE.sub("", text[position : match.start()]))
        if match["sgr"] is not None:
            parts.append(match[0])
            colours = True
        position = match.end()
    parts.append(ACTS_IN_LINE.sub("", text[position:]))
    return "".join(parts) + (_RESET if colours else "")


class OneLineFormatter(LevelFormatter):
    """Writes each message on one line: no one can forge log lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Escape control characters."""
        record.message = ACTS_IN_LINE.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)


def duration(seconds: float | None) -> str:
    """Format a duration: ``8 s``, ``1:24``, ``2:10:00``."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shorten(text: str, max_length: int) -> str:
    """Shorten a text by cutting out its middle."""
    if len(text) <= max_length:
        return text
    if max_length < 2:
        return "…"[:max_length]
    head = (max_length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (max_length - 1 - head) :]}"


def ago(time: str | None, *, now: datetime | None = None) -> str:
    """Say how long ago an ISO 8601 time was."""
    if not time:
        return ""
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(time)).total_seconds()
    except (ValueError, TypeError):
        return ""
    if seconds >= 45:
        return format_timedelta(
            timedelta(seconds=-seconds), "minute", add_direction=True, locale="en"
        )
    return "just now"
