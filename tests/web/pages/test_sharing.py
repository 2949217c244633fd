"""What the pages tell those who may use an environment, and those who may not."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

NAME = "Tidal models"
PEOPLE = ("grace", "eve")
"""In the group, and in none."""


@pytest.fixture
async def environment(ada, new_environment) -> dict[str, Any]:
    return await new_environment(name=NAME, build=False)


async def page_of(
    session: aiohttp.ClientSession, url: str, person: str, path: str
) -> tuple[int, str]:
    """Return the status and text of a page, as a person sees it."""
    headers = {"Authorization": f"token {person}-token"}
    async with session.get(f"{url}{path}", headers=headers, allow_redirects=False) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("everyone", "Everyone at this hub can open this environment with this link."),
        ("group:astronomy", "Others are told to ask you."),
        (None, ""),
    ],
)
async def test_the_link_and_the_badge_carry_the_share(
    ada, session, service_url, environment, subject, words
) -> None:
    here = f"environments/{environment['id']}"
    shares = [{"subject": subject, "right": "launch"}] if subject else []
    assert (await ada("PUT", f"api/v1/{here}/shares", {"shares": shares})).status == 200
    _, page = await page_of(session, service_url, "ada", here)
    link = f"{service_url}{here}/launch"
    badge = f"[![launch binder]({service_url}badge_logo.svg)]({link})"
    assert words in page
    assert (f'<code class="b-wrap">{link}</code>' in page) == bool(subject)
    assert (badge in page) == bool(subject)
    opened = {who: await page_of(session, service_url, who, f"{here}/launch") for who in PEOPLE}
    statuses = {who: status for who, (status, _) in opened.items()}
    may = {"everyone": PEOPLE, "group:astronomy": ("grace",)}.get(subject, ())
    assert statuses == {who: 200 if who in may else 404 for who in PEOPLE}


@pytest.mark.parametrize("path", ["", "/launch"])
async def test_others_are_told_to_ask_the_owner_and_nothing_else(
    session, service_url, environment, path
) -> None:
    status, page = await page_of(
        session, service_url, "eve", f"environments/{environment['id']}{path}"
    )
    assert (status, "ask the owner for access" in page) == (404, True)
    for secret in (NAME, "org/repo", "ada"):
        assert secret not in page
