"""Everything by keyboard alone: no click, and a focus that can be seen wherever Tab leads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.kit.canned import AS_ROOT, LONG_PERSON, PREFIX, all_states, serve
from tests.kit.canned_admin import admin_pages
from tests.kit.live import LiveHub, OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FOCUS = """() => {
  const at = document.activeElement;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  return (outlineStyle !== "none" && parseFloat(outlineWidth) >= 1 || boxShadow !== "none")
    && box.width > 0 && box.height > 0;
}"""
IS_FOCUSED = "each => each === document.activeElement"
MOVING = """() => document.getAnimations().filter((each) => each.playState === "running")
  .map(({ effect }) => effect.target.className)"""


async def tab_to(page: Page, wanted: Locator, *, back: bool = False) -> None:
    """Press Tab until something has the focus; what has it inside our page is marked."""
    await expect(wanted).to_have_count(1)
    for _ in range(80):
        if await wanted.evaluate(IS_FOCUSED):
            return
        await page.keyboard.press("Shift+Tab" if back else "Tab")
        if await page.evaluate("() => document.activeElement.closest('#binder') !== null"):
            at = await page.evaluate("() => document.activeElement.outerHTML.slice(0, 120)")
            assert await page.evaluate(FOCUS), f"its focus cannot be seen: {at}"
    pytest.fail(f"Tab does not lead to {wanted}")


async def press_on(page: Page, wanted: Locator, key: str = "Enter") -> None:
    await tab_to(page, wanted)
    await page.keyboard.press(key)


async def test_main_job_is_done_by_keyboard_alone(hub: LiveHub, open_page: OpenPage):
    url = hub.make_repository("keys")
    page: Page = await open_page()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#binder")).to_be_focused()

    # A link is pasted, understood, named and built.
    await page.keyboard.press("n")
    await expect(page.locator("#url")).to_be_focused()
    await page.keyboard.insert_text(url)
    await expect(page.locator(".b-preview")).to_be_visible()
    await expect(page.locator("#url")).to_be_focused()
    await tab_to(page, page.locator("#name"))
    await page.keyboard.press("Control+a")
    await page.keyboard.type("By keyboard")
    await press_on(page, page.get_by_role("button", name="Build only"))

    # Its log is searched.
    await expect(page).to_have_url(re.compile(r"/builds/\w+$"))
    await expect(page.locator("#logstate")).to_have_text("complete")
    await page.wait_for_load_state()
    await page.keyboard.press("/")
    await expect(page.locator("#findtext")).to_be_focused()
    await page.keyboard.type("e")
    await page.keyboard.press("Enter")
    await expect(page.locator("#found")).to_have_text(re.compile(r"^2 / \d+$"))
    await page.keyboard.press("Escape")
    await expect(page.locator("#lines")).to_be_focused()

    # The environment is renamed.
    await press_back(page, page.locator(".b-back"))
    await page.keyboard.press("r")
    await page.keyboard.press("Control+a")
    await page.keyboard.type("Renamed by keyboard")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Renamed by keyboard")
    await expect(page.locator("#rename summary")).to_be_focused()

    # Help opens and closes, and the focus is where it was.
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await expect(page.get_by_label("Use single-key shortcuts")).to_be_checked()
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()
    await expect(page.locator("#rename summary")).to_be_focused()

    # It is deleted, and that is undone.
    await page.keyboard.press("e")
    row = page.locator(".b-item", has_text="Renamed by keyboard")
    await expect(row).to_be_visible()
    await page.wait_for_load_state()
    await page.keyboard.press("ArrowDown")
    await expect(row.locator(".b-name a")).to_be_focused()
    await press_on(page, row.locator(".b-menu summary"))
    await press_on(page, row.get_by_role("button", name="Delete"))
    await expect(row).to_have_count(0)
    undo = page.get_by_role("button", name="Undo")
    await expect(undo).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(row.locator(".b-name a")).to_be_focused()

    # A server is started.
    await page.keyboard.press("l")
    await expect(page).not_to_have_url(re.compile(r"/services/binder/$"))


async def test_single_keys_can_be_turned_off_and_stay_off(browser):
    server, port = serve(all_states())
    page: Page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}")
    await page.keyboard.press("?")
    await expect(page.get_by_label("Use single-key shortcuts")).to_be_visible()
    await press_on(page, page.get_by_label("Use single-key shortcuts"), "Space")
    await press_on(page, page.locator("#help").get_by_role("button", name="Close"))
    await page.reload()
    await press_on(page, page.get_by_role("button", name="Keyboard shortcuts: press ?"))
    await expect(page.get_by_label("Use single-key shortcuts")).not_to_be_checked()
    await page.keyboard.press("Escape")
    await page.keyboard.press("n")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Environments")
    await page.close()
    server.stop()


async def press_back(page: Page, wanted: Locator) -> None:
    await tab_to(page, wanted, back=True)
    await page.keyboard.press("Enter")
    await expect(page.locator("#rename")).to_be_visible()
    await page.wait_for_load_state()


async def test_menu_closes_with_escape_and_gives_the_focus_back(browser):
    server, port = serve(all_states())
    page: Page = await browser.new_page()
    await page.goto(f"http://127.0.0.1:{port}{PREFIX}")
    menu = page.locator("#env-e000000001 .b-menu summary")
    await press_on(page, menu)
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(menu).to_be_focused()
    await page.close()
    server.stop()


async def test_admin_cancels_and_bans_by_keyboard_alone(browser, tmp_path: Path):
    async with admin_pages(tmp_path, 3) as (address, admin):
        page: Page = await browser.new_page()
        await page.goto(f"{address}admin/queue")
        confirm = page.locator(".b-confirm").first
        await press_on(page, confirm.locator("summary"))
        async with page.expect_navigation(url=re.compile("/admin/queue$")):
            await press_on(page, confirm.get_by_role("button", name="Cancel the build"))
        await press_on(page, page.locator(".b-tabs").get_by_role("link", name="Rules"))
        await tab_to(page, page.locator("#pattern"))
        await page.keyboard.type("github.com/miners/gold")
        await tab_to(page, page.locator("#reason"))
        await page.keyboard.type("It mines.")
        await page.keyboard.press("Enter")
        await expect(page.locator(".b-verdict")).to_contain_text("github.com/miners/gold is banned")
        assert "github.com/miners/gold" in {rule.pattern for rule in admin.rules.all}
        await page.close()


async def test_admin_bans_a_person_from_the_page_of_a_launch_by_keyboard_alone(
    browser, tmp_path: Path
):
    async with admin_pages(tmp_path, 3) as (address, admin):
        page: Page = await browser.new_page(extra_http_headers=AS_ROOT)
        await page.goto(f"{address}launch/x5")
        menu = page.locator(".b-ban > summary")
        await press_on(page, menu)
        await tab_to(page, page.locator("#ban-reason"))
        await page.keyboard.press("Escape")
        await expect(menu).to_be_focused()
        await page.keyboard.press("Enter")
        await tab_to(page, page.locator("#ban-ban"))
        await page.keyboard.press("ArrowDown")
        await expect(page.locator("#ban-ban_person")).to_be_checked()
        await tab_to(page, page.locator("#ban-reason"))
        await page.keyboard.type("Mined coins")
        await tab_to(page, page.locator("#ban-stop"))
        await expect(page.locator("#ban-stop")).to_be_checked()
        await press_on(page, page.locator(".b-ban").get_by_role("button", name="Ban"))
        await expect(page.locator(".b-verdict")).to_contain_text(f"{LONG_PERSON} is banned")
        await expect(page.locator(".b-verdict")).to_contain_text("No server of this person")
        assert admin.rules.is_banned("", LONG_PERSON)
        await page.close()


@pytest.mark.parametrize(
    "path", ["", "builds/b000000002", "launch/x1", "environments/e000000002", "new"]
)
async def test_nothing_moves_for_whoever_wants_no_motion(browser, path: str):
    server, port = serve(all_states())
    for motion, still in (("no-preference", False), ("reduce", True)):
        page: Page = await browser.new_page(reduced_motion=motion)
        await page.route("**/new?*", lambda _: None)
        await page.goto(f"http://127.0.0.1:{port}{PREFIX}{path}")
        if path == "new":
            await page.locator("#url").fill("uni-lab/climate-101")
            await expect(page.locator("#understood")).to_have_attribute("aria-busy", "true")
        assert (await page.evaluate(MOVING) == []) is still, motion
        await page.close()
    server.stop()
