"""A click on a file launches the environment with it, without scripts."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model import Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.mirror import Mirrors
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, wait_for_build

HOSTILE = "<img src=x>\u202egpj.ipynb"
FILES = {
    "README.md": "x",
    "a b/<b>c#.ipynb": "{}",
    HOSTILE: "{}",
    **{f"week {number}.ipynb": "{}" for number in range(1, 15)},
}


@pytest.fixture
async def bobs_environment(person, git_repo: GitRepo) -> str:
    bob = person("bob")
    git_repo.commit(FILES)
    made = (await bob("POST", "api/v1/environments", {"url": git_repo.url})).json
    await wait_for_build(bob, made["latest"]["id"])
    return made["id"]


async def fill_mirror(service: JupyterHubBinder, repo: GitRepo, into: Path) -> None:
    """Do what the build of a backend that runs code does first."""
    git = Git(protocols=["http"], private_hosts=["127.0.0.1"])
    mirrors = Mirrors(git=git, root=str(Path(service.state_dir) / "mirrors"))
    fetcher = Fetcher(git=git, mirrors=mirrors)
    await fetcher.checkout(await Providers(git=git).resolve(Spec("git", repo.url)), into)


async def test_a_file_opens_in_a_new_server_and_in_one_that_runs(
    person,
    service: JupyterHubBinder,
    hub: FakeHub,
    git_repo: GitRepo,
    bobs_environment: str,
    bobs_browser: aiohttp.ClientSession,
    service_url: str,
    tmp_path: Path,
) -> None:
    url = f"{service_url}environments/{bobs_environment}"
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        assert "Open a file" not in await response.text()  # there is no mirror yet
    await fill_mirror(service, git_repo, tmp_path / "checkout")
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        text = await response.text()
    assert re.findall(r'name="file" value="([^"]+)"', text)[:3] == [
        *("README.md", "week 1.ipynb", "week 2.ipynb"),
    ]
    assert '?files=all#files">8 more' in text
    assert "<img src=x>" not in text
    token = re.search(r'name="_xsrf" value="([^"]+)"', text)
    assert token
    async with bobs_browser.get(f"{url}?find=c", headers=NAVIGATE) as response:
        found = await response.text()
    assert 'name="file" value="a b/&lt;b&gt;c#.ipynb"' in found
    assert 'value="week 1.ipynb"' not in found

    form = {"_xsrf": token[1], "file": "a b/<b>c#.ipynb"}
    options = {"headers": NAVIGATE, "allow_redirects": False}
    async with bobs_browser.post(f"{url}/launch", data=form, **options) as response:
        launch = response.headers["Location"].removeprefix(f"{service.base_url}launch/")
    async with person("bob").events(f"api/v1/launches/{launch}/events") as events:
        assert "end" in [event.event async for event in events]
    assert hub.servers["bob"][""]["user_options"]["path"] == form["file"]
    async with bobs_browser.post(f"{url}/launch", data=form, **options) as response:
        assert unquote(response.headers["Location"]).endswith("/lab/tree/repo/a b/<b>c#.ipynb")
