"""An environment that people share: its owner, a member of a group, one who leaves it, an admin."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.kit.live import LiveHub, call, finish_build, sign_in
from tests.kit.real_hub import make_environment

pytestmark = pytest.mark.browser

NAME = "Tidal models"
GROUP = "tides"
WIDE, PHONE = 1160, 360

SignIn = Callable[..., Awaitable[Page]]

TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
ASK_HUB = """async ([method, path, body]) => {
  const { base_url, xsrf_token } = window.jhdata;
  const headers = { "X-XSRFToken": xsrf_token, "Content-Type": "application/json" };
  const sent = { method, headers, body: body && JSON.stringify(body) };
  const answer = await fetch(`${base_url}api/${path}`, sent);
  if (!answer.ok) throw new Error(await answer.text());
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def enter(hub: LiveHub, browser: Any) -> AsyncIterator[SignIn]:
    """Opens the list as somebody, signed in; complaints of the browser fail the test."""
    contexts, complaints = [], []

    async def enter(name: str, *, width: int = WIDE, scheme: Any = "light") -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await sign_in(page, hub, name)
        await page.goto(hub.binder)
        return page

    yield enter
    for context in contexts:
        await context.close()
    assert complaints == []


async def ask_hub(page: Page, method: str, path: str, body: Any = None) -> None:
    """Call the hub's API as the admin who has opened a page of the hub."""
    await page.evaluate(ASK_HUB, [method, path, body])


async def test_an_environment_is_shared_with_a_group_until_an_admin_ends_it(
    hub: LiveHub, enter: SignIn
):
    owner, member = hub.new_person(), hub.new_person()
    owners = await enter(owner)
    admin = await enter("admin", width=PHONE)
    await admin.goto(f"{hub.url}hub/home")
    await ask_hub(admin, "POST", f"users/{member}")
    await ask_hub(admin, "POST", f"groups/{GROUP}")
    await ask_hub(admin, "POST", f"groups/{GROUP}/users", {"users": [member]})
    here = await _share(hub, owners)

    members = await enter(member, width=PHONE, scheme="dark")
    copy = await _launch_and_copy(hub, members, owner)

    await ask_hub(admin, "DELETE", f"groups/{GROUP}/users", {"users": [member]})
    await members.context.close()
    await _is_lost(await enter(member), here, copy)

    await _end_it(hub, admin, owner)
    await owners.reload()
    await expect(owners.locator("#sharing")).not_to_contain_text(GROUP)


async def _share(hub: LiveHub, page: Page) -> str:
    """Share an environment with the group, by its page; return the page's address."""
    image = make_environment(hub.folder / "state-environments", "tides")
    options = {"fake": {"image": image}}
    body = {"url": hub.make_repository("tides"), "name": NAME, "options": options}
    made = await call(page, "POST", "environments", body)
    await finish_build(page, made["latest"]["id"])
    here = f"{hub.binder}environments/{made['id']}"
    await page.goto(here)
    await page.get_by_label("Share with").select_option("group")
    await page.get_by_label("Name of the person or group").fill(GROUP)
    await page.get_by_role("button", name="Share", exact=True).click()
    await expect(page.locator("#sharing")).to_contain_text(f"Group {GROUP} may launch it")
    return here


async def _launch_and_copy(hub: LiveHub, page: Page, owner: str) -> str:
    """Find it under its owner's name, start a server, make a copy; return the copy's address."""
    row = page.locator(".b-item", has_text=NAME)
    await expect(page.get_by_role("heading", name="Shared with me")).to_be_visible()
    await expect(row).to_contain_text(f"from {owner}")
    assert not await page.evaluate(TOO_WIDE)
    await row.get_by_role("button", name=f"Launch: {NAME}").click()
    await page.wait_for_url(re.compile("/user/"))
    await page.goto(hub.binder)
    await expect(row).to_contain_text("Running")
    await row.get_by_role("link", name=NAME, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    await expect(page.get_by_label("Share with")).to_have_count(0)
    assert not await page.evaluate(TOO_WIDE)
    await page.get_by_role("button", name="Make my own copy").click()
    await expect(page.locator("#said")).to_contain_text("This is your own copy.")
    await expect(page.get_by_label("Share with")).to_be_visible()
    return page.url.partition("?")[0]


async def _is_lost(page: Page, here: str, copy: str) -> None:
    """See that the copy stays, and that the page of the original says nothing of it."""
    await expect(page.locator(".b-item")).to_have_count(1)
    await page.goto(here)
    await expect(page.locator(".lead")).to_contain_text("ask the owner for access")
    await expect(page.locator(".b-main")).not_to_contain_text(NAME)
    await page.goto(copy)
    await expect(page.get_by_role("heading", level=1)).to_have_text(NAME)


async def _end_it(hub: LiveHub, page: Page, owner: str) -> None:
    """Find it among everybody's, and end the share."""
    await page.goto(f"{hub.binder}admin/environments?person={owner}")
    await page.get_by_role("link", name=NAME, exact=True).click()
    shares = page.locator("#sharing")
    await shares.locator("summary", has_text="Remove").click()
    assert not await page.evaluate(TOO_WIDE)
    await shares.get_by_role("button", name=f"Remove: Group {GROUP}").click()
    await expect(page.locator("#said")).to_have_text("The shares are saved.")
    await expect(shares).not_to_contain_text(GROUP)
