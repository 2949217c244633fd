"""The hub's own pages, as a browser without scripts sees them: the link, the choice, the start."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from jupyterhub.tests.mocking import MockHub
from yarl import URL

from jupyterhub_binder.utils.names import new_id
from tests.kit.real_hub import FakeService, Person, make_environment
from tests.kit.waiting import until


class Browser:
    """A person who is signed in, with a browser's cookies."""

    def __init__(self, hub: MockHub, session: aiohttp.ClientSession) -> None:
        self.base = URL(hub.hub.url)
        self.session = session

    def xsrf(self) -> str:
        cookies = self.session.cookie_jar.filter_cookies(self.base)
        return cookies["_xsrf"].value

    async def get(self, path: str) -> str:
        async with self.session.get(self.base.join(URL(path))) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def post(self, path: str, data: dict[str, str]) -> tuple[int, str, str]:
        url = self.base.join(URL(path)).update_query({"_xsrf": self.xsrf()})
        async with self.session.post(url, data=data, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", ""), await response.text()


@pytest.fixture
async def browser(hub: MockHub, person: Person) -> AsyncIterator[Browser]:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        browser = Browser(hub, session)
        await browser.get("login")
        status, _, _ = await browser.post(
            "login", {"username": person.name, "password": person.name}
        )
        assert status == 302
        yield browser


async def test_every_page_of_the_hub_links_to_the_environments(
    fresh: FakeService, browser: Browser
) -> None:
    for page in ("home", "token"):
        text = await browser.get(page)
        assert re.search(r'<a class="nav-link" href="/services/binder/">Environments</a>', text)
        assert text.count(">Home</a>") == 1
        assert text.count("/services/binder/") == 1
        assert ">Services</a>" not in text


async def test_a_stranger_sees_no_link(hub: MockHub, fresh: FakeService) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(hub.hub.url).join(URL("login"))) as response,
    ):
        assert "Environments</a>" not in await response.text()


async def test_the_spawn_page_offers_the_environment_and_starts_it(
    fresh: FakeService, browser: Browser, person: Person, root: Path, homes: Path
) -> None:
    environment = fresh.add("</select><b>one", image=make_environment(root, new_id()))
    text = await browser.get("spawn")
    assert f'<option value="{environment}">&lt;/select&gt;&lt;b&gt;one' in text
    status, where, _ = await browser.post("spawn", {"environment": environment})
    assert status == 302
    assert "spawn-pending" in where
    await until(lambda: person.spawner.ready)
    assert (homes / person.name / "repo" / "index.ipynb").exists()


async def test_a_refusal_is_shown_on_the_spawn_page_with_the_choice_again(
    fresh: FakeService, browser: Browser, person: Person
) -> None:
    gone = fresh.add("one", image="venv:gone")
    status, _, text = await browser.post("spawn", {"environment": gone})
    assert status == 400
    assert "are no longer on this machine" in text
    assert "None (default software of this hub)" in text
    status, _, _ = await browser.post("spawn", {"environment": ""})
    assert status == 302
    await until(lambda: person.spawner.ready)


async def test_home_page_says_which_environment_each_server_runs(
    fresh: FakeService, browser: Browser, person: Person, root: Path
) -> None:
    environment = fresh.add("<b>one", image=make_environment(root, new_id()), build_number=2)
    assert "binder-running" not in await browser.get("home")
    status, _ = await person.spawn({"environment": environment, "environment_name": "a lie"})
    assert status in (201, 202)
    await until(lambda: person.spawner.ready)
    page = f"/services/binder/environments/{environment}"
    text = await browser.get("home")
    assert f'<a href="{page}"><bdi>&lt;b&gt;one</bdi></a>, build 2' in text
    assert "is newer" not in text
    fresh.environments[environment]["current"] = 3
    assert f'href="{page}">Build 3 is newer' in await browser.get("home")
    fresh.environments[environment] |= {"current": 2, "state": "failed"}
    assert "A newer build failed" in await browser.get("home")
    fresh.refuse = (503, "away")
    text = await browser.get("home")
    assert "<bdi>&lt;b&gt;one</bdi></a>, build 2" in text
    env = await person.server("env")
    assert env["JUPYTERHUB_BINDER_ENVIRONMENT_URL"].endswith(page)


async def test_repository_that_is_pasted_on_the_spawn_page_is_built_kept_and_started(
    fresh: FakeService, browser: Browser, person: Person, root: Path
) -> None:
    fresh.add("another", image="venv:gone")
    url = "https://example.org/pasted"
    fresh.images[url] = make_environment(root, new_id())
    assert 'name="environment_repository"' in await browser.get("spawn")
    fields = {"environment": "", "environment_repository": f" {url} "}
    status, _, _ = await browser.post("spawn", fields)
    assert status == 302
    await until(lambda: person.spawner.ready)
    assert fresh.posted == [{"url": url, "reuse": True}]
    kept = person.spawner.user_options
    assert kept["environment"] in fresh.environments
    assert "environment_repository" not in kept


async def test_address_of_the_spawn_page_builds_nothing(
    fresh: FakeService, browser: Browser, person: Person
) -> None:
    fresh.add("another", image="venv:gone")
    async with browser.session.get(
        browser.base.join(URL("spawn")).with_query(environment_repository="https://example.org/x"),
        allow_redirects=False,
    ):
        assert fresh.posted == []


async def test_repository_that_cannot_be_read_is_said_on_the_spawn_page(
    fresh: FakeService, person: Person
) -> None:
    said = "There is no repository at example.org/x, or it is private."
    error = {"code": "repository_not_found", "message": said, "detail": {}}
    fresh.refuse = (404, {"error": error})
    status, answer = await person.spawn({"environment_repository": "https://example.org/x"})
    assert status >= 400
    assert said in answer["message"]
