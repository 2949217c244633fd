"""Random requests: whatever is sent, the answer is one that the description knows, never a 500."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.api_client import DESCRIPTION, Answer, Api
from tests.kit.git_server import GitRepo

KEYS = sorted(DESCRIPTION["components"]["schemas"]["CreateBody"]["properties"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(st.sampled_from(KEYS) | st.text(), VALUES, max_size=6)
FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Ask = Callable[..., Answer]


async def in_thread(api: Api, check: Callable[[Ask], None]) -> None:
    """Run a property in a thread; its requests run in this loop."""
    loop = asyncio.get_running_loop()

    def ask(*args: Any, **kwargs: Any) -> Answer:
        return asyncio.run_coroutine_threadsafe(api(*args, **kwargs), loop).result(30)

    await asyncio.to_thread(check, ask)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "api/v1/resolve"),
        ("POST", "api/v1/environments"),
        ("PATCH", "api/v1/environments/{}"),
        ("POST", "api/v1/environments/{}/builds"),
        ("PUT", "api/v1/environments/{}/current"),
        ("POST", "api/v1/environments/{}/launches"),
    ],
)
async def test_no_body_is_too_strange(ada: Api, new_environment, method: str, path: str) -> None:
    path = path.format((await new_environment(build=False))["id"])

    def check(ask: Ask) -> None:
        @FEW
        @given(BODIES)
        def run(body: dict[str, Any]) -> None:
            headers = {"Content-Type": "application/json"}
            answer = ask(method, path, data=json.dumps(body).encode(), headers=headers)
            assert answer.status < 500

        run()

    await in_thread(ada, check)


async def test_no_value_of_a_known_field_is_too_strange(ada: Api, git_repo: GitRepo) -> None:
    def check(ask: Ask) -> None:
        @FEW
        @given(st.sampled_from(KEYS), VALUES)
        def run(key: str, value: Any) -> None:
            body = {"url": git_repo.url, "build": False, key: value}
            headers = {"Content-Type": "application/json"}
            data = json.dumps(body).encode()
            assert ask("POST", "api/v1/environments", data=data, headers=headers).status < 500

        run()

    await in_thread(ada, check)


async def test_no_query_is_too_strange(ada: Api) -> None:
    names = st.sampled_from(["search", "order", "owner", "offset", "limit", "other"])

    def check(ask: Ask) -> None:
        @FEW
        @given(st.dictionaries(names, st.text(st.characters(codec="utf-8"))))
        def run(query: dict[str, str]) -> None:
            text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
            assert ask("GET", f"api/v1/environments?{text}").status < 500

        run()

    await in_thread(ada, check)
