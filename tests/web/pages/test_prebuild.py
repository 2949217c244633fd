"""The section about building ahead: for the owner, and a secret that is seen once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model.prebuild import Prebuild, PrebuildCause
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.pages.prebuild import begin_words
from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, Person, wait_for_build
from tests.kit.waiting import until_it_comes

READY = "starts right away; no build is needed"


async def page_of(session, url: str, person: str, path: str) -> str:
    headers = {"Authorization": f"token {person}-token"}
    async with session.get(f"{url}{path}", headers=headers) as response:
        assert response.status == 200
        return await response.text()


async def submit(browser: aiohttp.ClientSession, url: str, path: str, **fields: str) -> str:
    xsrf = browser.cookie_jar.filter_cookies(URL(url))["_xsrf"].value
    data = {"_xsrf": xsrf, **fields}
    async with browser.post(url + path, data=data, headers=NAVIGATE) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return await response.text()


async def made_by(person: Person, name: str, git_repo: GitRepo) -> str:
    body = {"url": git_repo.url, "build": False}
    made = (await person(name)("POST", "api/v1/environments", body)).json
    return f"environments/{made['id']}"


async def test_a_secret_is_on_one_page_only(
    person: Person, bobs_browser, session, service_url: str, git_repo: GitRepo
) -> None:
    here = await made_by(person, "bob", git_repo)
    made = await submit(bobs_browser, service_url, f"{here}/hook", host="gitlab")
    (secret,) = re.findall(r'id="hook-secret">(.+?)<', made)
    (address,) = re.findall(r'id="hook-url">(.+?)<', made)
    assert address.startswith(f"{service_url}hooks/")
    assert "Signing token" in made
    page = await page_of(session, service_url, "bob", here)
    assert address in page
    assert "The host has not called yet." in page
    assert secret not in page
    hook = address.rpartition("/")[2]
    again = await submit(bobs_browser, service_url, f"{here}/hook-secret", hook=hook)
    assert re.findall(r'id="hook-secret">(.+?)<', again) != [secret]
    removed = await submit(bobs_browser, service_url, f"{here}/hook-delete", hook=hook)
    assert "Remove it at the host, too." in removed
    assert address not in removed


async def test_a_token_is_on_no_page(
    person: Person, bobs_browser, session, service_url: str, service: JupyterHubBinder, git_repo
) -> None:
    here = await made_by(person, "bob", git_repo)
    api, path = person("bob"), f"api/v1/{here}"
    hook = (await api("POST", f"{path}/hooks", {"host": "github"})).json["id"]
    fields = {"hook": hook, "token": "github_pat_0123456789"}
    refused = await submit(bobs_browser, service_url, f"{here}/hook-token", **fields)
    assert "Commit statuses need a repository that is fetched over https." in refused
    assert fields["token"] not in refused
    moved = {"id": here.rpartition("/")[2], "url": "https://git.example.org/org/repo"}
    query = sa.text("update environments set repo_url = :url where id = :id")
    await service.parts.store._database.run(lambda c: c.execute(query, moved).close())
    page = await submit(bobs_browser, service_url, f"{here}/hook-token", **fields)
    assert "The token is stored, encrypted." in page
    assert "Commit statuses: none sent yet" in page
    answer = await api("GET", f"{path}/prebuild")
    assert answer.json["hooks"][0]["token_set"]
    put = await api("PUT", f"{path}/hooks/{hook}/token", {"token": fields["token"]})
    for text in (page, answer.text, put.text):
        assert fields["token"] not in text
    removed = await submit(bobs_browser, service_url, f"{here}/hook-tokenless", hook=hook)
    assert "Revoke it at the host, too." in removed
    assert "Commit statuses: no token" in removed
    assert (await api("GET", f"{path}/prebuild")).json["hooks"][0]["token_set"] is None


async def test_a_schedule_is_shown_in_words_and_languages(
    person: Person, bobs_browser, session, service_url: str, git_repo: GitRepo
) -> None:
    here = await made_by(person, "bob", git_repo)
    fields = {"preset": "own", "cron": "30 4 * * 1", "time_zone": "Europe/Berlin"}
    page = await submit(bobs_browser, service_url, f"{here}/schedule", **fields)
    assert "Every Monday at 04:30." in page
    assert len(re.findall(r"Mon, \d+ \w+ \d{4}, 04:30", page)) == 3
    german = await page_of(session, service_url, "bob", f"{here}?lang=de")
    assert "Jeden Montag um 04:30." in german
    nightly = await submit(bobs_browser, service_url, f"{here}/schedule", preset="night")
    assert "Every day at 0" in nightly
    off = await submit(bobs_browser, service_url, f"{here}/schedule", preset="")
    assert "Next:" not in off
    refused = await submit(bobs_browser, service_url, f"{here}/schedule", preset="own", cron="x")
    assert "This is not a schedule." in refused


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "It begins in less than two minutes."),
        (-60, "It begins in less than two minutes."),
        (59, "It begins in less than two minutes."),
        (600, "It begins on Mon, 7 Dec 2026, 04:40 (Europe/Berlin)."),
    ],
)
def test_a_check_that_waits_says_when_it_begins(seconds: int | None, words: str) -> None:
    now = datetime(2026, 12, 7, 3, 30, tzinfo=UTC)
    at = None if seconds is None else now + timedelta(seconds=seconds)
    waiting = Prebuild("e1", time_zone="Europe/Berlin", pending=now, not_before=at)
    assert begin_words(waiting, now) == words


async def test_a_second_push_is_told_when_its_check_begins(
    ada: Api, session, service_url: str, new_environment, service: JupyterHubBinder
) -> None:
    made = await new_environment(options={"fake": {"gate": "second-push"}})
    store, id_ = service.parts.store, made["id"]
    await store.delay_prebuild(id_, utc_now() + timedelta(seconds=60), None)
    await store.want_prebuild(id_, PrebuildCause.HOOK, utc_now())
    here = f"environments/{id_}"
    assert "It begins" not in await page_of(session, service_url, "ada", here)
    await ada("POST", f"api/v1/builds/{made['latest']['id']}/cancel")
    await wait_for_build(ada, made["latest"]["id"])
    assert "It begins in less than" in await page_of(session, service_url, "ada", here)


async def test_who_manages_it_for_the_owner_does_not_see_it(
    ada: Api, session, service_url: str, new_environment
) -> None:
    made = await new_environment(build=False)
    here = f"environments/{made['id']}"
    shares = [{"subject": "user:bob", "right": "manage"}]
    await ada("PUT", f"api/v1/{here}/shares", {"shares": shares})
    assert 'id="ahead"' in await page_of(session, service_url, "ada", here)
    assert 'id="ahead"' not in await page_of(session, service_url, "bob", here)


async def test_after_a_push_the_link_is_ready_for_everybody(
    ada: Api, session, service_url: str, git_repo: GitRepo, new_environment
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    path = f"api/v1/environments/{made['id']}"
    hook = (await ada("POST", f"{path}/hooks", {"host": "gitlab"})).json
    link = await link_of(session, service_url, made)
    sha = git_repo.commit({"requirements.txt": "numpy==2.3.3\n"}, "Another numpy")
    headers = {"X-Gitlab-Token": hook["secret"], "X-Gitlab-Event": "Push Hook"}
    address = service_url.partition("/services/")[0] + hook["url"]
    async with session.post(address, headers=headers, data=b"{}") as response:
        assert response.status == 202

    async def ready() -> Any:
        page = await page_of(session, service_url, "eve", link)
        return page if f'title="{sha}"' in page and READY in page else None

    assert "Build and launch" not in await until_it_comes(ready)


async def link_of(session, service_url: str, made: dict[str, Any]) -> str:
    """Return the link that the environment's page offers."""
    page = await page_of(session, service_url, "ada", f"environments/{made['id']}")
    (link,) = set(re.findall(rf'data-copy="{re.escape(service_url)}(v2/[^"]+)"', page))
    return link
