"""Says what other parts of the service say in another language, by the catalogues of the pages.

Those parts speak English and know no catalogue. A sentence without values is found as it stands;
one with values is found again by `SENTENCES`, which has all that people meet: a test fails where
one is missing. What another program says stays as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jupyterhub_binder.web.i18n import SOURCE, gettext, spoken
from jupyterhub_binder.web.sentence_table import PARTS, SENTENCES

MOST_CHARACTERS = 2000
"""Of a sentence that is looked for; a longer one stays as it is."""

_VALUE = re.compile(r"%\((\w+)\)s")
_QUOTED = re.compile(r"'(%\(\w+\)s)'")
_SENTENCE_ENDS = re.compile(r"[.:!?]\s")
_SPACE = re.compile(r"\s")


def say(message: str) -> str:
    """Return a sentence of another part of the service in the language that is spoken.

    Those parts speak English. What the catalogue has as it stands is translated; of sentences
    with values in them those of `SENTENCES`, with or without a path before them; any other
    stays as it is.
    """
    if spoken() == SOURCE or not 0 < len(message) <= MOST_CHARACTERS:
        return message
    return _find(message) or _find_after_path(message) or message


def _find(message: str) -> str:
    """Return a sentence translated; empty if it is none that we know."""
    translated = gettext(message)
    if translated != message:
        return translated
    for form in _sentences():
        if (values := form.read(message)) is not None:
            parts = {name: _find_part(value) or value for name, value in values.items()}
            return gettext(form.text, **parts)
    return ""


def _find_part(text: str) -> str:
    """Return a part of a sentence translated; empty if it is none that we know."""
    for form in _parts():
        if (values := form.read(text)) is not None:
            return gettext(form.text, **values)
    return ""


def _find_after_path(message: str) -> str:
    where, colon, rest = message.partition(": ")
    if not colon or " " in where:
        return ""
    translated = _find(rest) or _find_part(rest)
    return translated and f"{where}: {translated}"


@dataclass(frozen=True, slots=True)
class _Form:
    """A text with places for values, taken apart."""

    text: str
    names: tuple[str, ...]
    between: tuple[str, ...]
    """What stands before, between and after the values."""
    never_first: re.Pattern[str]
    """What a value at the beginning does not hold: it would swallow what is none of it."""

    def read(self, said: str) -> Mapping[str, str] | None:
        """Return the values that a text has in the places of this form; None if it has another.

        A value ends where what follows it is first found, so that this takes linear time.
        """
        if not self.names:
            return {} if said == self.text else None
        first, *middle, last = self.between
        if not (said.startswith(first) and said.endswith(last)):
            return None
        values, place, end = [], len(first), len(said) - len(last)
        for separator in middle:
            found = said.find(separator, place, end)
            if found < 0:
                return None
            values.append(said[place:found])
            place = found + len(separator)
        values.append(said[place:end])
        if not all(values) or (not first and self.never_first.search(values[0])):
            return None
        return dict(zip(self.names, values, strict=True))


def _take_apart(texts: Iterable[str], never_first: re.Pattern[str]) -> tuple[_Form, ...]:
    """Return texts as forms, those with the most words of their own first."""
    forms = []
    for text in texts:
        # Python's repr puts what has an apostrophe in it between double quotes.
        for spelled in dict.fromkeys((text, _QUOTED.sub(r'"\1"', text))):
            between, names = _VALUE.split(spelled)[::2], _VALUE.findall(spelled)
            forms.append(_Form(text, tuple(names), tuple(between), never_first))
    return tuple(sorted(forms, key=lambda form: -sum(map(len, form.between))))


@functools.cache
def _sentences() -> tuple[_Form, ...]:
    return _take_apart(SENTENCES, _SENTENCE_ENDS)


@functools.cache
def _parts() -> tuple[_Form, ...]:
    return _take_apart(PARTS, _SPACE)
