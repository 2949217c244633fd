"""Escape sequences, control and invisible characters."""

from __future__ import annotations

import re
import unicodedata

ESCAPE = re.compile(
    r"""
    \x1b\[ (?P<sgr>[0-9;:]*) m                       # colours and weights
    | (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]            # other control sequences
    | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])        # strings: titles, links, device control
      [^\x1b\x07\x9c]* (?:\x1b\\|\x07|\x9c|$)
    | \x1b [ -/]* [0-~]                              # two-letter escapes
    """,
    re.VERBOSE,
)
"""`sgr` is set for a colour or weight."""

_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"
_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_ZERO_WIDTH = "\u200b-\u200d\u2060-\u2065\ufeff"

CONTROL = re.compile(f"[{_CONTROL}]")
"""All but tab and newline."""
ACTS_IN_LINE = re.compile(f"[\n{_CONTROL}{_DIRECTION}]")
"""Breaks a line, moves a cursor or changes the text direction."""
INVISIBLE = re.compile(f"[{_CONTROL}{_DIRECTION}{_ZERO_WIDTH}]")


def without_escapes(text: str) -> str:
    """Remove escape sequences."""
    return ESCAPE.sub("", text)


def one_line(text: str) -> str:
    """Replace invisible characters by spaces."""
    return " ".join("".join(c if is_printable(c) else " " for c in text).split())


def is_printable(character: str) -> bool:
    """Say whether a name may contain it: no control, surrogate or bidi override."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") and not (
        "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    )


_NOT_STORABLE = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r\x1b\b"},
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
}
"""Control characters to visible pictures, lone surrogates to U+FFFD."""


def storable(text: str) -> str:
    """Return a text that can be stored and sent; tab, newline, escape, backspace stay.

    Databases reject NUL, and UTF-8 lone surrogates, which JSON and YAML can contain.
    """
    return text.translate(_NOT_STORABLE)
