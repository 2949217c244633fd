"""Draws the pictures of the README: `python -m tests.kit.screenshots docs/_static`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import async_playwright

from tests.kit.canned import PREFIX, all_states, serve

PICTURES = (
    ("environments.png", "", "light", 580),
    ("build.png", "builds/b000000002", "light", 660),
)


async def draw(folder: Path, chromium: str) -> None:
    server, port = serve(all_states()[:4])
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for name, path, scheme, height in PICTURES:
            page = await browser.new_page(
                viewport={"width": 1080, "height": height}, device_scale_factor=1.5
            )
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            await page.goto(f"http://127.0.0.1:{port}{PREFIX}{path}", wait_until="load")
            await page.wait_for_function(
                "!document.querySelector('#lines') || document.querySelector('#L127')"
            )
            await page.screenshot(path=str(folder / name))
        await browser.close()
    server.stop()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/usr/bin/chromium"))
