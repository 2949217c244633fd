"""What a rule refuses has no button that would only be refused, and says why."""

from __future__ import annotations

import html
import re

import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model.admin import RuleKind
from tests.kit.api_client import Api
from tests.kit.parts import ADMIN
from tests.kit.service import wait_for_build


async def read(api: Api, path: str) -> str:
    async with api.session.get(f"{api.url}{path}", headers=api.headers) as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.parametrize(
    ("kind", "pattern", "reason", "words"),
    [
        (RuleKind.BAN, "127.0.0.1*/org/*", "Mines coins", "is banned on this hub: Mines coins."),
        (RuleKind.BAN_PERSON, "ada", "", "The account ada is banned"),
        (RuleKind.ALLOW, "git.example.org/*", "", "This hub does not allow"),
    ],
)
async def test_pages_offer_no_launch_of_what_is_refused(
    ada: Api,
    service: JupyterHubBinder,
    new_environment,
    kind: RuleKind,
    pattern: str,
    reason: str,
    words: str,
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    page = f"environments/{made['id']}"
    paths = ("", page, f"{page}/launch", f"builds/{made['latest']['id']}")
    offer = re.compile(rf'action="[^"]*{page}/(launch|build|copy)"')
    rules = service.parts.rules
    for path in paths:
        assert offer.search(await read(ada, path)), path
    rule = await rules.add(ADMIN, kind, pattern, reason)
    try:
        for path in paths:
            text = await read(ada, path)
            assert not offer.search(text), path
            assert words in html.unescape(re.sub(r"<[^>]+>", "", text)), path
    finally:
        await rules.remove(ADMIN, rule.id)
