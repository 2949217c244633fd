"""BinderHub's own JavaScript client, unchanged, builds through us."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from yarl import URL

from tests.conftest import find_node, install_npm
from tests.kit.git_server import GitRepo
from tests.web.binderhub.test_handlers import spec_of
from tests.web.test_browser_auth import NAVIGATE, Browser, browser  # noqa: F401 - a fixture

pytestmark = pytest.mark.node

CLIENT = "@jupyterhub/binderhub-client@0.5.0"
SCRIPT = Path(__file__).with_name("binderhub_client.mjs")


@pytest.fixture(scope="module")
def node_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the client from the npm registry."""
    return install_npm(request.config, CLIENT)


async def build(
    folder: Path, url: str, spec: str, *, token: str = "", cookie: str = ""
) -> list[Any]:
    """Build with the client; return its events."""
    node = find_node()
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        node, SCRIPT, folder, f"{url}build", spec, token, cookie,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]


async def test_client_builds_with_a_token(node_folder, service_url, git_repo: GitRepo) -> None:
    sha = git_repo.git("commit-tree", "HEAD^{tree}", "-m", "for the client")
    git_repo.branch("for/the-client", sha)
    spec = spec_of(git_repo, "for/the-client")
    events = await build(node_folder, service_url, spec, token="ada-token")
    assert [event["phase"] for event in events][-1] == "ready"
    assert events[-1]["imageName"].startswith("fake:")
    assert len(events) > 10
    (found,) = await build(node_folder, service_url, spec, token="ada-token")
    assert found["phase"] == "ready"


async def test_client_builds_with_a_cookie_and_the_xsrf_token(
    node_folder,
    browser: Browser,  # noqa: F811
    git_repo: GitRepo,
) -> None:
    # A real hub's session; without it the XSRF token hangs on headers that Node sends otherwise.
    jar = browser.session.cookie_jar
    jar.update_cookies({"jupyterhub-session-id": "ada's"}, URL(browser.url))
    async with browser.session.get(browser.url, headers=NAVIGATE) as page:
        assert page.status == 200
    cookies = jar.filter_cookies(URL(browser.url))
    cookie = "; ".join(f"{name}={each.coded_value}" for name, each in cookies.items())
    events = await build(node_folder, browser.url, spec_of(git_repo), cookie=cookie)
    assert events[-1]["phase"] == "ready", events


async def test_client_is_told_why_it_failed(node_folder, service_url, git_repo: GitRepo) -> None:
    spec = f"git/{quote(git_repo.url, safe='')}/no-such-branch"
    (event,) = await build(node_folder, service_url, spec, token="ada-token")
    assert event["phase"] == "failed"
    assert "no-such-branch" in event["message"]


async def test_client_without_a_token_is_told_so(node_folder, service_url, git_repo) -> None:
    (event,) = await build(node_folder, service_url, spec_of(git_repo))
    assert (event["phase"], event["status_code"]) == ("failed", 401)
