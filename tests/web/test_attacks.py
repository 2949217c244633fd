"""What one person may try against another: names, frames, forms and paths that lead elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model import BuildEvent, Phase
from jupyterhub_binder.web.api.builds import plain_text
from tests.git_server import GitRepo
from tests.web.api_client import Api
from tests.web.conftest import Person
from tests.web.fake_hub import FakeHub

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


@pytest_asyncio.fixture(loop_scope="module")
async def bobs_browser(
    hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser in which bob has logged in."""
    hub.visitor = "bob"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(service_url, headers=NAVIGATE) as response:
            assert response.status == 200
        yield session


def xsrf_of(session: aiohttp.ClientSession, url: str) -> str:
    return session.cookie_jar.filter_cookies(URL(url))["_xsrf"].value


async def test_somebody_called_star_sees_nobodys_environments(
    person: Person, new_environment
) -> None:
    await new_environment(build=False)
    for path in ("api/v1/environments", "api/v1/environments?owner=*"):
        assert (await person("*")("GET", path)).json["items"] == []


async def test_nobody_is_the_namesake_of_a_service(person: Person) -> None:
    assert (await person("service:cron")("GET", "api/v1/")).status == 403


async def test_a_build_of_somebody_else_cannot_be_cancelled_by_its_page(
    bobs_browser, service_url: str, new_environment
) -> None:
    build_id = (await new_environment())["latest"]["id"]
    async with bobs_browser.post(
        f"{service_url}builds/{build_id}/cancel",
        data={"_xsrf": xsrf_of(bobs_browser, service_url)},
        headers=NAVIGATE,
        allow_redirects=False,
    ) as response:
        assert response.status == 404


@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate", "same-origin", "nonsense"])
@pytest.mark.parametrize("site", ["same-origin", "same-site", "cross-site", "none"])
async def test_a_cookie_alone_posts_nothing_whatever_the_browser_says(
    bobs_browser, service_url: str, git_repo: GitRepo, mode: str, site: str
) -> None:
    headers = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": site}
    async with bobs_browser.post(
        f"{service_url}new", data={"url": git_repo.url}, headers=headers, allow_redirects=False
    ) as response:
        assert response.status == 403


@pytest.mark.parametrize("path", ["", "new", "builds/23456789ab", "nowhere"])
async def test_no_page_can_be_framed_even_by_this_origin(
    bobs_browser, service_url: str, path: str
) -> None:
    async with bobs_browser.get(f"{service_url}{path}", headers=NAVIGATE) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("server_name", [".", ".."])
async def test_the_name_of_a_server_is_no_way_to_another_address_of_the_hub(
    ada: Api, hub: FakeHub, new_environment, server_name: str
) -> None:
    made = await new_environment(build=False)
    hub.asked.clear()
    answer = await ada(
        "POST", f"api/v1/environments/{made['id']}/launches", {"server_name": server_name}
    )
    assert answer.status == 400
    assert not [asked for asked in hub.asked if not asked.startswith("GET")]


@pytest.mark.parametrize(
    "path",
    ["static/x//etc/passwd", "static/x/..%2f..%2f..%2fpyproject.toml", "static/%2fetc/passwd"],
)
async def test_static_files_are_ours_alone(session, service_url: str, path: str) -> None:
    async with session.get(URL(f"{service_url}{path}", encoded=True)) as response:
        assert response.status in (403, 404)


def test_a_log_as_text_has_no_control_of_either_kind() -> None:
    from jupyterhub_binder.clock import utc_now

    hostile = "a\x9b2Jb\x1b]0;title\x07c\x85d\u2028e"
    assert plain_text((BuildEvent(1, utc_now(), Phase.BUILDING, hostile),)) == "abcde\n"


async def test_one_person_follows_so_many_things_and_another_still_can(
    person: Person, service: JupyterHubBinder, git_repo: GitRepo, monkeypatch
) -> None:
    monkeypatch.setattr(service.streams, "_most_per_user", 2)
    slow = {"fake": {"hang_at": "building"}}
    paths = {}
    for name in ("ada", "bob"):
        made = await person(name)(
            "POST", "api/v1/environments", {"url": git_repo.url, "options": slow}
        )
        paths[name] = f"api/v1/builds/{made.json['latest']['id']}/events"
    async with person("ada").events(paths["ada"]), person("ada").events(paths["ada"]):
        refused = await person("ada")("GET", paths["ada"])
        assert (refused.status, refused.code) == (429, "limit_reached")
        async with person("bob").events(paths["bob"]):
            pass
    async with asyncio.timeout(10):
        while service.streams._open:
            await asyncio.sleep(0.01)
