"""Declares a handler's method as an operation of the REST API.

The signature is the declaration: `body` and `query` arrive as instances of the annotated shapes,
and the returned shape is sent as JSON. The OpenAPI document uses the docstring: the first line is
the summary, the rest the description.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from jupyterhub_binder.utils.wire import to_json
from jupyterhub_binder.web.api.parse import read_body, read_query
from jupyterhub_binder.web.api.shapes import EmptyBody

JSON = "application/json"
SSE = "text/event-stream"

Method = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route."""

    method: Method
    name: str
    """The operation's id."""
    status: int
    errors: tuple[int, ...]
    """Statuses beside those that follow from the signature."""
    media: str
    needs_body: bool
    public: bool

    @property
    def body(self) -> Any:
        """The shape of the body, or None."""
        sends = self.method.__name__ in ("post", "put", "patch")
        return _hints(self.method).get("body", EmptyBody if sends else None)

    @property
    def query(self) -> Any:
        """The shape of the query, or None."""
        return _hints(self.method).get("query")

    @property
    def answer(self) -> Any:
        """The shape of the answer, or None."""
        answer = _hints(self.method)["return"]
        return None if answer is type(None) else answer


def operation(
    name: str,
    *,
    status: int = 200,
    errors: tuple[int, ...] = (),
    media: str = JSON,
    needs_body: bool = False,
    public: bool = False,
) -> Callable[[Method], Method]:
    """Declare a method. `needs_body` requires a body; `public` skips the login."""

    def declare(method: Method) -> Method:
        declared = Operation(method, name, status, errors, media, needs_body, public)

        @functools.wraps(method)
        async def run(handler: Any, *args: str) -> None:
            given: dict[str, Any] = {}
            if (body := declared.body) is not None:
                given["body"] = read_body(handler.request, body, required=needs_body)
            if (query := declared.query) is not None:
                given["query"] = read_query(handler, query)
            if "body" not in _hints(method):
                given.pop("body", None)
            answer = await method(handler, *args, **given)
            if answer is not None:
                _send(handler, answer, status)

        run.operation = declared  # type: ignore[attr-defined]
        return run

    return declare


def _send(handler: Any, answer: Any, status: int) -> None:
    if status == 201:
        handler.set_header("Location", answer.links.self)
    if status != 200:
        handler.set_status(status)
    handler.finish_json(to_json(answer))


@functools.cache
def _hints(method: Method) -> dict[str, Any]:
    return get_type_hints(method)
