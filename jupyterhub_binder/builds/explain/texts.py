"""Gives the rules' sentences to `make messages`, as a method of extraction for Babel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from jupyterhub_binder.builds.explain.rules import parse_rules


def extract(
    file: IO[bytes], keywords: Sequence[str], comments: Sequence[str], options: Mapping[str, Any]
) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield line, function, text and comments of each sentence."""
    del keywords, comments, options
    for rule in parse_rules(file.read().decode(), source="the rules"):
        for text in (rule.says, rule.advice):
            if text:
                yield 1, "Message", text, []
