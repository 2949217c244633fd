"""One operation of the REST API, as its description is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

JSON = "application/json"

READ = (401, 403, 404, 503)
LIST = (400, 401, 403, 503)
WRITE = (400, 401, 403, 404, 413, 415, 503)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route."""

    method: str
    path: str
    name: str
    summary: str
    answer: str = ""
    """The schema of a successful answer; empty for text."""
    status: int = 200
    media: str = JSON
    body: str = ""
    body_required: bool = False
    query: tuple[str, ...] = ()
    errors: Sequence[int] = READ
    open: bool = False
    """Whether it answers somebody who is not signed in."""
    more: str = ""
    """What else to know, in Markdown."""
