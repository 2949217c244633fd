"""Reading what a client sent: bodies, queries and headers, into checked values.

Small hand-written parsers: each names the field it refuses, and none needs a schema at run
time. What a value means (which repository, whose environment) is not decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from tornado.httputil import HTTPServerRequest

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import (
    MOST_ADDRESS_CHARACTERS,
    MOST_PATH_CHARACTERS,
    MOST_REF_CHARACTERS,
    MOST_SERVER_CHARACTERS,
    clean_path,
    clean_server_name,
)
from jupyterhub_binder.model import Link
from jupyterhub_binder.web.errors import TooLarge, UnsupportedMediaType

BODY_LIMIT = 65_536
"""Bytes of a request's body; the largest sensible one is far smaller."""

LARGEST_INTEGER = 2**31 - 1

E = TypeVar("E", bound=StrEnum)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class HasArguments(Protocol):
    """What of a tornado handler is needed to read a query."""

    def get_query_argument(self, name: str, default: Any = ...) -> Any:
        """Return a query argument, or the default."""


def json_object(request: HTTPServerRequest, allowed: Collection[str]) -> Fields:
    """Return the body's JSON object; no body at all is an empty one.

    Raises TooLarge, UnsupportedMediaType, or InvalidInput naming a key that is not allowed.
    """
    if len(request.body) > BODY_LIMIT:
        raise TooLarge(f"The body may have {BODY_LIMIT} bytes.", detail={"limit": BODY_LIMIT})
    if not request.body:
        return Fields({})
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("Send JSON, with the Content-Type application/json.")
    value = _load(request.body)
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    for key in value:
        if key not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidInput(
                f"Unknown key {key[:100]!r}. Known keys: {known}.", detail={"field": key[:100]}
            )
    return Fields(value)


def _load(body: bytes) -> Any:
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        if b"\\u" in body:
            _check_characters(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_characters(value: Any) -> None:
    """Refuse what JSON can escape and no database can keep: NUL and lone surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    if "\\u0000" in text:
        raise ValueError("NUL")


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object's members, each read as one type; null counts as absent."""

    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, *, most: int, required: bool = False) -> str | None:
        """Return one line of text without surrounding blanks; None where there is none."""
        value = self.values.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str):
            raise _wrong(name, "must be text")
        value = value.strip()
        if not value and required:
            raise _wrong(name, "must not be empty")
        if len(value) > most:
            raise _wrong(name, f"may have {most} characters")
        if _CONTROL.search(value):
            raise _wrong(name, "must be one line without control characters")
        return value

    def path(self, name: str) -> str | None:
        """Return a path inside the repository, normalised; empty is its root."""
        value = self.text(name, most=MOST_PATH_CHARACTERS)
        return None if value is None else clean_path(value)

    def server_name(self) -> str:
        """Return ``server_name``; empty for the default server."""
        return clean_server_name(self.text("server_name", most=MOST_SERVER_CHARACTERS) or "")

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(name, "must be true or false")
        return value

    def integer(self, name: str, *, least: int) -> int:
        """Return a whole number, which must be there."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, "must be a whole number")
        if not least <= value <= LARGEST_INTEGER:
            raise _wrong(name, f"must be {least} or more")
        return value

    def choice(self, name: str, kind: type[E]) -> E | None:
        """Return a member of an enum; None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or value not in list(kind):
            raise _wrong(name, f"must be one of {', '.join(kind)}")
        return kind(value)

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """Return a JSON object; None where there is none."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise _wrong(name, "must be an object")
        return value


def with_content(link: Link, fields: Fields) -> Link:
    """Return a link whose files come from where a body says, if it says."""
    url = fields.text("content_url", most=MOST_ADDRESS_CHARACTERS)
    ref = fields.text("content_ref", most=MOST_REF_CHARACTERS) or ""
    if url is None:
        return replace(link, content_ref=ref) if ref and link.content_url else link
    return replace(link, content_url=url, content_ref=ref)


def query_integer(
    handler: HasArguments, name: str, *, default: int, least: int = 0, most: int = LARGEST_INTEGER
) -> int:
    """Return a whole number of the query."""
    text = handler.get_query_argument(name, None)
    return default if text is None else whole_number(text, name, least=least, most=most)


def whole_number(text: str, name: str, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Read a whole number in ASCII digits, between two bounds."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise _wrong(name, "must be a whole number")
    number = int(text)
    if not least <= number <= most:
        raise _wrong(name, f"must be between {least} and {most}")
    return number


def query_text(handler: HasArguments, name: str, *, most: int, default: str = "") -> str:
    """Return a text of the query, trimmed."""
    text: str = handler.get_query_argument(name, default)
    if len(text) > most:
        raise _wrong(name, f"may have {most} characters")
    return text


def query_choice(handler: HasArguments, name: str, choices: tuple[str, ...]) -> str:
    """Return one of some words of the query; the first is the default."""
    text: str = handler.get_query_argument(name, choices[0])
    if text not in choices:
        raise _wrong(name, f"must be one of {', '.join(choices)}")
    return text


def _wrong(name: str, what: str) -> InvalidInput:
    return InvalidInput(f"{name!r} {what}.", detail={"field": name})
