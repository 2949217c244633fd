"""The gallery and the form that features an environment, without scripts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, wait_for_build

HOSTILE = "<script>alert(1)</script> Start\r\nhere."


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


async def send(browser: aiohttp.ClientSession, page: str, action: str, **form: str) -> int:
    async with browser.get(page, headers=NAVIGATE) as response:
        token = re.search(r'name="_xsrf" value="([^"]+)"', await response.text())
    assert token
    data = {"_xsrf": token[1], **form}
    async with browser.post(
        f"{page}/{action}", data=data, headers=NAVIGATE, allow_redirects=False
    ) as response:
        return response.status


async def read(browser: aiohttp.ClientSession, page: str) -> str:
    async with browser.get(page, headers=NAVIGATE) as response:
        return await response.text()


async def test_an_administrator_features_it_and_others_find_it_above_their_list(
    person,
    git_repo: GitRepo,
    bobs_browser: aiohttp.ClientSession,
    roots_browser: aiohttp.ClientSession,
    service_url: str,
) -> None:
    ada = person("ada")
    made = (await ada("POST", "api/v1/environments", {"url": git_repo.url})).json
    await wait_for_build(ada, made["latest"]["id"])
    page = f"{service_url}environments/{made['id']}"
    assert await send(roots_browser, page, "feature", kind="everyone", text=HOSTILE) == 303
    empty = await read(bobs_browser, service_url)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Start here." in empty
    assert "<script>alert" not in empty
    assert f'action="/services/binder/environments/{made["id"]}/launch"' in empty
    assert "Create your first environment" in empty
    assert 'id="feature"' not in await read(bobs_browser, page)
    for action in ("feature", "unfeature"):
        assert await send(bobs_browser, page, action, kind="everyone") == 403
    assert await send(roots_browser, page, "feature", kind="group", name="") == 400
    assert await send(roots_browser, page, "unfeature") == 303
    assert 'id="featured-title"' not in await read(bobs_browser, service_url)
