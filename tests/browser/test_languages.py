"""The pages in German: from template to script, wide and on a phone, chosen and remembered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.i18n.language import speak
from jupyterhub_binder.web.pages.templates import ago
from tests.browser.test_axe import ADMIN_PAGES, PAGES
from tests.kit.canned_admin import admin_pages

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT_OFF = """() => [...document.querySelectorAll("#binder :is(.btn, .b-pill, .b-step, th, label)")]
  .filter((each) => each.checkVisibility() && !each.closest(".b-wide"))
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.textContent.trim())"""


@pytest_asyncio.fixture(loop_scope="module")
async def german(browser: Any) -> AsyncIterator[Page]:
    context = await browser.new_context(locale="de-DE", timezone_id="UTC", reduced_motion="reduce")
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    await context.close()
    assert wrong == []


async def test_a_browser_that_likes_german_gets_it(german: Page, address: str):
    await german.goto(address)
    await expect(german.locator("main")).to_have_attribute("lang", "de")
    await expect(german.get_by_role("heading", level=1)).to_have_text("Umgebungen")
    await expect(german.locator("#count")).to_have_text("9 Umgebungen")
    await expect(german.locator("#env-e000000001")).to_contain_text("1,2 GB")
    await expect(german.locator("#env-e000000001 time")).to_have_text("vor 2 Stunden")


async def test_scripts_say_it_in_german_too(german: Page, address: str):
    await german.goto(f"{address}builds/b000000004")
    await expect(german.locator("#logstate")).to_have_text("vollständig")
    await german.locator("#findtext").fill("steht nirgends")
    await expect(german.locator("#found")).to_have_text("keine Treffer")
    await expect(german.locator("#summary time")).to_have_text("vor 3 Stunden")


AGES = (10, 60, 100, 3_000, 3_200, 30_000, 74_000, 200_000, 530_000, 1_500_000, 9_000_000)
"""Seconds, none at an edge between two words."""
ADD_TIMES = """(times) => document.querySelector("main").insertAdjacentHTML("beforeend",
  times.map((each) => `<time class="added" datetime="${each}" data-ago></time>`).join(""))"""


@pytest.mark.parametrize("language", ["de", "en"])
async def test_scripts_say_times_as_the_server_does(german: Page, address: str, language: str):
    await german.goto(f"{address}?lang={language}")
    now = utc_now()
    times = [now - timedelta(seconds=age) for age in AGES]
    await german.evaluate(ADD_TIMES, [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in times])
    speak(language)
    await expect(german.locator(".added")).to_have_text([ago(time, now) for time in times])


async def test_an_error_is_said_in_german(german: Page, address: str):
    await german.goto(f"{address}nothing-here")
    await expect(german.get_by_role("heading", level=1)).to_have_text("Nicht gefunden")
    await expect(german.locator(".lead")).to_contain_text(
        "Unter dieser Adresse gibt es keine Seite."
    )


async def test_another_language_is_chosen_and_remembered(german: Page, address: str):
    await german.goto(f"{address}?search=Survey")
    await german.get_by_role("link", name="English").click()
    await expect(german.locator("main")).to_have_attribute("lang", "en")
    await expect(german).to_have_url(re.compile(r"search=Survey"))
    await expect(german.locator(".b-item")).to_have_count(1)
    await german.goto(f"{address}new")
    await expect(german.get_by_role("heading", level=1)).to_have_text("New environment")
    await german.get_by_role("link", name="Deutsch").click()
    await german.goto(address)
    await expect(german.locator("main")).to_have_attribute("lang", "de")


@pytest.mark.parametrize("width", [360, pytest.param(1160, marks=pytest.mark.thorough)])
async def test_german_fits_every_page(german: Page, address: str, width: int):
    await german.set_viewport_size({"width": width, "height": 800})
    found = {}
    for path in PAGES:
        await german.goto(address + path)
        found[path] = (await german.evaluate(TOO_WIDE), await german.evaluate(CUT_OFF))
    assert {path: each for path, each in found.items() if each[0] > 0 or each[1]} == {}


@pytest.mark.parametrize("width", [360, pytest.param(1160, marks=pytest.mark.thorough)])
async def test_german_fits_every_tab_of_the_admins(german: Page, tmp_path: Path, width: int):
    await german.set_viewport_size({"width": width, "height": 800})
    found = {}
    async with admin_pages(tmp_path, 60) as (address, _):
        for tab in ADMIN_PAGES:
            await german.goto(f"{address}admin{tab}")
            found[tab] = (await german.evaluate(TOO_WIDE), await german.evaluate(CUT_OFF))
    assert {tab: each for tab, each in found.items() if each[0] > 0 or each[1]} == {}
