"""Shapes: frozen dataclasses sent as JSON objects, one member per field."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

from jupyterhub_binder.utils.time import isoformat

T = TypeVar("T")

OMIT_NONE = {"omit_none": True}
"""Leaves out a field that is None."""


_PLAIN = (str, int, float)


def to_json(value: Any) -> Any:
    """Prepare a value for `json.dumps`."""
    if value is None or isinstance(value, _PLAIN):  # most members
        return value
    if is_dataclass(value):
        return {
            name: to_json(member)
            for name, omit in _members(type(value))
            if (member := getattr(value, name)) is not None or not omit
        }
    if isinstance(value, datetime):
        return isoformat(value)
    if isinstance(value, tuple | list):
        return [to_json(each) for each in value]
    if isinstance(value, Mapping):
        return {name: to_json(each) for name, each in value.items()}
    return value


@functools.cache
def _members(shape: type[Any]) -> tuple[tuple[str, bool], ...]:
    return tuple((field.name, "omit_none" in field.metadata) for field in fields(shape))


def from_json(shape: type[T], answer: Mapping[str, Any]) -> T:
    """Read a flat shape; ignore unknown members, since the service may be newer.

    Raises KeyError for a missing member, ValueError for an unknown enum value.
    """
    return shape(
        **{
            name: word(answer[name]) if word else answer[name]
            for name, word, required in _readers(shape)
            if required or name in answer
        }
    )


@functools.cache
def _readers(shape: type[Any]) -> tuple[tuple[str, Callable[[Any], Any] | None, bool], ...]:
    hints = get_type_hints(shape)
    return tuple(
        (field.name, _word(hints[field.name]), field.default is MISSING) for field in fields(shape)
    )


def _word(kind: Any) -> Callable[[Any], Any] | None:
    return kind if isinstance(kind, type) and issubclass(kind, StrEnum) else None
