"""The admins' pages, over things that were made up: wide, narrow, dark, empty, a thousand rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from jupyterhub_binder.model.admin import LimitName
from tests.browser.test_canned import CONTRAST
from tests.kit.canned_admin import ROOT, admin_pages

pytestmark = pytest.mark.browser

TABS = (
    "",
    "/queue",
    "/builds",
    "/environments",
    "/usage",
    "/use",
    "/failures",
    "/backends",
    "/rules",
    "/limits",
    "/drain",
    "/alerts",
    "/audit",
)
ALL_DRAWN = """() => [...document.querySelectorAll("[data-chart]")].every((plot) => {
  const canvas = plot.querySelector("canvas");
  const probe = document.createElement("canvas").getContext("2d");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set(new Uint32Array(data.buffer));
  return JSON.parse(plot.dataset.chart).series.filter((each) => each.values.some(Number)).some((each) => {
    probe.fillStyle = getComputedStyle(plot).getPropertyValue(`--b-s${each.colour}`);
    probe.fillRect(0, 0, 1, 1);
    return seen.has(new Uint32Array(probe.getImageData(0, 0, 1, 1).data.buffer)[0]);
  });
})"""
"""Whether each chart has pixels in the colour of one of its series."""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Page]:
    page = await browser.new_page()
    yield page
    await page.close()


@pytest.mark.parametrize("rows", [0, 3, 1000])
async def test_every_tab_fits_a_phone_and_the_screen_in_light_and_dark(
    page: Page, tmp_path: Path, rows: int
):
    async with admin_pages(tmp_path, rows) as (address, _):
        for tab in TABS:
            await page.set_viewport_size({"width": 1080, "height": 800})
            await page.goto(f"{address}admin{tab}")
            await expect(page.locator(".b-tabs [aria-current]")).to_have_count(1)
            rows_shown = await page.locator(".b-history > li, .b-table tbody tr").count()
            assert rows_shown <= (61 if tab == "/rules" else 51), tab
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                assert await page.evaluate(CONTRAST) == [], (tab, scheme)
            await page.set_viewport_size({"width": 360, "height": 740})
            assert await page.evaluate(WIDE) <= 0, tab
            assert await page.title() != "1"


async def test_long_lists_are_turned_page_by_page(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 1000) as (address, _):
        await page.goto(f"{address}admin/audit")
        await page.get_by_role("link", name="Next").click()
        await expect(page.locator(".b-pages")).to_contain_text("51 to 100 of 1,000")
        await page.get_by_role("link", name="Previous").click()
        await expect(page.locator(".b-pages")).to_contain_text("1 to 50 of 1,000")


async def test_a_ban_is_made_and_offers_to_cancel_what_runs(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 3) as (address, admin):
        await page.goto(f"{address}admin/rules")
        await page.get_by_label("Repositories").fill("https://github.com/uni-lab/Climate-101.git")
        await page.locator("#reason").fill("Too large")
        await page.get_by_role("button", name="Add").click()
        verdict = page.locator(".b-verdict")
        await expect(verdict).to_contain_text("github.com/uni-lab/climate-101 is banned")
        await expect(verdict).to_contain_text("2 builds of it are running or waiting")
        await expect(page.get_by_role("button", name="Cancel these builds")).to_be_visible()
        await page.get_by_label("Remove the rule github.com/uni-lab/climate-101").click()
        await page.get_by_role("button", name="Remove the rule").click()
        await expect(page.locator(".b-history").last).not_to_contain_text("climate-101")
        assert "github.com/uni-lab/climate-101" not in {rule.pattern for rule in admin.rules.all}


async def test_a_cancel_asks_first_and_is_one_key_away(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 3) as (address, _):
        await page.goto(f"{address}admin/queue")
        button = page.get_by_role("button", name="Cancel the build")
        await expect(button.first).to_be_hidden()
        await page.locator(".b-confirm > summary").first.focus()
        await page.keyboard.press("Enter")
        await expect(button.first).to_be_visible()
        await expect(page.locator(".b-question").first).to_have_text(
            "This stops the build for 2 people."
        )


async def test_limits_of_a_person_say_where_they_come_from(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 3) as (address, admin):
        await page.goto(f"{address}admin/limits?name=ada")
        await expect(page.get_by_label("Environments")).to_have_attribute("placeholder", "100")
        await page.get_by_label("Environments").fill("7")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("form.b-card").nth(1)).to_contain_text("7, personal")
        assert admin.limits.value(LimitName.ENVIRONMENTS, "ada") == 7


async def test_everybody_reads_the_message_while_the_service_is_drained(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 3) as (address, admin):
        await page.goto(f"{address}admin/drain")
        await page.get_by_label("Message shown on every page").fill("Upgrade at <b>noon</b>.")
        await page.get_by_role("button", name="Pause builds").click()
        await expect(page.locator(".b-verdict")).to_contain_text("1 build still runs")
        await page.goto(address)
        await expect(page.locator(".b-banner")).to_have_text("Upgrade at <b>noon</b>.")
        await admin.drain.end(ROOT)
        await page.reload()
        await expect(page.locator(".b-banner")).to_have_count(0)


async def test_use_is_sorted_by_its_columns_and_downloaded(page: Page, tmp_path: Path):
    async with admin_pages(tmp_path, 1000) as (address, _):
        await page.goto(f"{address}admin/use")
        await page.get_by_role("link", name="Images").click()
        await expect(page.locator("[aria-sort]")).to_have_text("Images")
        await expect(page.locator("tbody tr").first).to_contain_text("student-0997")
        href = await page.get_by_role("link", name="Download as CSV").get_attribute("href")
        assert href is not None
        assert href.endswith("use.csv?days=30&sort=image_bytes")


async def test_charts_have_the_colours_of_the_theme_on_a_screen_and_on_paper(
    page: Page, tmp_path: Path
):
    async with admin_pages(tmp_path, 3) as (address, _):
        html = page.locator("html")
        await page.emulate_media(color_scheme="light")
        await page.goto(f"{address}admin/usage")
        await page.wait_for_function(ALL_DRAWN)
        await page.emulate_media(color_scheme="dark")
        for event, theme in (("", "dark"), ("beforeprint", "light"), ("afterprint", "dark")):
            await page.evaluate("(name) => name && dispatchEvent(new Event(name))", event)
            await expect(html).to_have_attribute("data-bs-theme", theme)
            await page.wait_for_function(ALL_DRAWN)


async def test_the_arrow_keys_read_a_chart(page: Page, tmp_path: Path):
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    async with admin_pages(tmp_path, 3) as (address, _):
        await page.goto(f"{address}admin/usage")
        section = page.locator("section:has([data-chart])").first
        weeks = await section.locator("tbody th").all_text_contents()
        await section.locator("canvas").focus()
        told = section.locator("[aria-live]")
        for key, place in (("Home", 0), ("ArrowRight", 1), ("End", -1), ("ArrowRight", -1)):
            await page.keyboard.press(key)
            await expect(told).to_contain_text(f"{weeks[place]}: binder-")
        await page.keyboard.press("ArrowLeft")
        await expect(told).to_contain_text(weeks[-2])
        await page.keyboard.press("Escape")
        await expect(told).to_have_text("")
        # Past a chart of which nothing was read.
        await page.locator("section canvas").nth(1).focus()
        await page.keyboard.press("Tab")
    assert errors == []


@pytest.mark.parametrize("scripts", [False, True])
async def test_a_chart_that_cannot_be_drawn_is_its_table(
    browser: Any, tmp_path: Path, scripts: bool
):
    async with admin_pages(tmp_path, 3) as (address, _):
        page = await browser.new_page(java_script_enabled=scripts)
        await page.route("**/chart.umd.min.js", lambda route: route.abort())
        await page.goto(f"{address}usage")
        section = page.locator("section:has([data-chart])").first
        await expect(section.locator("tbody th").first).to_be_visible()
        await expect(section.locator("canvas")).to_be_hidden()
        await page.close()
