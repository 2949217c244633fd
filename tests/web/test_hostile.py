"""What nobody should send, and what they get."""

from __future__ import annotations

import json

import pytest

from tests.git_server import GitRepo
from tests.web.api_client import Api

CREATE = "api/v1/environments"


async def post(api: Api, data: bytes, kind: str | None = "application/json", path: str = CREATE):
    headers = {"Content-Type": kind} if kind else {}
    return await api("POST", path, headers=headers, data=data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"url": NaN}',
        b"[" * 60_000,
        b'{"url": "\\ud800"}',
        b'{"url": "a\\u0000b"}',
        b'{"url": 1}',
        b'{"url": ""}',
        b'{"url": "a\\nb"}',
        b'{"url": null}',
        b'{"provider": "gh"}',
        b'{"provider": "nope", "spec": "a/b"}',
        b'{"url": "x", "provider": "gh", "spec": "a/b/c"}',
        b'{"url": "https://github.com/a/b", "ref": "--upload-pack=x"}',
        b'{"url": "file:///etc"}',
        b'{"url": "javascript:alert(1)"}',
    ],
)
async def test_a_body_that_makes_no_sense_is_400(ada: Api, data: bytes) -> None:
    answer = await post(ada, data)
    assert answer.status in (400, 403), answer.text
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 300),
        ("name", 7),
        ("path", "../../etc/passwd"),
        ("path", "a\u0000"),
        ("content", "merge"),
        ("content", 1),
        ("options", []),
        ("options", {"nope": 1}),
        ("options", {"fake": {"lines": "many"}}),
        ("build", "yes"),
        ("ref", "x" * 400),
        ("unknown", 1),
    ],
)
async def test_a_bad_field_is_named(ada: Api, git_repo: GitRepo, field: str, value) -> None:
    answer = await ada("POST", CREATE, {"url": git_repo.url, field: value})
    assert answer.status == 400, answer.text
    if field != "options":
        assert field in answer.json["error"]["message"] or answer.code == "invalid_input"


async def test_an_unknown_key_is_named(ada: Api) -> None:
    answer = await ada("POST", CREATE, {"<script>": 1})
    assert answer.json["error"]["detail"] == {"field": "<script>"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_only_json_is_taken(ada: Api, kind: str | None) -> None:
    answer = await post(ada, b'{"url": "x"}', kind or "application/octet-stream")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_large_body_is_413(ada: Api) -> None:
    answer = await post(ada, json.dumps({"url": "x" * 100_000}).encode())
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "limit=", "limit=%D9%A3"),
        *("offset=-1", "offset=1e3", "offset=99999999999999999999"),
        *("order=size", "search=" + "x" * 300),
    ],
)
async def test_a_bad_query_is_400(ada: Api, query: str) -> None:
    assert (await ada("GET", f"{CREATE}?{query}")).status == 400


async def test_a_query_that_is_no_utf8_is_400(ada: Api) -> None:
    from yarl import URL

    async with ada.session.get(
        URL(f"{ada.url}{CREATE}?search=%ff", encoded=True), headers=ada.headers
    ) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_input"


@pytest.mark.parametrize("number", [0, -1, 2**63, 1.5, True, "1", None])
async def test_a_build_number_is_a_number(ada: Api, new_environment, number) -> None:
    made = await new_environment(build=False)
    path = f"{CREATE}/{made['id']}/current"
    assert (await ada("PUT", path, {"number": number})).status == 400


@pytest.mark.parametrize(
    "name", ["<b>bold</b>", "ünï 名前 🎈", "'; drop table builds; --", "a" * 200]
)
async def test_odd_names_come_back_as_they_were(ada: Api, new_environment, name: str) -> None:
    made = await new_environment(name=name, build=False)
    assert (await ada("GET", f"{CREATE}/{made['id']}")).json["name"] == name


async def test_nothing_tells_of_the_inside(ada: Api, service, monkeypatch, new_environment) -> None:
    made = await new_environment(build=False)

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret in /home/hub/state")

    monkeypatch.setattr(service.environments, "get", broken)
    async with ada.session.get(f"{ada.url}{CREATE}/{made['id']}", headers=ada.headers) as response:
        text = await response.text()
        assert response.status == 500
        assert response.headers["X-Request-ID"] in text
    assert "secret" not in text
    assert "Zero" not in text
