"""The language of the rules: a line's text with places in it.

``E: Unable to locate package {package}`` finds a line that contains the text, and keeps a word as
``package``. ``{name...}`` keeps any text, ``{...}`` skips any text, ``^`` is the line's beginning
and ``$`` its end. There are no regular expressions, so a match takes time linear in the length of
a line, whatever a repository prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_LINE = 2_000
"""Characters of a line that are looked at."""
MAX_VALUE = 200
_MAX_ATTEMPTS = 8
"""Places of a line where a match is tried."""
_MIN_LITERAL = 3

_PLACE = re.compile(r"\{([a-z_]{0,30})(\.\.\.)?\}")
_QUOTES = "'\"`\u2018\u2019\u201c\u201d"
_AFTER_WORD = ".,;:"


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    any_text: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern over a line."""

    text: str
    literals: tuple[str, ...]
    """One more than there are places; those at the ends may be empty."""
    places: tuple[_Place, ...]
    at_start: bool
    at_end: bool
    needle: str
    """The longest literal: a line without it cannot match."""

    @property
    def names(self) -> frozenset[str]:
        """The values that a match has."""
        return frozenset(place.name for place in self.places if place.name)

    def match(self, line: str) -> Mapping[str, str] | None:
        """Return the values, or None."""
        if self.needle not in line:
            return None
        first = self.literals[0]
        if self.at_start:
            return self._match_at(line, 0) if line.startswith(first) else None
        if not first:  # a place begins the pattern
            return self._match_at(line, 0)
        at = line.find(first)
        for _ in range(_MAX_ATTEMPTS):
            if at < 0:
                return None
            if (values := self._match_at(line, at)) is not None:
                return values
            at = line.find(first, at + 1)
        return None

    def _match_at(self, line: str, at: int) -> dict[str, str] | None:
        values: dict[str, str] = {}
        at += len(self.literals[0])
        for place, literal in zip(self.places, self.literals[1:], strict=True):
            end = self._find_end(line, at, place, literal)
            if end is None:
                return None
            found = line[at:end]
            if not self.literals[0] and at == 0 and not self.at_start and not place.any_text:
                found = found.rpartition(" ")[2]  # the last word before the text
            value = _read(found, place)
            if value is None:
                return None
            if place.name:
                values[place.name] = value
            at = end + len(literal)
        return values if not self.at_end or at >= len(line) else None

    def _find_end(self, line: str, at: int, place: _Place, literal: str) -> int | None:
        if literal:
            found = line.rfind(literal, at) if self._ends_line(literal) else line.find(literal, at)
            return None if found < 0 else found
        if place.any_text:
            return len(line)
        space = line.find(" ", at)
        return len(line) if space < 0 else space

    def _ends_line(self, literal: str) -> bool:
        return self.at_end and literal is self.literals[-1]


def _read(text: str, place: _Place) -> str | None:
    """Return a place's value; None if the text can't be one."""
    if place.any_text:
        text = text.strip()
        if not place.name:
            return ""
        return (text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…") or None
    if not text or len(text) > MAX_VALUE or " " in text:
        return None
    return text.strip(_QUOTES).rstrip(_AFTER_WORD).strip(_QUOTES) or None


def read_pattern(text: str) -> Pattern:
    """Read a pattern. Raises ValueError, which says what to write instead."""
    at_start, at_end = text.startswith("^"), text.endswith("$")
    body = text[at_start : len(text) - at_end]
    pieces = _PLACE.split(body)
    literals = tuple(pieces[::3])
    places = tuple(
        _Place(name, any_text=bool(dots))
        for name, dots in zip(pieces[1::3], pieces[2::3], strict=True)
    )
    needle = max(literals, key=len)
    if len(needle.strip()) < _MIN_LITERAL:
        raise ValueError(
            f"{text!r} needs a text of {_MIN_LITERAL} characters outside of {{places}}"
        )
    if any(not literal for literal in literals[1:-1]):
        raise ValueError(f"{text!r} has two places without a text between them")
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError(f"{text!r}: a place is {{name}}, {{name...}} or {{...}}, in lower case")
    if any(not place.name and not place.any_text for place in places):
        raise ValueError(f"{text!r}: a place without a name is {{...}}")
    return Pattern(text, literals, places, at_start, at_end, needle)
