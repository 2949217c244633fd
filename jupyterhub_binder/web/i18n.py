"""The languages of the pages: their catalogues, and which of them a request speaks.

English is the source; every other language is a folder of ``locale`` with one catalogue, read
when a page first needs it. Which texts there are is decided where they are written: templates,
scripts, views. The REST API (but to scripts of the pages), the logs and the commands speak English.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations

import jupyterhub_binder

SOURCE = "en"
"""The language of the texts in the code."""

DOMAIN = "jupyterhub_binder"
LOCALE_FOLDER = Path(jupyterhub_binder.__file__).parent / "locale"
MOST_PREFERENCES = 20

_SCRIPTS = "/static/"
_speaking: ContextVar[str] = ContextVar("binder_language", default=SOURCE)


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues that is translated where it is shown."""
    return message


# --- Catalogues -------------------------------------------------------------------------------


def available_languages() -> tuple[str, ...]:
    """Return the languages that there are, English first."""
    found = sorted(path.parent.parent.name for path in LOCALE_FOLDER.glob("*/*/*.po"))
    return (SOURCE, *found)


@functools.cache
def read_catalogue(language: str) -> Catalog:
    """Return a language's catalogue; that of English is empty."""
    if language == SOURCE:
        return Catalog(locale=SOURCE)
    path = LOCALE_FOLDER / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    with path.open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


@functools.cache
def _translations(language: str) -> NullTranslations:
    if language == SOURCE:
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(language))
    compiled.seek(0)
    return Translations(compiled)


@functools.cache
def script_words(language: str) -> Mapping[str, str]:
    """Return the texts of our scripts, by the English ones; none where it is English."""
    return {
        str(message.id): str(message.string)
        for message in read_catalogue(language)
        if message.id and any(_SCRIPTS in place for place, _ in message.locations)
    }


# --- Which language ---------------------------------------------------------------------------


def choose_language(
    languages: Sequence[str], *, asked: str = "", remembered: str = "", accepted: str = ""
) -> str:
    """Return what to speak: what was asked for, else remembered, else the browser's best.

    `languages` are those of this hub, the first for everybody else; `accepted` is an
    ``Accept-Language`` header.
    """
    for wanted in (asked, remembered, *_preferences(accepted)):
        found = wanted if wanted in languages else wanted.partition("-")[0].lower()
        if found in languages:
            return found
    return languages[0]


def _preferences(header: str) -> list[str]:
    """Return the languages of an ``Accept-Language`` header, the best first."""
    weighed = []
    for part in header.split(",")[:MOST_PREFERENCES]:
        name, _, weight = part.strip().partition(";q=")
        number = float(weight) if re.fullmatch(r"[01](\.\d{1,3})?", weight) else 1.0
        if name and number:
            weighed.append((number, name))
    return [name for _, name in sorted(weighed, key=lambda each: -each[0])]


def speak(language: str) -> None:
    """Let this task speak a language from now on."""
    _speaking.set(language)


def spoken() -> str:
    """Return the language that this task speaks."""
    return _speaking.get()


def own_names(languages: Iterable[str]) -> list[tuple[str, str]]:
    """Return each language with its name in itself: ``de``, ``Deutsch``."""
    return [(each, (Locale.parse(each, sep="_").display_name or each)) for each in languages]


def is_known(language: str) -> bool:
    """Say whether Babel knows how a language writes numbers and dates."""
    try:
        Locale.parse(language, sep="_")
    except (UnknownLocaleError, ValueError):
        return False
    return True


# --- Words ------------------------------------------------------------------------------------


def gettext(message: str, **values: Any) -> str:
    """Return a text in the language that is spoken, with values put in."""
    text = _translations(spoken()).gettext(message)
    return text % values if values else text


def ngettext(one: str, many: str, count: int, **values: Any) -> str:
    """Return a text that has a number in it, ``num``, in the form that the number asks for."""
    text = _translations(spoken()).ngettext(one, many, count)
    return text % {"num": number(count), **values}


def translate_plural(one: str, many: str, count: int) -> str:
    """Return the form that a number asks for, without any value: for Jinja, which puts them in."""
    return _translations(spoken()).ngettext(one, many, count)


def number(value: float, *, places: int = 0) -> str:
    """Return a number as the language writes it: ``1,041``, ``1.041``."""
    return format_decimal(
        value, format=f"#,##0.{'0' * places}" if places else "#,##0", locale=spoken()
    )


def day(value: date) -> str:
    """Return a day: ``14 May 2025``, ``14.05.2025``."""
    return format_date(value, locale="en_GB" if spoken() == SOURCE else spoken())
