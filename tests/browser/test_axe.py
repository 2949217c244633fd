"""axe-core finds nothing on any page in any state: wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.browser.test_admin_pages import TABS
from tests.conftest import install_npm
from tests.kit.axe import AXE, COLOUR_RULES, violations
from tests.kit.canned import AS_ROOT, LONG_PERSON, PREFIX, all_states, serve
from tests.kit.canned_admin import admin_pages
from tests.kit.canned_gallery import feature

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.timeout(600)]

PAGES = (
    "",
    "?search=nothing-has-this-name",
    "?search=Survey",
    "new",
    "new?url=uni-lab/climate-101",
    "new?url=uni-lab/climate-101&ref=main",
    "new?url=uni-lab/built",
    "new?url=uni-lab/julia",
    "new?url=uni-lab/missing",
    "v2/gh/uni-lab/climate-101/main",
    "v2/gh/uni-lab/built/main",
    "v2/gh/uni-lab/julia/main",
    "v2/gh/uni-lab/missing/main",
    *(f"environments/e{n:09}" for n in range(1, 9)),
    *(f"environments/e{n:09}/launch" for n in (1, 2, 5)),
    *(f"builds/b{n:09}" for n in range(1, 7)),
    *(f"launch/x{n}" for n in range(5)),
    "nothing-here",
    "admin",
    "admin/backends",
)
ADMIN_PAGES = (*TABS, "/limits?name=ada", "/limits?holder=group&name=name-0001", "/rules?search=zz")
WIDE, NARROW = 1160, 360

TOO_SMALL = """() => [...document.querySelectorAll("#binder :is(a, button, input, select, summary)")]
  .filter((each) => each.checkVisibility() && !each.closest("#lines")
    && getComputedStyle(each).display !== "inline")
  .map((each) => [each.getBoundingClientRect(), each])
  .filter(([box, each]) => !["checkbox", "radio"].includes(each.type) && Math.min(box.width, box.height) < 23.9)
  .map(([box, each]) => `${box.width} x ${box.height}: ${each.outerHTML.slice(0, 120)}`)"""
"""Controls below 24 pixels, other than links within a sentence and the log's line numbers."""


OVERFLOWS = """() => [...document.querySelectorAll(".b-ban > .b-popup, .b-ban > .b-popup *")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1
    && getComputedStyle(each).display !== "inline" && each.clientWidth)
  .map((each) => each.outerHTML.slice(0, 120))"""


async def _press_help(page: Page) -> None:
    await page.keyboard.press("?")


async def _open_menu(page: Page) -> None:
    await page.locator(".b-menu summary").last.click()


async def _unfold(page: Page) -> None:
    await page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")


async def _launch(page: Page) -> None:
    await page.get_by_role("button", name="Launch").click()
    await expect(page.locator(".b-choices")).to_be_visible()


async def _find(page: Page) -> None:
    await page.locator("#findtext").fill("warning")
    await expect(page.locator("#found")).to_have_text("1 / 1")


async def _paste(page: Page) -> None:
    await page.route("**/new?*", lambda _: None)
    await page.locator("#url").fill("uni-lab/climate-101")
    await expect(page.locator("#understood")).to_have_attribute("aria-busy", "true")


async def _fail(page: Page) -> None:
    await page.locator("#settings button").click()
    await expect(page.locator("#toasts > *")).to_have_count(1)


CHANGES = (
    ("", _press_help),
    ("", _open_menu),
    ("environments/e000000004", _unfold),
    ("environments/e000000001", _launch),
    ("environments/e000000001", _fail),
    ("builds/b000000001", _find),
    ("new", _paste),
)
"""States that somebody has to bring about: where, and how."""


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> Path:
    return install_npm(request.config, AXE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full() -> AsyncIterator[str]:
    server, port = serve(all_states())
    yield f"http://127.0.0.1:{port}{PREFIX}"
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty() -> AsyncIterator[str]:
    server, port = serve((), featured=feature(all_states()[:8], "What its README says.", ""))
    yield f"http://127.0.0.1:{port}{PREFIX}"
    server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Any) -> AsyncIterator[Page]:
    context = await browser.new_context(reduced_motion="reduce")
    yield await context.new_page()
    await context.close()


