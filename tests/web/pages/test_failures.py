"""What the page of an environment says of a build that failed."""

from __future__ import annotations

import aiohttp
import pytest

from tests.kit.canned import PREFIX, all_states, serve

REASON = "numpy 1.19 has no build for Python 3.12."


@pytest.fixture
async def page() -> str:
    """The page of an environment that starts although its newest build failed."""
    server, port = serve(all_states())
    url = f"http://127.0.0.1:{port}{PREFIX}environments/e000000004"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    server.stop()
    return text


async def test_a_failure_is_told_once_below_what_can_be_launched(page: str) -> None:
    assert page.count(REASON) == 1
    places = [page.index(text) for text in ("Launch in", "Build 2 failed:", "Build the newest")]
    assert places == sorted(places)


async def test_a_quoted_line_leads_to_its_place_in_the_log(page: str) -> None:
    _, _, failure = page.partition('id="failure"')
    failure, _, _ = failure.partition("</section>")
    assert "unsatisfiable" in failure
    assert f'href="{PREFIX}builds/b000000004#L124"' in failure
