"""Terminal codes in what programs say: in sentences and plain logs they are taken out."""

from __future__ import annotations

import re

_CODE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")


def without_escapes(text: str) -> str:
    """Return a text without its terminal codes: colours, titles, moves of the cursor."""
    return _CODE.sub("", text) if "\x1b" in text else text
