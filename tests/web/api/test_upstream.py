"""What is newer in a real repository, through the API and on the pages."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.model import Spec
from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, Person, wait_for_build


async def ask(service: JupyterHubBinder, repo: GitRepo) -> None:
    """Ask the host now, however lately it was asked."""
    await service.parts.upstreams.asked()
    await service.parts.upstreams.ask(Spec("git", repo.url, "main"))


@pytest.fixture
def bob(person: Person) -> Api:
    return person("bob")


@pytest.fixture
async def built(
    bob: Api, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch, service: JupyterHubBinder
) -> dict[str, Any]:
    """An environment of the newest commit, of a backend that shares images."""
    monkeypatch.setattr(FakeBackend, "needs_checkout", True)
    monkeypatch.setattr(service.parts.backend, "script", {"self_contained": True})
    service.parts.providers._answers.clear()
    body = {"url": git_repo.url, "ref": "main"}
    made = (await bob("POST", "api/v1/environments", body)).json
    await wait_for_build(bob, made["latest"]["id"])
    return made


@pytest.fixture
def page(bobs_browser: aiohttp.ClientSession, service_url: str) -> Any:
    """Return a function that opens a page as bob."""

    async def open_page(path: str) -> str:
        async with bobs_browser.get(f"{service_url}{path}", headers=NAVIGATE) as response:
            assert response.status == 200
            return await response.text()

    return open_page


async def test_newer_commits_and_what_they_change_are_said(
    bob: Api, built: dict[str, Any], service: JupyterHubBinder, git_repo: GitRepo, page: Any
) -> None:
    here = f"api/v1/environments/{built['id']}"
    assert (await bob("GET", f"{here}/upstream")).json["newer"] is None
    git_repo.commit({"index.ipynb": "{}"}, "Add <b>an index</b>")
    await ask(service, git_repo)
    newer = (await bob("GET", here)).json["newer"]
    assert newer["summary"] == "1 new commit · only files changed, no build needed"
    git_repo.commit({"requirements.txt": "numpy==2.3.1\npandas==2.2.3\n"}, "Add pandas")
    await ask(service, git_repo)
    detail = (await bob("GET", f"{here}/upstream")).json["newer"]
    assert (detail["count"], detail["needs_build"]) == (2, True)
    assert detail["recipe"] == [{"path": "requirements.txt", "added": 1, "removed": 0}]
    assert [commit["subject"] for commit in detail["commits"]] == [
        "Add pandas",
        "Add <b>an index</b>",
    ]
    assert "+pandas==2.2.3" in detail["diff"]
    assert detail["summary"].startswith("2 new commits · requirements.txt: +1 \N{MINUS SIGN}0 · ")
    shown = await page(f"environments/{built['id']}")
    assert "Add &lt;b&gt;an index&lt;/b&gt;" in shown
    assert "Update available" in shown
    assert "2 new commits" in await page("")
    updated = (await bob("POST", f"{here}/builds", {})).json
    await wait_for_build(bob, updated["latest"]["id"])
    assert (await bob("GET", here)).json["newer"] is None


async def test_updates_are_chosen_by_the_owner_and_by_nobody_else(
    bob: Api, built: dict[str, Any], person: Person
) -> None:
    here = f"api/v1/environments/{built['id']}"
    assert built["updates"] == "ask"
    assert (await bob("PATCH", here, {"updates": "auto"})).json["updates"] == "auto"
    assert (await bob("PATCH", here, {"updates": "sometimes"})).status == 400
    assert (await person("ada")("PATCH", here, {"updates": "never"})).status == 404
    assert (await bob("PATCH", here, {"updates": "never"})).json["newer"] is None
    state = (await bob("GET", f"{here}/upstream")).json
    assert (state["follows"], state["newer"]) == (False, None)


async def test_a_push_is_built_by_itself_and_a_rollback_holds_until_resumed(
    bob: Api,
    built: dict[str, Any],
    service: JupyterHubBinder,
    git_repo: GitRepo,
    page: Any,
    person: Person,
    bobs_browser: aiohttp.ClientSession,
    service_url: str,
) -> None:
    here = f"api/v1/environments/{built['id']}"
    await bob("PATCH", here, {"updates": "auto"})
    git_repo.commit({"new.ipynb": "{}"}, "Another notebook")
    await ask(service, git_repo)
    async with asyncio.timeout(30):
        while (latest := (await bob("GET", here)).json["latest"])["number"] == 1:
            pass
    await wait_for_build(bob, latest["id"])
    now = (await bob("GET", here)).json
    assert (now["current"]["number"], now["current"]["resolved_ref"]) == (2, git_repo.head)
    assert now["current"]["reused"]
    held = (await bob("PUT", f"{here}/current", {"number": 1})).json
    assert held["hold"]["code"] == "rollback"
    shown = await page(f"environments/{built['id']}")
    assert "Updates are paused because you chose build 1." in shown
    token = re.search(r'name="_xsrf" value="([^"]+)"', shown)
    assert token
    url = f"{service_url}environments/{built['id']}/resume"
    form = {"_xsrf": token[1]}
    async with bobs_browser.post(url, data=form, headers=NAVIGATE) as response:
        assert "Updates are resumed." in await response.text()
    assert (await bob("GET", here)).json["hold"] is None
    audit = (await person("root")("GET", "api/v1/admin/audit?action=build.auto")).json
    assert audit["items"][0]["target"] == built["id"]
