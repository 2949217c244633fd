"""Reads texts out of Python: gettext's, and the sentences without values that errors say.

A method of extraction for Babel, named in ``extract.cfg``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, BinaryIO

from babel.messages.extract import extract_python

SENTENCES = {
    "BuildFailed": 0,
    "Conflict": 0,
    "FetchFailed": 0,
    "HubError": 0,
    "InvalidInput": 0,
    "LimitReached": 0,
    "NotAllowed": 0,
    "NotFound": 0,
    "NotSignedIn": 0,
    "NotUnderstood": 0,
    "Reason": 1,
    "RecipeAction": 2,
    "RepositoryNotFound": 0,
    "StoreUnavailable": 0,
    "TooLarge": 0,
    "UnresolvableRef": 0,
    "UnsupportedMediaType": 0,
    "UpstreamUnavailable": 0,
    "XSRFRefused": 0,
    "note": 1,
    "problem": 1,
    "warn": 1,
}
"""Which argument of each is the sentence."""


def extract(file: BinaryIO, keywords: Any, comment_tags: Any, options: Any) -> Iterator[Any]:
    """Yield each text with its line, as Babel wants it."""
    yield from extract_python(file, keywords, comment_tags, options)
    file.seek(0)
    for node in ast.walk(ast.parse(file.read())):
        if not isinstance(node, ast.Call):
            continue
        place = SENTENCES.get(getattr(node.func, "id", getattr(node.func, "attr", "")))
        if place is None or len(node.args) <= place:
            continue
        text = node.args[place]
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and " " in text.value:
            yield node.lineno, None, text.value, []
