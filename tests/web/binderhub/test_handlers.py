"""What BinderHub's clients send and expect: the raw routes, then their real client under Node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.utils.sse import EventParser
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.web.test_browser_auth import FETCH, NAVIGATE, Browser, browser  # noqa: F401 - a fixture

TOKEN = {"Authorization": "Bearer ada-token"}
STREAM = {"Accept": "text/event-stream"}


@pytest_asyncio.fixture(loop_scope="module")
async def ask(session: aiohttp.ClientSession, service_url: str):
    """Return a coroutine function that reads a build's stream to its end, or its first failure."""

    async def ask(
        path: str, query: str = "?build_only=true", headers: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        given = {**STREAM, **(TOKEN if headers is None else headers)}
        async with (
            asyncio.timeout(60),
            session.get(f"{service_url}build/{path}{query}", headers=given) as response,
        ):
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            return [event async for event in _events(response)]

    return ask


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    parser = EventParser()
    async for chunk in response.content.iter_any():
        assert b"id:" not in chunk
        assert b"event:" not in chunk
        assert b"retry:" not in chunk
        for event in parser.feed(chunk):
            data = event.json()
            yield data
            if data.get("phase") == "failed":
                return


def spec_of(repo: GitRepo, ref: str = "HEAD") -> str:
    return f"git/{quote(repo.url, safe='')}/{ref}"


async def test_build_is_streamed_and_kept(ask, ada, git_repo: GitRepo) -> None:
    events = await ask(spec_of(git_repo))
    assert [event["phase"] for event in events][-1] == "ready"
    assert events[-1]["imageName"].startswith("fake:")
    assert "url" not in events[-1]
    assert all(event["message"].endswith(("\n", "\r")) for event in events)
    assert {"building", "pushing"} <= {event["phase"] for event in events}
    found = (await ada("GET", "api/v1/environments")).json["items"]
    assert [item["state"] for item in found if item["spec"] == spec_of(git_repo)[4:]] == ["ready"]


async def test_image_that_is_there_is_one_event(ask, ada, git_repo: GitRepo) -> None:
    await ask(spec_of(git_repo))
    before = (await ada("GET", "api/v1/environments")).json["total"]
    events = await ask(spec_of(git_repo))
    assert [event["phase"] for event in events] == ["ready"]
    assert "Found" in events[0]["message"]
    assert (await ada("GET", "api/v1/environments")).json["total"] == before


async def test_ten_at_once_are_one_build_and_one_environment(
    ask, ada, service: JupyterHubBinder, git_repo: GitRepo
) -> None:
    git_repo.branch("ten/at-once")
    begun = len(service.parts.backend.begun)  # type: ignore[attr-defined]
    before = (await ada("GET", "api/v1/environments")).json["total"]
    answers = await asyncio.gather(*(ask(spec_of(git_repo, "ten/at-once")) for _ in range(10)))
    assert len({events[-1]["imageName"] for events in answers}) == 1
    assert len(service.parts.backend.begun) - begun <= 1  # type: ignore[attr-defined]
    assert (await ada("GET", "api/v1/environments")).json["total"] == before + 1


async def test_escaped_slash_of_a_ref_is_read(ask, git_repo: GitRepo) -> None:
    git_repo.branch("with/slash")
    for ref in ("with/slash", "with%2Fslash"):
        assert (await ask(spec_of(git_repo, ref)))[-1]["phase"] == "ready"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("foo/x/y/HEAD", "no provider 'foo'"),
        ("gh/onlyone", "owner/name"),
        ("git/nourl/HEAD", "percent-encoded"),
        ("git/file%3A%2F%2F%2Fetc/HEAD", ""),
    ],
)
async def test_error_is_an_event_with_status_200(ask, path: str, words: str) -> None:
    (event,) = await ask(path)
    assert event["phase"] == "failed"
    assert event["status_code"] >= 400
    assert words in event["message"]


async def test_ref_that_does_not_exist_fails(ask, git_repo: GitRepo) -> None:
    (event,) = await ask(spec_of(git_repo, "no-such-branch"))
    assert "no-such-branch" in event["message"]


async def test_build_that_fails_says_why_once(
    ask, service: JupyterHubBinder, git_repo: GitRepo
) -> None:
    git_repo.branch("fake-fail", git_repo.git("commit-tree", "HEAD^{tree}", "-m", "another"))
    events = await ask(spec_of(git_repo, "fake-fail"))
    assert [event["phase"] for event in events].count("failed") == 1
    assert "The script says" in events[-1]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer stranger-token"}, 403),
        ({"Authorization": "Bearer eve-token"}, 403),
    ],
)
async def test_who_may_not_build_is_told_so(ask, git_repo, headers, status) -> None:
    (event,) = await ask(spec_of(git_repo), headers=headers)
    assert (event["phase"], event["status_code"]) == ("failed", status)


async def test_cookie_needs_the_xsrf_token_whatever_the_browser_says(
    browser: Browser,  # noqa: F811
    git_repo: GitRepo,
) -> None:
    url = f"{browser.url}build/{spec_of(git_repo)}?build_only=true"

    async def last(headers: dict[str, str], more: str = "") -> dict[str, Any]:
        async with browser.session.get(url + more, headers={**STREAM, **headers}) as response:
            return [event async for event in _events(response)][-1]

    nobodys = {"Authorization": "token nobodys"}
    made_up = {**FETCH, "X-XSRFToken": "made-up"}
    for headers in (FETCH, NAVIGATE, {}, made_up, {"X-XSRFToken": "é"}, nobodys):
        event = await last(headers)
        assert (event["phase"], event["status_code"]) == ("failed", 403), headers
    assert (await last({**FETCH, "X-Xsrftoken": browser.xsrf}))["phase"] == "ready"
    assert (await last(FETCH, f"&_xsrf={quote(browser.xsrf)}"))["phase"] == "ready"


