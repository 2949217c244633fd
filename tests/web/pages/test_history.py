"""Going back to an earlier build, without scripts."""

from __future__ import annotations

import re
from typing import Any

import aiohttp

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model import User
from tests.kit.api_client import Api
from tests.kit.service import NAVIGATE, wait_for_build

_BOB = User("bob")


async def built_twice(api: Api, git_url: str) -> dict[str, Any]:
    made = (await api("POST", "api/v1/environments", {"url": git_url})).json
    await wait_for_build(api, made["latest"]["id"])
    path = f"api/v1/environments/{made['id']}/builds"
    again = (await api("POST", path, {"force": True})).json
    await wait_for_build(api, again["latest"]["id"])
    return again


async def test_a_rollback_asks_first_and_is_kept_with_its_reason(
    person, git_repo, bobs_browser: aiohttp.ClientSession, service_url: str
) -> None:
    bob = person("bob")
    made = await built_twice(bob, git_repo.url)
    url = f"{service_url}environments/{made['id']}"
    async with bobs_browser.get(f"{url}/use/1", headers=NAVIGATE) as response:
        text = await response.text()
    assert "Use this build" in text
    token = re.search(r'name="_xsrf" value="([^"]+)"', text)
    assert token
    form = {"_xsrf": token[1], "number": "1", "reason": "<b>too new</b>"}
    async with bobs_browser.post(f"{url}/choose", data=form, headers=NAVIGATE) as response:
        text = await response.text()
    assert response.url.path.endswith(made["id"])
    assert "&lt;b&gt;too new&lt;/b&gt;" in text
    assert "rolled back" in text
    answer = await bob("GET", f"api/v1/environments/{made['id']}/changes?limit=1")
    assert answer.json["total"] == 3
    assert answer.json["items"][0] | {"time": ""} == {
        "number": 3,
        "from_number": 2,
        "to_number": 1,
        "cause": "rolled_back",
        "reason": "<b>too new</b>",
        "by": "bob",
        "time": "",
    }


async def test_a_removed_image_is_said_before_it_is_built_again(
    service: JupyterHubBinder,
    person,
    git_repo,
    bobs_browser: aiohttp.ClientSession,
    service_url: str,
) -> None:
    made = await built_twice(person("bob"), git_repo.url)
    first = await service.parts.environments.requests.get(_BOB, made["id"], 1)
    await service.parts.backend.delete_image(first.build.image)
    url = f"{service_url}environments/{made['id']}/use/1"
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        assert "It was removed to free disk space" in await response.text()


async def test_a_build_that_is_not_there_is_not_found(
    person, git_repo, bobs_browser: aiohttp.ClientSession, service_url: str
) -> None:
    made = await built_twice(person("bob"), git_repo.url)
    url = f"{service_url}environments/{made['id']}/use/99"
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        assert response.status == 404


async def test_a_reason_is_one_bounded_line(person, git_repo) -> None:
    bob = person("bob")
    made = await built_twice(bob, git_repo.url)
    path = f"api/v1/environments/{made['id']}/current"
    for reason in ("two\nlines", "x" * 501):
        answer = await bob("PUT", path, {"number": 1, "reason": reason})
        assert (answer.status, answer.json["error"]["detail"]) == (400, {"field": "reason"})


async def test_the_packages_of_a_build_are_found_compared_and_downloaded(
    person, git_repo, bobs_browser: aiohttp.ClientSession, service_url: str
) -> None:
    bob = person("bob")
    options = {"fake": {"packages": "numpy==1.26.4 six==1.16.0"}}
    made = (
        await bob("POST", "api/v1/environments", {"url": git_repo.url, "options": options})
    ).json
    first = await wait_for_build(bob, made["latest"]["id"])
    path = f"builds/{first['id']}/packages"
    async with bobs_browser.get(f"{service_url}{path}?search=NUM", headers=NAVIGATE) as response:
        text = await response.text()
    assert "numpy" in text
    assert "1.16.0" not in text
    answer = await bob("GET", f"api/v1/{path}")
    assert answer.json["items"][0] == {"name": "numpy", "version": "1.26.4", "source": "pip"}
    csv = await bob("GET", f"api/v1/{path}.csv")
    assert csv.text.splitlines() == ["name,version,source", "numpy,1.26.4,pip", "six,1.16.0,pip"]
    difference = await bob("GET", f"api/v1/builds/{first['id']}/difference")
    assert (difference.json["from_number"], difference.json["known"]) == (None, False)


async def test_a_receipt_is_read_confirmed_and_built_without_scripts(
    person, git_repo, bobs_browser: aiohttp.ClientSession, service_url: str
) -> None:
    ada, bob = person("ada"), person("bob")
    made = (await ada("POST", "api/v1/environments", {"url": git_repo.url})).json
    await wait_for_build(ada, made["latest"]["id"])
    receipt = (await ada("GET", f"api/v1/builds/{made['latest']['id']}/receipt")).text
    url = f"{service_url}receipt"
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        token = re.search(r'name="_xsrf" value="([^"]+)"', await response.text())
    assert token
    form = aiohttp.FormData({"_xsrf": token[1]})
    form.add_field("file", receipt.encode(), filename="environment.json")
    async with bobs_browser.post(url, data=form, headers=NAVIGATE) as response:
        text = await response.text()
    assert (response.status, "This hub signed the receipt." in text) == (200, True)
    form = {"_xsrf": token[1], "receipt": receipt, "then": "build", "name": "Figure 3"}
    async with bobs_browser.post(url, data=form, headers=NAVIGATE) as response:
        assert response.status == 200
    (listed,) = (await bob("GET", "api/v1/environments?search=Figure")).json["items"]
    assert listed["current"]["id"] == made["latest"]["id"]


async def test_a_receipt_that_is_not_valid_says_so_on_the_page(
    person, git_repo, bobs_browser: aiohttp.ClientSession, service_url: str
) -> None:
    ada = person("ada")
    made = (await ada("POST", "api/v1/environments", {"url": git_repo.url})).json
    await wait_for_build(ada, made["latest"]["id"])
    receipt = (await ada("GET", f"api/v1/builds/{made['latest']['id']}/receipt")).text
    url = f"{service_url}receipt"
    async with bobs_browser.get(url, headers=NAVIGATE) as response:
        token = re.search(r'name="_xsrf" value="([^"]+)"', await response.text())
    assert token
    forged = receipt.replace("numpy", "nunpy")
    for given in (forged, "<script>", "[" * 10_000, ""):
        form = {"_xsrf": token[1], "receipt": given}
        async with bobs_browser.post(url, data=form, headers=NAVIGATE) as response:
            text = await response.text()
        assert (response.status, 'role="alert"' in text) == (400, True)
        assert "<script>" not in text.partition("<textarea")[2].partition("</textarea")[0]
    async with bobs_browser.get(f"{url}?build=zzzzzzzzzz", headers=NAVIGATE) as answer:
        assert answer.status == 404
