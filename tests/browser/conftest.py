"""A hub with the fake backend and a Chromium for all tests of this folder.

Every test has a person of its own, so that tests do not see each other's environments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.canned import PREFIX, all_states, serve
from tests.kit.live import LiveHub, OpenPage, sign_in, start_hub, stop_hub


@pytest.fixture(scope="session")
def hub(require_chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    """A hub with the fake backend."""
    live = start_hub(tmp_path_factory.mktemp("hub"))
    yield live
    stop_hub(live)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[str]:
    """Where pages of made-up environments are, one in each state."""
    server, port = serve(all_states())
    yield f"http://127.0.0.1:{port}{PREFIX}"
    server.stop()


# --- The browser --------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(require_chromium: str) -> AsyncIterator[Any]:
    """A Chromium without a window."""
    from playwright.async_api import async_playwright, expect

    # A busy machine draws a page late; what is wrong stays wrong.
    expect.set_options(timeout=30_000)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=require_chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(hub: LiveHub, browser: Any) -> AsyncIterator[OpenPage]:
    """Opens a page as a new person, signed in; complaints of the browser fail the test."""
    contexts, complaints = [], []

    async def open_page(path: str = "", *, width: int = 1160, **options: Any) -> Any:
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, base_url=hub.binder, **options
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.extend(_complaint(message)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        await sign_in(page, hub, hub.new_person())
        await page.goto(hub.binder + path)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert complaints == []


def _complaint(message: Any) -> list[str]:
    """Return what a console message complains of; statuses of answers are no complaint."""
    if message.type != "error" or "Failed to load resource" in message.text:
        return []
    return [message.text]
