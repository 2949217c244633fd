"""The languages of the pages: catalogues, and the language of a request.

English is the source language. The REST API, logs and commands are in English, except for requests
from the pages' scripts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, datetime
from gettext import NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import Translations

import jupyterhub_binder
from jupyterhub_binder.model.text import Message, fill

SOURCE = "en"
"""The language of the texts in the code."""

DOMAIN = "jupyterhub_binder"
LOCALE_FOLDER = Path(jupyterhub_binder.__file__).parent / "locale"
MAX_PREFERENCES = 20

_SCRIPTS = "/static/"
_speaking: ContextVar[str] = ContextVar("binder_language", default=SOURCE)


def N_(message: LiteralString) -> Message:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues without translating it."""
    return Message(message)


# --- Catalogues -------------------------------------------------------------------------------


def available_languages() -> tuple[str, ...]:
    """Return the languages with a catalogue, English first."""
    found = sorted(path.parent.parent.name for path in LOCALE_FOLDER.glob("*/*/*.po"))
    return (SOURCE, *found)


@functools.cache
def read_catalogue(language: str) -> Catalog:
    """Return a catalogue; the English one is empty."""
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
    """Return the scripts' texts by English text; none for English."""
    return {
        str(message.id): str(message.string)
        for message in read_catalogue(language)
        if message.id and any(_SCRIPTS in place for place, _ in message.locations)
    }


# --- Which language ---------------------------------------------------------------------------


def choose_language(
    languages: Sequence[str], *, asked: str = "", remembered: str = "", accepted: str = ""
) -> str:
    """Choose the language: from the URL, the cookie, then the browser.

    The first of `languages` is the default; `accepted` is an ``Accept-Language`` header.
    """
    for wanted in (asked, remembered, *_preferences(accepted)):
        found = wanted if wanted in languages else wanted.partition("-")[0].lower()
        if found in languages:
            return found
    return languages[0]


def _preferences(header: str) -> list[str]:
    """Return the header's languages, best first."""
    weighed = []
    for part in header.split(",")[:MAX_PREFERENCES]:
        name, _, weight = part.strip().partition(";q=")
        number = float(weight) if re.fullmatch(r"[01](\.\d{1,3})?", weight) else 1.0
        if name and number:
            weighed.append((number, name))
    return [name for _, name in sorted(weighed, key=lambda each: -each[0])]


def speak(language: str) -> None:
    """Set the language of this task."""
    _speaking.set(language)


def spoken() -> str:
    """Return the language of this task."""
    return _speaking.get()


def own_names(languages: Iterable[str]) -> list[tuple[str, str]]:
    """Return each language with its own name: ``de``, ``Deutsch``."""
    return [(each, (Locale.parse(each, sep="_").display_name or each)) for each in languages]


def is_known(language: str) -> bool:
    """Say whether Babel has the language's formats."""
    try:
        Locale.parse(language, sep="_")
    except (UnknownLocaleError, ValueError):
        return False
    return True


# --- Words ------------------------------------------------------------------------------------


def gettext(message: str, **values: Any) -> str:
    """Translate a text, then insert the values."""
    text = _translations(spoken()).gettext(message)
    return text % values if values else text


def ngettext(one: str, many: str, count: int, **values: Any) -> str:
    """Translate a text with a number, ``num``."""
    text = _translations(spoken()).ngettext(one, many, count)
    return text % {"num": number(count), **values}


def say(message: str) -> str:
    """Translate a message if the catalogue has it."""
    if not isinstance(message, Message) or not message.text:
        return message
    values = {
        name: say(value) if isinstance(value, str) else value
        for name, value in message.values.items()
    }
    if not message.many:
        return fill(_translations(spoken()).gettext(message.text), values)
    count = message.values["num"]
    assert isinstance(count, int | float)
    values["num"] = number(count)
    plural = 1 if count == 1 else max(2, int(count))
    return fill(translate_plural(message.text, message.many, plural), values)


def translate_plural(one: str, many: str, count: int) -> str:
    """Translate without inserting values: Jinja does that."""
    return _translations(spoken()).ngettext(one, many, count)


def number(value: float) -> str:
    """Format a number: ``1,041``, ``1.041``."""
    return _number(value, spoken())


@functools.lru_cache(maxsize=4096)
def _number(value: float, locale: str) -> str:
    return format_decimal(value, locale=locale)


def percent(value: float, *, signed: bool = False) -> str:
    """Format a share, or with its sign a change: ``93.5%``, ``+93,5 %``."""
    pattern = Locale.parse(spoken()).percent_formats[None].pattern.replace("##0", "##0.0")
    if signed:
        pattern = f"+{pattern};-{pattern}"
    return format_percent(value, pattern, locale=spoken())


def day(value: date) -> str:
    """Format a date: ``14 May 2025``, ``14.05.2025``."""
    return _day(value, "en_GB" if spoken() == SOURCE else spoken())


@functools.lru_cache(maxsize=1024)
def _day(value: date, locale: str) -> str:
    return format_date(value, locale=locale)


def moment(value: datetime, time_zone: str) -> str:
    """Format a time in a zone: ``Mon, 7 Dec 2026, 04:30``."""
    locale = "en_GB" if spoken() == SOURCE else spoken()
    local = value.astimezone(ZoneInfo(time_zone))
    return f"{format_skeleton('yMMMEd', local, locale=locale)}, {local:%H:%M}"
