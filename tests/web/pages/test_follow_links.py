"""A link that is followed: what it opens is shown, kept, and in the link that is shared."""

from __future__ import annotations

import html
import re
from urllib.parse import quote, unquote, urlencode

import aiohttp
import pytest
from yarl import URL

from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, Person


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


async def confirm(bobs_browser: aiohttp.ClientSession, service_url: str, link: URL) -> str:
    """Press the button of a link's page; return where that leads."""
    xsrf = bobs_browser.cookie_jar.filter_cookies(URL(service_url))["_xsrf"].value
    async with bobs_browser.post(
        link, data={"_xsrf": xsrf}, headers=NAVIGATE, allow_redirects=False
    ) as response:
        assert response.status in (303, 409)  # 409: the server runs something else already
        return response.headers.get("Location", "")


async def test_what_a_link_opens_is_shown_kept_and_in_the_link_to_share(
    bobs_browser: aiohttp.ClientSession, bob: Api, service_url: str, git_repo: GitRepo
) -> None:
    link = pulling(service_url, git_repo, "course", "rstudio/")
    async with bobs_browser.get(link, headers=NAVIGATE) as response:
        shown = await response.text()
    shown = re.sub(r"<[^>]*>", "", shown)
    assert f"{git_repo.url}, course; your server fetches them" in shown
    assert "/rstudio/" in shown
    where = await confirm(bobs_browser, service_url, link)
    launch = (await bob("GET", f"api/v1/launches/{where.rpartition('/')[2]}")).json
    assert launch["path"] == "/rstudio/"
    page = f"{service_url}environments/{launch['environment']['id']}"
    async with bobs_browser.get(page, headers=NAVIGATE) as response:
        text = html.unescape(await response.text())
    assert 'value="/rstudio/"' in text
    shared = unquote(unquote(text))
    assert f"git-pull?repo={git_repo.url}&branch=course&urlpath=rstudio/" in shared


async def test_a_link_to_another_branch_of_the_files_is_another_environment(
    bobs_browser: aiohttp.ClientSession, bob: Api, service_url: str, git_repo: GitRepo
) -> None:
    for branch in ("spring", "autumn", "spring"):
        await confirm(bobs_browser, service_url, pulling(service_url, git_repo, branch))
    kept = (await bob("GET", "api/v1/environments")).json["items"]
    assert sorted(each["content_ref"] for each in kept) == ["autumn", "course", "spring"]
