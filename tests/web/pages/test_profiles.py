"""Choosing the resources of a launch, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import aiohttp
import pytest

from tests.kit.fake_hub import FakeHub
from tests.kit.service import NAVIGATE, wait_for_build

MEMORY = {"8": "8 GB", "16": "16 GB"}
PROFILES = [
    {"slug": "small", "name": "Small", "description": "", "default": True, "options": []},
    {
        "slug": "large",
        "name": "Large",
        "description": "<i>For lessons",
        "default": False,
        "options": [{"name": "memory", "label": "Memory", "choices": MEMORY, "default": "8"}],
    },
]


@pytest.fixture
def profiles(hub: FakeHub) -> Iterator[None]:
    hub.profiles = PROFILES
    yield
    hub.profiles = []
    hub.servers["bob"].clear()


async def launch(person, browser: aiohttp.ClientSession, url: str, **form: str) -> int:
    """Send the form of a launch; wait until it has ended. Returns the status."""
    async with browser.get(f"{url}/launch", headers=NAVIGATE) as response:
        token = re.search(r'name="_xsrf" value="([^"]+)"', await response.text())
    assert token
    options = {"headers": NAVIGATE, "allow_redirects": False}
    data = {"_xsrf": token[1], **form}
    async with browser.post(f"{url}/launch", data=data, **options) as response:
        location = response.headers.get("Location", "")
    if "/launch/" in location:
        launch_id = location.rpartition("/")[2]
        async with person("bob").events(f"api/v1/launches/{launch_id}/events") as events:
            assert "end" in [event.event async for event in events]
    return response.status


async def test_chosen_resources_reach_the_hub_and_are_remembered(
    person,
    hub: FakeHub,
    profiles: None,
    git_repo,
    bobs_browser: aiohttp.ClientSession,
    service_url: str,
) -> None:
    bob = person("bob")
    made = (await bob("POST", "api/v1/environments", {"url": git_repo.url})).json
    await wait_for_build(bob, made["latest"]["id"])
    url = f"{service_url}environments/{made['id']}"
    async with bobs_browser.get(f"{url}?profile=large", headers=NAVIGATE) as response:
        text = await response.text()
    assert '<option value="large" selected>Large: &lt;i&gt;For lessons</option>' in text
    chosen = {"profile": "large", "profile-option-large--memory": "16"}
    image = {"profile-option-large--image": "evil/image:1", "image": "evil/image:1"}
    assert await launch(person, bobs_browser, url, **chosen, **image) == 303
    options = hub.servers["bob"][""]["user_options"]
    assert options == {"environment": made["id"], "profile": "large", "memory": "16"}

    # The same opens it; another one asks first, and is what a restart then uses.
    assert await launch(person, bobs_browser, url, **chosen) == 303
    assert await launch(person, bobs_browser, url, profile="small") == 409
    assert await launch(person, bobs_browser, url, restart="1") == 303
    assert hub.servers["bob"][""]["user_options"]["profile"] == "small"
    assert await launch(person, bobs_browser, url, profile="huge") == 400


async def test_the_rest_api_says_what_there_is_and_takes_what_is_chosen(
    person, hub: FakeHub, profiles: None, git_repo
) -> None:
    bob = person("bob")
    fields = {"url": git_repo.url, "build": False}
    made = (await bob("POST", "api/v1/environments", fields)).json
    path = f"api/v1/environments/{made['id']}/preferences"
    body = {"profile": "large", "profile_options": {"memory": "16"}}
    answer = (await bob("PUT", path, body)).json
    assert (answer["profile"], answer["profile_options"]) == ("large", {"memory": "16"})
    assert [each["slug"] for each in answer["profiles"]] == ["small", "large"]
    assert (await bob("PUT", path, {"profile_options": {"memory": 16}})).status == 400
    assert (await bob("PUT", path, {"profile": "huge"})).status == 400
    assert (await bob("GET", path)).json == answer
