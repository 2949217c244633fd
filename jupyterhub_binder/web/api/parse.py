"""Parses and checks bodies, queries and headers.

`read_body` and `read_query` read the classes of `shapes`; pages read forms with `Fields`. Every
error names the field.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from enum import StrEnum
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from tornado.httputil import HTTPServerRequest

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Link
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.validation import (
    MAX_PATH_CHARACTERS,
    MAX_SERVER_CHARACTERS,
    clean_path,
    clean_server_name,
)
from jupyterhub_binder.web.api.shapes import LARGEST_INTEGER, Between, TextLine
from jupyterhub_binder.web.errors import TooLarge, UnsupportedMediaType

BODY_LIMIT = 65_536
"""Bytes of a request's body; the largest sensible one is far smaller."""

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class HasArguments(Protocol):
    """The part of a tornado handler that reads a query."""

    def get_query_argument(self, name: str, default: Any = ...) -> Any:
        """Return a query argument, or the default."""


def read_body(request: HTTPServerRequest, kind: type[T], *, required: bool = False) -> T:
    """Read a body as a shape; an absent body is an empty object, unless it is required.

    Raises TooLarge, UnsupportedMediaType, or InvalidInput that names the field.
    """
    if required and not request.body:
        raise InvalidInput("Send a JSON object as the body of the request.")
    return _read_shape(_json_object(request), kind)


def _read_shape(value: Mapping[str, Any], kind: type[T]) -> T:
    members = _members(kind)
    fields = Fields(value)
    for key in fields.values:
        if key not in members:
            known = ", ".join(sorted(members)) or Message("none")
            raise InvalidInput(
                "Unknown key '%(key)s'. Known keys: %(known)s.",
                key=key[:100],
                known=known,
                detail={"field": key[:100]},
            )
    return kind(**{name: member.read(fields) for name, member in members.items()})


def read_query(handler: HasArguments, kind: type[T], *, form: bool = False) -> T:
    """Read a query as a shape. Raises InvalidInput that names the field.

    An empty argument counts as absent, because forms send every field.
    """
    members = _members(kind)
    given = {name: handler.get_query_argument(name, None) for name in members}
    fields = _QueryFields({name: (text or None) if form else text for name, text in given.items()})
    return kind(**{name: member.read(fields) for name, member in members.items()})


def _json_object(request: HTTPServerRequest) -> dict[str, Any]:
    if len(request.body) > BODY_LIMIT:
        raise TooLarge(
            "The body may have at most %(most)s bytes.",
            most=BODY_LIMIT,
            detail={"limit": BODY_LIMIT},
        )
    if not request.body:
        return {}
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("Send JSON, with the Content-Type application/json.")
    value = _load(request.body)
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    return value


def _load(body: bytes) -> Any:
    try:
        # Bytes would be read as UTF-16 too, and with halves of characters.
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
        if b"\\u" in body:
            _check_characters(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.") from error
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_characters(value: Any) -> None:
    """Refuse characters that databases can't store: NUL and lone surrogates."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    if "\\u0000" in text:
        raise ValueError("NUL")


@dataclass(frozen=True, slots=True)
class Fields:
    """Typed access to a JSON object's members; null counts as absent."""

    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(
        self, name: str, *, max_length: int, min_length: int = 0, required: bool = False
    ) -> str | None:
        """Return one stripped line of text, or None."""
        value = self.values.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str):
            raise _wrong(Message("'%(name)s' must be text.", name=name))
        value = value.strip()
        if len(value) < max(min_length, required):
            raise _wrong(Message("'%(name)s' must not be empty.", name=name))
        if len(value) > max_length:
            raise _wrong(
                Message(
                    "'%(name)s' may have at most %(most)s characters.", name=name, most=max_length
                )
            )
        if _CONTROL.search(value):
            raise _wrong(
                Message("'%(name)s' must be one line without control characters.", name=name)
            )
        return value

    def path(self, name: str) -> str | None:
        """Return a normalised path inside the repository; empty for its root."""
        value = self.text(name, max_length=MAX_PATH_CHARACTERS)
        return None if value is None else clean_path(value)

    def server_name(self) -> str:
        """Return ``server_name``; empty for the default server."""
        return clean_server_name(self.text("server_name", max_length=MAX_SERVER_CHARACTERS) or "")

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(name, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _wrong(Message("'%(name)s' must be true or false.", name=name))
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int = LARGEST_INTEGER) -> int:
        """Return a required whole number."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(Message("'%(name)s' must be a whole number.", name=name))
        _check_bounds(value, name, minimum, maximum)
        return value

    def choice(self, name: str, kind: type[E]) -> E | None:
        """Return a member of an enum, or None."""
        value = self.word(name, tuple(kind))
        return None if value is None else kind(value)

    def word(self, name: str, words: tuple[str, ...], *, required: bool = False) -> str | None:
        """Return one of the known words, or None."""
        value = self.values.get(name)
        if (required or value is not None) and (not isinstance(value, str) or value not in words):
            raise _wrong(
                Message("'%(name)s' must be one of %(known)s.", name=name, known=", ".join(words))
            )
        return value

    def objects(self, name: str, *, max_items: int) -> list[Mapping[str, Any]]:
        """Return a required list of JSON objects."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise _wrong(Message("'%(name)s' must be a list of objects.", name=name))
        if len(value) > max_items:
            raise _wrong(
                Message("'%(name)s' may have at most %(most)s items.", name=name, most=max_items)
            )
        return value

    def mapping(self, name: str) -> Mapping[str, Any] | None:
        """Return a JSON object, or None."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise _wrong(Message("'%(name)s' must be an object.", name=name))
        return value


def with_content(link: Link, url: str | None, ref: str | None) -> Link:
    """Return the link with the address and ref of its files, if given."""
    if url is None:
        return replace(link, content_ref=ref) if ref and link.content_url else link
    return replace(link, content_url=url, content_ref=ref or "")


class _QueryFields(Fields):
    """A query's arguments."""

    def integer(self, name: str, *, minimum: int = 0, maximum: int = LARGEST_INTEGER) -> int:
        """Return a whole number in ASCII digits."""
        return whole_number(str(self.values.get(name)), name, minimum=minimum, maximum=maximum)


