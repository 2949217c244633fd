"""Reads YAML as programs write it: blocks of mappings and lists, with a scalar to a line.

Lock files have megabytes of it. The general reader takes a minute for them, and libyaml holds up the
whole process. All values are text. What no program writes here (aliases, tags, flows, block scalars,
deep nesting) is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any

_MAX_DEPTH = 12
_KEY = re.compile(
    r"((?:[^\s'\"\[\]{}#&*!|>%@`,?-]|-(?=\S))"
    r"(?:[^\s:'\"#{}\[\]]++|:(?=\S)|\s++(?!:(?:\s|$)))*+|'[^']*'|\"[^\"\\]*\")\s*:(?:\s+(.*))?"
)
_COMMENT = re.compile(r"(?<!\s)\s++#.*")
_SINGLE = re.compile(r"'((?:[^']++|'')*+)'")


class NotPlain(ValueError):
    """The text is not such YAML; `line` is where."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}")
        self.line = line


def load_plain_yaml(text: str) -> Any:
    """Parse YAML in linear time. Raises NotPlain."""
    reader = _PlainReader(text)
    value = reader.read_block(0, 0) if reader.more() else None
    if reader.more():
        raise reader.error()
    return value


class _PlainReader:
    def __init__(self, text: str) -> None:
        numbered = enumerate(text.split("\n"), 1)
        kept = ((number, line.rstrip()) for number, line in numbered)
        self._lines = [
            (number, len(line) - len(line.lstrip(" ")), line.lstrip(" "))
            for number, line in kept
            if line and not line.lstrip(" ").startswith("#") and line != "---"
        ]
        self._at = 0

    def more(self) -> bool:
        return self._at < len(self._lines)

    def error(self) -> NotPlain:
        at = min(self._at, len(self._lines) - 1)
        return NotPlain(self._lines[at][0] if self._lines else 0)

    def read_block(self, indent: int, depth: int) -> Any:
        """Read the list or mapping that begins at the next line."""
        if depth > _MAX_DEPTH or self._lines[self._at][1] != indent:
            raise self.error()
        content = self._lines[self._at][2]
        if content == "-" or content.startswith("- "):
            return self._read_list(indent, depth)
        return self._read_mapping(indent, depth)

    def _read_list(self, indent: int, depth: int) -> list[Any]:
        found = []
        while self.more():
            number, here, content = self._lines[self._at]
            if here != indent or not (content == "-" or content.startswith("- ")):
                break
            rest = content[1:].lstrip(" ")
            if not rest:
                self._at += 1
                found.append(self._read_nested(indent + 1, depth))
            elif rest.startswith("- ") or _KEY.fullmatch(rest):
                inner = indent + len(content) - len(rest)
                self._lines[self._at] = (number, inner, rest)
                found.append(self.read_block(inner, depth + 1))
            else:
                self._at += 1
                found.append(self._read_scalar(rest, indent + 1))
        return found

    def _read_mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.more():
            _, here, content = self._lines[self._at]
            if here != indent or content.startswith("- "):
                break
            match = _KEY.fullmatch(content)
            if match is None:
                raise self.error()
            key = match[1].strip("'\"")
            if key in found:
                raise self.error()
            self._at += 1
            rest = (
                _COMMENT.sub("", match[2] or "") if (match[2] or "")[:1] not in "'\"" else match[2]
            )
            if rest:
                found[key] = self._read_scalar(rest, indent + 1)
            elif self.more() and self._lines[self._at][2].startswith("-"):
                found[key] = self._read_nested(indent, depth)
            else:
                found[key] = self._read_nested(indent + 1, depth)
        return found

    def _read_nested(self, least: int, depth: int) -> Any:
        """Read what is indented by at least so much, or nothing."""
        if not self.more() or self._lines[self._at][1] < least:
            return ""
        return self.read_block(self._lines[self._at][1], depth + 1)

    def _read_scalar(self, text: str, least: int) -> Any:
        """Read a scalar, and the lines on which it goes on."""
        parts = [text]
        while self.more() and self._lines[self._at][1] >= least:
            parts.append(self._lines[self._at][2])
            self._at += 1
        value = _value_of(" ".join(parts))
        if value is None:
            self._at -= 1
            raise self.error()
        return value


def _value_of(text: str) -> Any:
    """Return a scalar's value, or None for what is not plain."""
    if text in ("{}", "[]"):
        return {} if text == "{}" else []
    if text.startswith("'"):
        found = _SINGLE.fullmatch(text)
        return found[1].replace("''", "'") if found else None
    if text.startswith('"'):
        try:
            value = json.loads(text)
            value.encode()
        except (ValueError, AttributeError):
            return None
        return value
    if text[0] in "&*!|>%@`{[?" or "\x00" in text:
        return None
    return "" if text in ("null", "~") else text