async def open_at(page: Page, url: str) -> None:
    """Open a page on a wide screen, in light colours, and wait for its log."""
    await page.set_viewport_size({"width": WIDE, "height": 800})
    await page.emulate_media(color_scheme="light")
    await page.goto(url)
    if await page.locator("#lines").count():
        await expect(page.locator("#lines .b-ln").first).to_be_attached()


async def look_at(page: Page, axe: Path) -> list[str]:
    """Return what is wrong with the page as it is: wide and narrow, light and dark."""
    found: list[str] = []
    for width in (WIDE, NARROW):
        await page.set_viewport_size({"width": width, "height": 800})
        for scheme, rules in (("light", None), ("dark", COLOUR_RULES)):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            wrong = await violations(page, axe, rules=rules)
            found += [f"{scheme} {width}: {line}" for line in wrong]
    return found


@pytest.mark.parametrize("path", PAGES)
async def test_page_has_no_violation(page: Page, full: str, axe: Path, path: str):
    await open_at(page, full + path)
    assert await look_at(page, axe) == []


async def test_what_can_be_touched_is_large_enough_on_a_phone(page: Page, full: str):
    found = {}
    for path in PAGES:
        await open_at(page, full + path)
        await page.set_viewport_size({"width": NARROW, "height": 800})
        found[path] = await page.evaluate(TOO_SMALL)
    assert {path: small for path, small in found.items() if small} == {}


async def test_the_head_of_a_log_takes_two_lines_on_a_phone(page: Page, full: str):
    await open_at(page, full + "builds/b000000002")
    await page.set_viewport_size({"width": NARROW, "height": 800})
    box = await page.locator(".b-logbar").bounding_box()
    assert box is not None
    assert box["height"] < 3 * 24


@pytest.mark.parametrize("path", ["", "new", "admin"])
async def test_page_of_somebody_who_has_nothing_yet_has_no_violation(
    page: Page, empty: str, axe: Path, path: str
):
    await open_at(page, empty + path)
    assert await look_at(page, axe) == []


@pytest.mark.parametrize(("path", "change"), CHANGES)
async def test_state_that_somebody_brings_about_has_no_violation(
    page: Page, full: str, axe: Path, path: str, change: Callable[[Page], Awaitable[None]]
):
    await open_at(page, full + path)
    await change(page)
    assert await look_at(page, axe) == []


@pytest.mark.parametrize("path", ["launch/x5", "builds/b000000006"])
async def test_the_menu_that_bans_has_no_violation_and_fits_with_long_names(
    page: Page, full: str, axe: Path, path: str
):
    await page.set_extra_http_headers(AS_ROOT)
    await open_at(page, full + path)
    await page.locator(".b-ban > summary").click()
    await expect(page.get_by_text(LONG_PERSON)).to_be_visible()
    assert await look_at(page, axe) == []
    for width in (WIDE, NARROW):
        await page.set_viewport_size({"width": width, "height": 800})
        box = await page.locator(".b-ban > .b-popup").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert await page.evaluate(OVERFLOWS) == []
    assert await page.evaluate(TOO_SMALL) == []


@pytest.mark.parametrize("rows", [0, 3, pytest.param(60, marks=pytest.mark.thorough)])
async def test_neither_a_tab_of_the_admins_nor_the_public_usage_has_a_violation(
    page: Page, axe: Path, tmp_path: Path, rows: int
):
    found = {}
    async with admin_pages(tmp_path, rows) as (address, _):
        for tab in ADMIN_PAGES:
            await open_at(page, f"{address}admin{tab}")
            await _unfold(page)
            found[tab] = await look_at(page, axe)
        await open_at(page, f"{address}usage")
        await _unfold(page)
        found["the public usage page"] = await look_at(page, axe)
    assert {tab: lines for tab, lines in found.items() if lines} == {}
