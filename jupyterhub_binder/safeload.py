r"""Reads YAML and JSON that strangers wrote.

Both can write half of a surrogate pair (`\ud800`): a str that no database and no answer takes.
"""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Loader(yaml.BaseLoader):
    """Reads every value as text, and refuses aliases: a few of them can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it uses aliases")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode) -> str:
        text = super().construct_scalar(node)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise yaml.YAMLError("half a character") from error
        return text


def load_yaml(text: str) -> Any:
    """Return mappings, lists and texts. Raises yaml.YAMLError, RecursionError, ValueError."""
    return yaml.load(text, _Loader)  # noqa: S506 - a loader of plain texts


def load_json(text: str) -> Any:
    """Return what it stands for. Raises RecursionError and ValueError."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()
    return value
