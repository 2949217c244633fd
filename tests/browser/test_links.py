"""A link or a badge that somebody follows: it shows, asks once, and opens a server."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.kit.live import LiveHub, OpenPage, call, finish_build

pytestmark = pytest.mark.browser


def link_to(hub: LiveHub, name: str, query: str = "") -> str:
    """Return the path of a link to a new repository of that name."""
    return f"v2/git/{quote(hub.make_repository(name), safe='')}/main{query}"


async def environments_of(page: Page) -> list[Any]:
    return (await call(page, "GET", "environments"))["items"]


async def test_followed_link_builds_and_launches_after_one_confirmation(
    hub: LiveHub, open_page: OpenPage
):
    page: Page = await open_page(link_to(hub, "followed", "?labpath=notebooks/a%20b.ipynb"))
    await expect(page.get_by_role("heading", name="Open followed")).to_be_visible()
    await expect(page.locator(".b-preview")).to_contain_text("notebooks/a b.ipynb")
    assert await environments_of(page) == []
    await page.get_by_role("button", name="Build and launch").click()
    await expect(page).to_have_url(re.compile("/launch/"))
    await page.goto(hub.binder)  # the launch goes on, and its page would leave by itself
    (made,) = await environments_of(page)
    assert made["path"] == "notebooks/a b.ipynb"


async def test_second_visit_of_a_link_uses_the_environment_of_the_first(
    hub: LiveHub, open_page: OpenPage
):
    path = link_to(hub, "twice")
    page: Page = await open_page(path)
    made = await call(page, "POST", "environments", {"url": hub.binder + path, "name": "Mine"})
    await finish_build(page, made["latest"]["id"])
    await page.goto(hub.binder + path)
    await expect(page.locator(".b-lead")).to_contain_text("You already have this as Mine.")
    await page.get_by_role("button", name="Launch").click()
    await expect(page).not_to_have_url(re.compile("/v2/"))
    await page.goto(hub.binder)
    assert [each["id"] for each in await environments_of(page)] == [made["id"]]


async def test_link_that_leads_nowhere_ends_in_the_form_where_it_can_be_mended(
    hub: LiveHub, open_page: OpenPage
):
    path = link_to(hub, "lost").replace("/main", "/no-such-branch")
    page: Page = await open_page(path)
    await expect(page.get_by_role("alert")).to_contain_text("no-such-branch")
    await expect(page.get_by_label("Paste a link")).to_have_value(hub.binder + path)


async def test_environment_gives_a_link_that_leads_others_to_one_of_their_own(
    hub: LiveHub, open_page: OpenPage
):
    owner: Page = await open_page()
    made = await call(
        owner, "POST", "environments", {"url": hub.make_repository("shared"), "path": "a.ipynb"}
    )
    await owner.goto(f"{hub.binder}environments/{made['id']}")
    await owner.get_by_text("Share a link…").click()
    link = await owner.locator("#share code").first.inner_text()
    badge = owner.get_by_role("img", name="launch binder")
    await expect(badge).to_be_visible()
    assert await badge.evaluate("image => image.naturalWidth") == 118

    other: Page = await open_page(link.removeprefix(hub.binder))
    await expect(other.get_by_role("heading", name="Open shared")).to_be_visible()
    await expect(other.locator(".b-preview")).to_contain_text("a.ipynb")
    assert await environments_of(other) == []
