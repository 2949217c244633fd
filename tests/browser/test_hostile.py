"""Strangers' texts in a real browser: no script runs, no title lies, no layout breaks.

Complaints of the browser, those about the Content-Security-Policy among them, fail a test by
themselves (`open_page`); so does a dialog.
"""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.kit.live import LiveHub, OpenPage, call, finish_build

pytestmark = pytest.mark.browser

ATTACK = "</title></textarea><script>alert(1)</script><img src=x onerror=alert(1)>"
BIDI = "\u202egnp.exe\u2066 \x9b2J\u0085"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
REFUSED = """address => new Promise(resolve => {
  const refused = [];
  document.addEventListener("securitypolicyviolation", event => {
    refused.push(event.effectiveDirective);
    if (refused.length === 3) resolve(refused.sort().reverse());
  });
  const script = document.createElement("script");
  script.src = address;
  const inline = document.createElement("script");
  inline.textContent = "window.ran = true";
  document.body.append(script, inline);
  document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.ran = true'>");
})"""


async def hold(page: Page, path: str) -> None:
    """Open a page and hold it to be harmless, wide and narrow."""
    await page.goto(path, wait_until="load")
    await expect(page.locator("#binder")).to_be_visible()
    title = await page.title()
    assert not set(title) & set("\u202e\u2066\x9b\u0085")
    assert await page.locator("[onerror], #binder script").count() == 0
    for width in (1160, 360):
        await page.set_viewport_size({"width": width, "height": 740})
        assert await page.evaluate(TOO_WIDE) <= 0, (path, width)


async def test_hostile_names_refs_and_files_stay_text(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    files = {"requirements.txt": "six\n", f"{'w' * 120}<b>.txt": "x", "<img src=x>/a": "x"}
    url = hub.make_repository("odd", files)
    made = await call(
        page,
        "POST",
        "environments",
        {"url": url, "name": f"{ATTACK}{BIDI}{'x' * 60}", "options": {"fake": {"hostile": True}}},
    )
    await finish_build(page, made["latest"]["id"])
    await hold(page, hub.binder)
    await hold(page, f"{hub.binder}environments/{made['id']}")
    await hold(page, f"{hub.binder}environments/{made['id']}/launch")
    await hold(page, f"{hub.binder}builds/{made['latest']['id']}")
    await expect(page.locator("#lines")).to_contain_text("<script>alert(1)</script>")


async def test_hostile_addresses_stay_text(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    url = hub.make_repository("plain-one")
    for text in (ATTACK, BIDI, "x" * 1500):
        escaped = quote(text, safe="")
        for path in (
            f"new?url={escaped}",
            f"new?url={quote(url, safe='')}&ref={escaped[:240]}",
            f"v2/gh/{escaped}",
            f"?search={escaped[:190]}",
            escaped,
        ):
            await hold(page, hub.binder + path)


async def test_a_script_without_the_nonce_does_not_run(hub: LiveHub, open_page: OpenPage):
    page: Page = await open_page()
    other: Page = await page.context.new_page()  # whose complaints are what is wanted
    await other.goto(hub.binder)
    refused = await other.evaluate(REFUSED, f"{hub.url}hub/static/js/darkmode.js")
    assert refused == ["script-src-elem", "script-src-elem", "script-src-attr"]
    assert await other.evaluate("window.ran") is None
