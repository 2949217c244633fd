"""Characters in what programs say that are no text: terminal codes, and what no store takes."""

from __future__ import annotations

import re

_CODE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


def without_escapes(text: str) -> str:
    """Return a text without its terminal codes: colours, titles, moves of the cursor."""
    return _CODE.sub("", text) if "\x1b" in text else text


_NO_TEXT = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r\x1b\b"},
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
}
"""Control characters to their visible pictures, halves of surrogate pairs to what replaces text."""


def storable(text: str) -> str:
    """Return a text that can be kept and sent; tab, line ends, escape and backspace stay.

    A database takes no NUL, and UTF-8 no half of a surrogate pair, which JSON and YAML can write.
    """
    return text.translate(_NO_TEXT)
