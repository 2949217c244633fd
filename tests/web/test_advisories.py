"""Holes that similar projects had, which are not open here. Each test names where it was found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jupyterhub_binder.web.handlers import user_of
from tests.kit import fake_hub
from tests.kit.fake_hub import ADMIN, BUILD, FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import Person
from tests.web.test_hostile import Elements, page_of

TEMPLATES = Path(__file__).parents[2] / "share" / "jupyterhub-binder" / "templates"


@pytest.mark.parametrize("limit", ["user=ada", "group=staff", "service=binder", "server=ada/x"])
def test_a_scope_with_a_filter_gives_nothing(limit: str) -> None:
    """JupyterHub, GHSA-69wv-m5fw-2fhp: a filtered scope counted as a whole one."""
    user = user_of({"name": "ada", "scopes": [f"{ADMIN}!{limit}", f"{BUILD}!{limit}"]})
    assert (user.admin, user.can_build) == (False, False)


def test_no_template_trusts_data() -> None:
    """JupyterHub, GHSA-c4gm-pwx9-9w8j: ``next_url | safe``."""
    templates = {path: path.read_text() for path in TEMPLATES.rglob("*.html")}
    assert len(templates) > 10
    for path, text in templates.items():
        assert not re.search(r"\bautoescape\b|\bMarkup\b", text), path
        for trusted in re.findall(r"([^{}|]*?)\|\s*safe\b", text):
            assert re.fullmatch(r"""\s*(?:'[^'{}]*'|"[^"{}]*")\s*""", trusted), (path, trusted)


async def test_names_of_people_stay_texts(
    hub: FakeHub, person: Person, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tljh-repo2docker, 2026: markup in a user's name ran on an administrator's page."""
    name = "</script><b id=injected>"
    monkeypatch.setitem(fake_hub.PEOPLE, name, fake_hub.PEOPLE["ada"])
    monkeypatch.setitem(hub.servers, name, {})
    options = {"fake": {"hang_at": "building"}}
    body = {"url": git_repo.url, "options": options}
    made = await person(name)("POST", "api/v1/environments", body)
    assert made.status == 201, made.text
    root = person("root")
    build = made.json["latest"]["id"]
    await root("PUT", "api/v1/admin/limits", {"person": name, "builds": 3})
    try:
        shown = 0
        for tab in ("", "/environments", "/use", "/limits", "/audit"):
            text = await page_of(root, f"admin{tab}")
            assert not [
                names for _, names in Elements(text).elements if "injected" in names.values()
            ]
            shown += "&lt;b id=injected&gt;" in text
        assert shown >= 3
    finally:
        await root("POST", f"api/v1/builds/{build}/cancel")


async def test_long_headers_make_no_long_log_lines(
    session, service_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """JupyterHub, CVE-2026-54338: input without a bound was logged."""
    headers = {"X-Request-ID": "r" * 20_000, "Authorization": f"token {'t' * 20_000}"}
    with caplog.at_level("INFO"):
        async with session.get(f"{service_url}api/v1/environments", headers=headers) as response:
            assert response.status == 401
            assert len(response.headers["X-Request-ID"]) < 100
    assert max(len(record.getMessage()) for record in caplog.records) < 1200
