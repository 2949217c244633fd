"""A link that is followed: what it opens is shown, kept, and in the link that is shared."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, unquote, urlencode

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from tests.git_server import GitRepo
from tests.web.api_client import Api
from tests.web.conftest import Person
from tests.web.fake_hub import FakeHub

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


@pytest_asyncio.fixture(loop_scope="module")
async def browser(
    hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser in which a person has logged in."""
    hub.visitor = "bob"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(service_url, headers=NAVIGATE) as response:
            assert response.status == 200
        yield session


@pytest.fixture
def bob(person: Person) -> Api:
    """The same person, as a program."""
    return person("bob")


def pulling(service_url: str, git_repo: GitRepo, branch: str, opens: str = "") -> URL:
    """Return a link to an environment with the files of a branch, which is made."""
    git_repo.branch(branch)
    pull = urlencode({"repo": git_repo.url, "branch": branch, "urlpath": opens}, safe="/")
    query = urlencode({"urlpath": f"git-pull?{pull}"}, safe="/")
    spec = quote(git_repo.url, safe="")
    return URL(f"{service_url}v2/git/{spec}/HEAD?{query}", encoded=True)


async def confirm(browser: aiohttp.ClientSession, service_url: str, link: URL) -> str:
    """Press the button of a link's page; return where that leads."""
    xsrf = browser.cookie_jar.filter_cookies(URL(service_url))["_xsrf"].value
    async with browser.post(
        link, data={"_xsrf": xsrf}, headers=NAVIGATE, allow_redirects=False
    ) as response:
        assert response.status in (303, 409)  # 409: the server runs something else already
        return response.headers.get("Location", "")


async def test_what_a_link_opens_is_shown_kept_and_in_the_link_to_share(
    browser: aiohttp.ClientSession, bob: Api, service_url: str, git_repo: GitRepo
) -> None:
    link = pulling(service_url, git_repo, "course", "rstudio/")
    async with browser.get(link, headers=NAVIGATE) as response:
        shown = await response.text()
    shown = re.sub(r"<[^>]*>", "", shown)
    assert f"{git_repo.url}, course: your server fetches them" in shown
    assert "/rstudio/" in shown
    where = await confirm(browser, service_url, link)
    launch = (await bob("GET", f"api/v1/launches/{where.rpartition('/')[2]}")).json
    assert launch["path"] == "/rstudio/"
    page = f"{service_url}environments/{launch['environment']['id']}"
    async with browser.get(page, headers=NAVIGATE) as response:
        text = html.unescape(await response.text())
    assert 'value="/rstudio/"' in text
    shared = unquote(unquote(text))
    assert f"git-pull?repo={git_repo.url}&branch=course&urlpath=rstudio/" in shared


async def test_a_link_to_another_branch_of_the_files_is_another_environment(
    browser: aiohttp.ClientSession, bob: Api, service_url: str, git_repo: GitRepo
) -> None:
    for branch in ("spring", "autumn", "spring"):
        await confirm(browser, service_url, pulling(service_url, git_repo, branch))
    kept = (await bob("GET", "api/v1/environments")).json["items"]
    assert sorted(each["content_ref"] for each in kept) == ["autumn", "course", "spring"]