@pytest.mark.parametrize("origin", ["", "https://ada.hub.example.org"])
async def test_without_build_only_a_server_is_started(
    session: aiohttp.ClientSession,
    service_url: str,
    hub: FakeHub,
    git_repo: GitRepo,
    monkeypatch: pytest.MonkeyPatch,
    origin: str,
) -> None:
    monkeypatch.setattr(hub, "server_origin", origin)
    hub.servers["ada"].clear()
    url = f"{service_url}build/{spec_of(git_repo)}"
    phases: list[str] = []
    async with asyncio.timeout(60), session.get(url, headers={**STREAM, **TOKEN}) as response:
        async for event in _events(response):
            phases.append(event["phase"])
            if event["phase"] == "ready":
                break
    assert phases[phases.index("built") :][:2] == ["built", "launching"]
    origin = origin or service_url.partition("/services")[0]
    assert event["url"].startswith(f"{origin}/user/ada/")
    assert event["binder_persistent_request"].endswith(git_repo.head)


async def test_second_ref_of_a_repository_gets_a_server_of_its_own(
    session: aiohttp.ClientSession, service_url: str, hub: FakeHub, git_repo: GitRepo
) -> None:
    hub.servers["ada"].clear()

    async def launch(ref: str) -> dict[str, Any]:
        url = f"{service_url}build/{spec_of(git_repo, ref)}"
        async with asyncio.timeout(60), session.get(url, headers={**STREAM, **TOKEN}) as response:
            # A program gets an end of the stream, not a minute of waiting.
            return [event async for event in _events(response)][-1]

    first, second, again = [await launch(ref) for ref in ("main", git_repo.head, "main")]
    assert [event["phase"] for event in (first, second, again)] == ["ready"] * 3, second
    assert first["url"] == again["url"] != second["url"]
    assert len(hub.servers["ada"]) == 2
    del hub.servers["ada"][first["url"].rstrip("/").rpartition("/")[2]]
    assert (await launch(git_repo.head))["url"] == second["url"]


@pytest.mark.parametrize("accept", ["", "*/*", "text/event-stream, application/json"])
async def test_request_for_anything_but_events_builds_nothing(
    session: aiohttp.ClientSession, service_url: str, ada, git_repo: GitRepo, accept: str
) -> None:
    url = f"{service_url}build/{spec_of(git_repo)}"
    before = (await ada("GET", "api/v1/environments")).json["total"]
    async with session.get(url, headers={**TOKEN, "Accept": accept}) as response:
        (event,) = [event async for event in _events(response)]
    said = "Missing Accept header: text/event-stream\n"
    assert event == {"phase": "failed", "status_code": 400, "message": said}
    assert (await ada("GET", "api/v1/environments")).json["total"] == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("org/name", "v2/gh/org/name/HEAD"),
        ("org/name/", "v2/gh/org/name/HEAD"),
        (
            "org/name/notebooks/index.ipynb",
            "v2/gh/org/name/HEAD?urlpath=%2Fnotebooks%2Findex.ipynb",
        ),
        ("%2F%2Fevil.example/name", "v2/gh/%2F%2Fevil.example/name/HEAD"),
    ],
)
async def test_links_of_the_first_binder_lead_to_todays_form(
    session: aiohttp.ClientSession, service_url: str, old: str, new: str
) -> None:
    url = URL(f"{service_url}repo/{old}", encoded=True)
    async with session.get(url, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"/services/binder/{new}"


async def test_repoproviders_are_those_of_the_pages(
    session: aiohttp.ClientSession, service: JupyterHubBinder, service_url: str
) -> None:
    async def prefixes() -> list[str]:
        async with session.get(f"{service_url}api/repoproviders") as response:
            found = await response.json()
        for item in found:
            assert {"id", "displayName", "spec", "detect", "repo", "ref"} <= item.keys()
        return [item["id"] for item in found]

    records = ["zenodo", "figshare", "hydroshare", "dataverse", "ckan"]
    assert await prefixes() == ["gh", "gl", "gist", "git", *records, "docker"]
    service.parts.providers.buildable = lambda: {"git", "gl", "zenodo"}
    try:
        assert await prefixes() == ["gl", "git", "zenodo"]
    finally:
        service.parts.providers.buildable = lambda: None


async def test_backend_decides_which_links_are_understood(
    ada, service: JupyterHubBinder, git_repo: GitRepo
) -> None:
    service.parts.providers.buildable = lambda: {"gh"}
    try:
        answer = await ada("POST", "api/v1/resolve", {"url": git_repo.url})
        assert answer.status == 400
        body = {"provider": "git", "spec": spec_of(git_repo)[4:]}
        answer = await ada("POST", "api/v1/resolve", body)
        assert answer.status == 400
        assert "accepts GitHub" in answer.json["error"]["message"]
    finally:
        service.parts.providers.buildable = lambda: None


async def test_versions_have_what_clients_of_binderhub_look_for(session, service_url) -> None:
    async with session.get(f"{service_url}versions") as response:
        versions = json.loads(await response.text())
    assert isinstance(versions["binderhub"], str)
    assert isinstance(versions["builder_info"], dict)