def whole_number(text: str, name: str, *, minimum: int = 0, maximum: int = LARGEST_INTEGER) -> int:
    """Read a whole number in ASCII digits, within bounds."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise _wrong(Message("'%(name)s' must be a whole number.", name=name))
    number = int(text)
    _check_bounds(number, name, minimum, maximum)
    return number


def _check_bounds(number: int, name: str, minimum: int, maximum: int) -> None:
    if number < minimum and maximum == LARGEST_INTEGER:
        raise _wrong(Message("'%(name)s' must be at least %(least)s.", name=name, least=minimum))
    if not minimum <= number <= maximum:
        raise _wrong(
            Message(
                "'%(name)s' must be between %(least)s and %(most)s.",
                name=name,
                least=minimum,
                most=maximum,
            )
        )


# --- Shapes -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Member:
    """Reads one field of a shape."""

    name: str
    kind: Any
    constraint: Any
    default: Any
    """MISSING for a required field."""

    def read(self, fields: Fields) -> Any:
        """Return the field's value. Raises InvalidInput."""
        value = None if self.name not in fields and self._optional else self._read(fields)
        return self.default if value is None and self._optional else value

    @property
    def _optional(self) -> bool:
        return self.default is not MISSING

    def _read(self, fields: Fields) -> Any:
        if self.kind is bool:
            return fields.boolean(self.name, default=False)
        if self.kind is int:
            bounds = self.constraint or Between()
            return fields.integer(self.name, minimum=bounds.minimum, maximum=bounds.maximum)
        if get_origin(self.kind) is Literal:
            return fields.word(self.name, get_args(self.kind), required=not self._optional)
        if isinstance(self.kind, type) and issubclass(self.kind, StrEnum):
            return fields.choice(self.name, self.kind)
        if self.kind is str:
            line = self.constraint or TextLine(BODY_LIMIT)
            text = fields.text(
                self.name,
                max_length=line.max_length,
                min_length=line.min_length,
                required=self.default is MISSING,
            )
            return line.clean(text or "")
        if get_origin(self.kind) is tuple:
            kind = get_args(self.kind)[0]
            items = fields.objects(self.name, max_items=self.constraint.maximum)
            return tuple(_read_shape(item, kind) for item in items)
        return fields.mapping(self.name)


@functools.cache
def _members(shape: type[Any]) -> dict[str, _Member]:
    hints = get_type_hints(shape, include_extras=True)
    return {
        field.name: _Member(field.name, *_kind_of(hints[field.name]), field.default)
        for field in dataclasses.fields(shape)
    }


def _kind_of(hint: Any) -> tuple[Any, Any]:
    """Return a field's type without None, and its bounds."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is Annotated:
        return hint.__origin__, hint.__metadata__[0]
    return hint, None


def query_text(handler: HasArguments, name: str, *, max_length: int, default: str = "") -> str:
    """Return a stripped query argument."""
    text: str = handler.get_query_argument(name, default)
    if len(text) > max_length:
        raise _wrong(
            Message("'%(name)s' may have at most %(most)s characters.", name=name, most=max_length)
        )
    return text


def query_choice(handler: HasArguments, name: str, choices: tuple[str, ...]) -> str:
    """Return one of the known words from the query; default: the first."""
    text: str = handler.get_query_argument(name, choices[0])
    if text not in choices:
        raise _wrong(
            Message("'%(name)s' must be one of %(known)s.", name=name, known=", ".join(choices))
        )
    return text


def _wrong(message: Message) -> InvalidInput:
    """Return the error with the field's name."""
    return InvalidInput(message, detail={"field": message.values["name"]})
