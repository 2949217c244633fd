"""The administrators' overview, over a real service."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.cli.overview import rows_of
from jupyterhub_binder.model.admin import Holder, LimitName
from jupyterhub_binder.web.attention import Concern, of_drain, of_health, worst_first
from tests.kit.fake_hub import FakeHub
from tests.kit.parts import ADMIN
from tests.kit.service import NAVIGATE, Person, wait_for_build


@pytest_asyncio.fixture(loop_scope="module")
async def roots_browser(
    hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser in which an administrator has logged in."""
    hub.visitor = "root"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(service_url, headers=NAVIGATE) as response:
            assert response.status == 200
        yield session


async def read(browser: aiohttp.ClientSession, url: str) -> str:
    async with browser.get(url, headers=NAVIGATE) as response:
        assert response.status == 200
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", await response.text()))


async def test_figures_are_what_happened_and_lead_to_where_one_acts(
    service: JupyterHubBinder,
    roots_browser: aiohttp.ClientSession,
    service_url: str,
    person: Person,
    git_repo,
) -> None:
    ada = person("ada")
    url = f"{service_url}admin"
    assert "Nobody has reached a limit." in await read(roots_browser, url)
    for options in ({}, {"fake": {"fail_at": "building"}}):
        body = {"url": git_repo.url, "options": options}
        made = (await ada("POST", "api/v1/environments", body)).json
        await wait_for_build(ada, made["latest"]["id"])
    await service.parts.limits.set(ADMIN, Holder.PERSON, "ada", {LimitName.ENVIRONMENTS: 2})
    text = await read(roots_browser, url)
    assert "Failed today 1 of 2 builds" in text
    assert "Builds that succeeded 1 0 +1" in text
    assert "ada Environments 2 of 2" in text
    assert "Waiting 0 the queue is empty" in text
    assert "JupyterHub 6.1.1" in text
    found = (await person("root")("GET", "api/v1/admin/overview")).json
    assert (found["hub_version"], found["drain"]["waiting"]) == ("6.1.1", 0)
    assert found["today"]["failed"] == 1
    assert found["week_ago"]["built"] == 0
    (failed,) = found["failures"]
    assert (failed["times"], failed["build_id"]) == (1, made["latest"]["id"])
    assert found["people_at_limit"] == [
        {"person": "ada", "limit": "environments", "used": 2, "most": 2}
    ]
    assert found["disk"]["total_bytes"] > found["disk"]["free_bytes"] > 0
    rows = list(rows_of(found))
    assert rows[1] == ("Needs attention", "nothing")
    assert ("Builds that failed", "1 today, 0 by this time a week ago") in rows
    assert ("At a limit", "ada: environments 2 of 2") in rows
    assert any(title == "Failed in 7 days" and text.startswith("1 build: ") for title, text in rows)
    await service.parts.limits.set(ADMIN, Holder.PERSON, "ada", {LimitName.ENVIRONMENTS: None})


async def test_a_drain_is_said_and_ended_from_here(
    service: JupyterHubBinder,
    roots_browser: aiohttp.ClientSession,
    service_url: str,
    person: Person,
) -> None:
    await service.parts.drain.begin(ADMIN)
    text = await read(roots_browser, f"{service_url}admin")
    assert "New builds wait: root has paused them." in text
    found = (await person("root")("GET", "api/v1/admin/overview")).json
    (paused,) = (each for each in found["attention"] if each["title"] == "Paused")
    assert paused["page"] == f"{service.base_url}admin/drain"
    assert (found["drain"]["draining"], found["drain"]["by"]) == (True, "root")
    said = dict(rows_of(found))
    assert said["Needs attention"] == "Paused: New builds wait: root has paused them."
    assert said["Paused"].startswith("by root, just now: ")
    await service.parts.drain.end(ADMIN)


async def test_only_a_form_of_an_administrator_frees_disk_space(
    service: JupyterHubBinder,
    roots_browser: aiohttp.ClientSession,
    bobs_browser: aiohttp.ClientSession,
    service_url: str,
) -> None:
    url = f"{service_url}admin/cleanup"
    async with roots_browser.get(url, headers=NAVIGATE) as response:
        assert response.status == 405
    for browser, statuses in ((bobs_browser, (403,)), (roots_browser, (303, 403))):
        async with browser.post(url, headers=NAVIGATE, allow_redirects=False) as response:
            assert response.status in statuses
    async with roots_browser.get(f"{service_url}admin/drain", headers=NAVIGATE) as response:
        token = re.search(r'name="_xsrf" value="([^"]+)"', await response.text())
    assert token
    async with roots_browser.post(url, data={"_xsrf": token[1]}, headers=NAVIGATE) as response:
        assert response.status == 200
    assert response.url.path.endswith("/admin")


def test_the_worst_comes_first_and_once() -> None:
    health = {"database": None, "disk": "Only 3 MB are free.", "backend": "It is away."}
    found = worst_first((*of_drain(None), *of_health(health), *of_health(health)))
    assert [each.text for each in found] == ["Only 3 MB are free.", "It is away."]
    late = Concern("bad", found[0].word, "Another")
    early = Concern("warn", found[0].word, "A drain")
    assert worst_first((early, late)) == (late, early)
