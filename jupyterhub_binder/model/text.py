"""Messages for people, with values kept for formatting in any language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, LiteralString, TypeAlias, cast

Value: TypeAlias = "str | int | float | None"
"""A nested Message is translated too."""

MAX_DEPTH = 4
MAX_VALUES = 20
MAX_JSON_CHARACTERS = 20_000
"""Values included."""

_VERBATIM = "%(text)s"


class Message(str):
    """An English sentence that knows its template and values.

    The `str` is the finished English. `text` is a literal with places such as ``%(host)s``, and the
    key in the catalogues. Text from programs or people is a value, never part of `text`. `many` is
    the plural form; the value `num` then holds the count.
    """

    text: str
    many: str
    values: Mapping[str, Value]

    def __new__(cls, text: LiteralString, many: LiteralString = "", /, **values: Value) -> Message:
        """Fill in the values."""
        return cls.from_parts(text, many, values)

    @classmethod
    def counted(
        cls, one: LiteralString, many: LiteralString, num: float, **values: Value
    ) -> Message:
        """Choose the form by the count `num`."""
        count = int(num) if num == int(num) else num
        return cls.from_parts(one, many, {"num": count, **values})

    @classmethod
    def joined(cls, *parts: str, by: LiteralString = " ") -> Message:
        """Return parts in a row, such as two sentences; empty ones are left out."""
        kept = {f"part{n}": part for n, part in enumerate(parts) if part}
        return cls.from_parts(by.join(f"%({name})s" for name in kept), "", kept)

    @classmethod
    def verbatim(cls, text: str) -> Message:
        """Return untranslatable text."""
        return text if isinstance(text, Message) else cls.from_parts(_VERBATIM, "", {"text": text})

    @classmethod
    def from_parts(cls, text: str, many: str, values: Mapping[str, Value]) -> Message:
        """Build a message; code with literals uses `Message(...)`, which catalogues find."""
        message = super().__new__(cls, _english(text, many, values))
        message.text = text
        message.many = many
        message.values = MappingProxyType(dict(values))
        return message

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Leave out the read-only mapping, which cannot be copied."""
        return _remake, (self.text, self.many, dict(self.values))

    def map(self, change: Callable[[str], str]) -> Message:
        """Apply `change` to the text values."""
        values = {name: _map(value, change) for name, value in self.values.items()}
        return self.from_parts(self.text, self.many, values)

    # --- Stored -------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return JSON for `from_json`."""
        values = {
            name: value.to_json() if isinstance(value, Message) else value
            for name, value in self.values.items()
        }
        stored: dict[str, Any] = {"text": self.text, "values": values}
        return {**stored, "many": self.many} if self.many else stored

    @classmethod
    def from_json(cls, stored: object) -> Message | None:
        """Read `to_json`'s output; None for anything else."""
        try:
            return cls._read(stored, MAX_DEPTH)
        except (KeyError, TypeError, ValueError):
            return None

    @classmethod
    def _read(cls, stored: object, depth: int) -> Message:
        if not isinstance(stored, dict) or not depth:
            raise ValueError("not a message")
        fields = cast("dict[str, Any]", stored)
        text, many, values = fields["text"], fields.get("many", ""), fields["values"]
        known = isinstance(text, str) and isinstance(many, str) and isinstance(values, dict)
        if not known or len(values) > MAX_VALUES:
            raise ValueError("not a message")
        read = {name: cls._read_value(value, depth) for name, value in values.items()}
        return cls.from_parts(text, many, read)

    @classmethod
    def _read_value(cls, value: object, depth: int) -> Value:
        if value is None or isinstance(value, str | int | float):
            return value
        return cls._read(value, depth - 1)


def fill(text: str, values: Mapping[str, object]) -> str:
    """Fill in a template; without values, return it unchanged."""
    return text % dict(values) if values else text


def any_of(names: Sequence[str]) -> str:
    """Join names: ``a, b or c``."""
    if len(names) < 2:
        return "".join(names)
    return Message("%(names)s or %(last)s", names=", ".join(names[:-1]), last=names[-1])


def all_of(names: Sequence[str]) -> str:
    """Join names: ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return Message("%(names)s and %(last)s", names=", ".join(names[:-1]), last=names[-1])


def _english(text: str, many: str, values: Mapping[str, Value]) -> str:
    if not many:
        return fill(text, values)
    num = values["num"]
    return fill(text if num == 1 else many, {**values, "num": f"{num:,}"})


def _map(value: Value, change: Callable[[str], str]) -> Value:
    if isinstance(value, Message):
        return value.map(change)
    return change(value) if isinstance(value, str) else value


def _remake(text: str, many: str, values: dict[str, Value]) -> Message:
    return Message.from_parts(text, many, values)
