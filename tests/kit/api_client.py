"""A client of the API that believes nothing: every answer is held to its description."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

from jupyterhub_binder.utils.sse import EventParser, ServerEvent
from jupyterhub_binder.web.api.service import description

DESCRIPTION = json.loads(description("/services/binder/"))
_REGISTRY = Registry().with_resource(
    "urn:api",
    Resource.from_contents(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", **DESCRIPTION}
    ),
)


def check_schema(name: str, value: Any) -> None:
    """Hold a value to a named schema of the description."""
    schema = {"$ref": f"urn:api#/components/schemas/{name}"}
    Draft202012Validator(schema, registry=_REGISTRY, format_checker=FormatChecker()).validate(value)


def find_path(path: str) -> str:
    """Return the described path that a real one belongs to."""
    for template in DESCRIPTION["paths"]:
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return template
    raise AssertionError(f"{path} is not described")


@dataclass(frozen=True)
class Answer:
    """An answer that was checked."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


async def ask(
    session: aiohttp.ClientSession, method: str, url: str, path: str, **kwargs: Any
) -> Answer:
    """Ask, and hold the answer to the description; `path` is below `url`, the service's."""
    async with session.request(method, f"{url}{path}", allow_redirects=False, **kwargs) as response:
        answer = Answer(response.status, response.headers, await response.text(errors="replace"))
    check_answer(method, "/" + path.partition("?")[0], answer)
    return answer


class Api:
    """One person's way to the API; `token` is theirs, none for nobody."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str | None) -> None:
        self.session = session
        self.url = url
        self.headers = {"Authorization": f"token {token}"} if token else {}

    async def __call__(self, method: str, path: str, body: Any = None, **kwargs: Any) -> Answer:
        """Ask, and hold the answer to the description; `path` is below the prefix."""
        headers = {**self.headers, **kwargs.pop("headers", {})}
        if body is not None:
            kwargs["json"] = body
        return await ask(self.session, method, self.url, path, headers=headers, **kwargs)

    @asynccontextmanager
    async def events(self, path: str, **kwargs: Any) -> AsyncIterator[AsyncIterator[ServerEvent]]:
        """Follow an event stream."""
        headers = {**self.headers, **kwargs.pop("headers", {})}
        async with self.session.get(f"{self.url}{path}", headers=headers, **kwargs) as response:
            assert response.status == 200, await response.text(errors="replace")
            assert response.headers["Content-Type"].startswith("text/event-stream")
            assert response.headers["Cache-Control"] == "no-cache, no-transform"
            assert response.headers["X-Accel-Buffering"] == "no"
            yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[ServerEvent]:
    parser = EventParser()
    async for chunk in response.content.iter_any():
        for event in parser.feed(chunk):
            yield event


def check_answer(method: str, path: str, answer: Answer) -> None:
    """Hold an answer to what is described for its route and status."""
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    operation = DESCRIPTION["paths"][find_path(path)][method.lower()]
    described = operation["responses"].get(str(answer.status))
    assert described, f"{method} {path} answered {answer.status}, not described: {answer.text}"
    if "$ref" in described:
        described = DESCRIPTION["components"]["responses"][described["$ref"].rpartition("/")[2]]
    ((media, content),) = described["content"].items()
    assert fnmatch(answer.headers["Content-Type"].partition(";")[0], media), answer.text
    if media == "application/json":
        check_schema(content["schema"]["$ref"].rpartition("/")[2], answer.json)
