r"""Reads untrusted YAML and JSON.

Both can contain lone surrogates (`\ud800`), which databases and UTF-8 reject.
"""

from __future__ import annotations

import json
from typing import Any

import yaml


class _Loader(yaml.BaseLoader):
    """Reads all values as text; refuses aliases, which can expand to gigabytes."""

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
    """Parse YAML. Raises YAMLError, RecursionError, ValueError."""
    return yaml.load(text, _Loader)  # noqa: S506 - a loader of plain texts


def load_json(text: str) -> Any:
    """Parse JSON. Raises RecursionError, ValueError."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()
    return value
