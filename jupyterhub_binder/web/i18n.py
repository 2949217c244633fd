"""The languages of the pages: their catalogues, and which of them a request speaks.

English is the source; every other language is a folder of ``locale`` with one catalogue, read
when a page first needs it. Which texts there are is decided where they are written: templates,
scripts, views. The REST API, the logs and the commands speak English.
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
MOST_CHARACTERS = 2000

_SCRIPTS = "/static/"
_speaking: ContextVar[str] = ContextVar("binder_language", default=SOURCE)


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues that is translated where it is shown."""
    return message


SENTENCES = (
    N_("This hub is about to be upgraded. Builds wait until that is done."),
    N_("The build was cancelled."),
    N_("The hub is busy. Try again in a moment."),
    N_("Is not used: another file takes precedence"),
    N_("Git repository"),
    N_("%(label)s has no branch, tag or commit %(ref)s."),
    N_("%(label)s is empty, or has no default branch: name a branch."),
    N_("This hub finds no host called %(host)s."),
    N_("This hub does not fetch repositories from %(host)s."),
    N_("%(host)s could not be read by git: try again later."),
    N_("%(host)s did not answer within %(seconds)s seconds: try again later."),
    N_("%(host)s did not answer: try again later."),
    N_(
        "You have %(used)s builds waiting or running, and may have %(most)s. "
        "Wait for one to end, or cancel one."
    ),
    N_(
        "You keep %(used)s environments, and may keep %(most)s. Delete one that you no longer need."
    ),
    N_("uv could not install the packages: %(why)s"),
    N_("repo2docker could not build the image: %(why)s"),
    N_(
        "The environment takes more than the %(most)s MiB that this hub allows. "
        "Name fewer or smaller packages."
    ),
    N_(
        "Something went wrong inside the service. "
        "Its administrators find it in the log as request %(request)s."
    ),
)
"""What other parts of the service say, and people meet often, beside the errors without values."""


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


def say(message: str) -> str:
    """Return a sentence of another part of the service in the language that is spoken.

    Those parts speak English. What the catalogue has as it stands is translated; of sentences
    with values in them those of `SENTENCES`; any other stays as it is.
    """
    if spoken() == SOURCE or not message:
        return message
    translated = gettext(message)
    if translated != message:
        return translated
    for sentence, pattern in _patterns().items():
        if found := pattern.fullmatch(message[:MOST_CHARACTERS]):
            return gettext(sentence, **found.groupdict())
    return message


@functools.cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """Return each sentence of `SENTENCES` as a pattern that finds its values again."""
    return {
        sentence: re.compile(
            re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+?)", re.escape(sentence)), re.DOTALL
        )
        for sentence in SENTENCES
    }


def number(value: float, *, places: int = 0) -> str:
    """Return a number as the language writes it: ``1,041``, ``1.041``."""
    return format_decimal(
        value, format=f"#,##0.{'0' * places}" if places else "#,##0", locale=spoken()
    )


def day(value: date) -> str:
    """Return a day: ``14 May 2025``, ``14.05.2025``."""
    return format_date(value, locale="en_GB" if spoken() == SOURCE else spoken())
