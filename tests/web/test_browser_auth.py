"""A browser's way in: the hub's login, the cookie, and the XSRF token that goes with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.api_client import Answer, ask
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, Person

FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


class Browser:
    """A session with cookies; `xsrf` is the token of the service's own cookie."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    @property
    def xsrf(self) -> str:
        return self.session.cookie_jar.filter_cookies(URL(self.url))["_xsrf"].value

    async def __call__(self, method: str, path: str, headers=FETCH, **kwargs) -> Answer:
        return await ask(self.session, method, self.url, path, headers=headers, **kwargs)


@pytest_asyncio.fixture(loop_scope="module")
async def browser(
    hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> AsyncIterator[Browser]:
    """A browser in which ada has logged in."""
    hub.visitor = "ada"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(service_url, headers=NAVIGATE) as response:
            assert response.status == 200, await response.text()
        yield Browser(session, service_url)


async def test_a_stranger_is_sent_to_the_hub(hub: FakeHub, service_url: str, session) -> None:
    async with session.get(service_url, headers=NAVIGATE, allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith(f"{hub.url}/hub/api/oauth2/authorize")


@pytest.mark.parametrize(
    ("before", "link"),
    [
        ("{here}new?url=a%2Fb", "/services/binder/new?url=a%2Fb"),
        ("https://evil.example/services/binder/new", "/services/binder/"),
        ("", "/services/binder/"),
    ],
)
async def test_form_of_somebody_whose_login_expired_leads_back_to_its_page(
    service_url: str, session, before: str, link: str
) -> None:
    headers = {**NAVIGATE, "Referer": before.format(here=service_url)}
    async with session.post(f"{service_url}new", headers=headers, data={"url": "a/b"}) as response:
        assert response.status == 401
        text = await response.text()
    assert f'id="sign-in" href="{link}">Sign in again</a>' in text


async def test_script_of_somebody_whose_login_expired_is_not_sent_away(
    service_url: str, session
) -> None:
    headers = {**FETCH, "X-XSRFToken": "old"}
    async with session.get(service_url, headers=headers, allow_redirects=False) as response:
        assert response.status == 401


async def test_after_the_login_the_api_knows_who_i_am(browser: Browser) -> None:
    answer = await browser("GET", "api/v1/", headers={**FETCH, "X-XSRFToken": browser.xsrf})
    assert answer.json["user"]["name"] == "ada"


async def test_a_cookie_alone_writes_nothing(browser: Browser, git_repo: GitRepo) -> None:
    body = {"url": git_repo.url, "build": False}
    for headers in (FETCH, {}, NAVIGATE, {**FETCH, "X-XSRFToken": "made-up"}):
        answer = await browser("POST", "api/v1/environments", headers=headers, json=body)
        assert (answer.status, answer.code) == (403, "xsrf")
    headers = {**FETCH, "X-XSRFToken": browser.xsrf}
    answer = await browser("POST", "api/v1/environments", headers=headers, json=body)
    assert answer.status == 201


async def test_a_script_of_another_page_reads_nothing(browser: Browser) -> None:
    answer = await browser("GET", "api/v1/environments")
    assert (answer.status, answer.code) == (403, "xsrf")


async def test_an_event_source_has_its_token_in_the_query(browser: Browser) -> None:
    answer = await browser("GET", f"api/v1/builds/23456789ab/events?_xsrf={browser.xsrf}")
    assert answer.status == 404
    assert (await browser("GET", "api/v1/builds/23456789ab/events")).status == 403


async def test_a_token_needs_no_xsrf_token(browser: Browser, git_repo: GitRepo) -> None:
    headers = {**FETCH, "Authorization": "token bob-token"}
    body = {"url": git_repo.url, "build": False}
    answer = await browser("POST", "api/v1/environments", headers=headers, json=body)
    assert (answer.status, answer.json["owner"]) == (201, "bob")


async def test_a_forged_cookie_is_nobody(service_url: str) -> None:
    cookies = {"service-binder": "2|1:0|10:1700000000|14:service-binder|12:YWRh|abcdef"}
    async with (
        aiohttp.ClientSession(cookies=cookies) as session,
        session.get(f"{service_url}api/v1/", headers=NAVIGATE) as response,
    ):
        assert response.status == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "/\\evil.example"])
async def test_nothing_redirects_to_another_site(browser: Browser, target: str) -> None:
    async with browser.session.get(
        f"{browser.url}?next={target}", headers=NAVIGATE, allow_redirects=False
    ) as response:
        location = response.headers.get("Location", "")
        assert urlsplit(location).netloc in ("", urlsplit(browser.url).netloc)


async def test_a_wrong_token_of_the_service_is_said_by_page_health_and_metrics(
    hub: FakeHub,
    service: JupyterHubBinder,
    service_url: str,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jupyterhub_binder.maintenance.health._FRESH_SECONDS", 0)
    monkeypatch.setattr(hub, "service_token", "another")
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
        session.get(service_url, headers=NAVIGATE) as response,
    ):
        assert (response.status, response.url.path) == (503, "/services/binder/oauth_callback")
        assert "Ask an administrator to restart the hub." in await response.text()
    for name, said in ((None, "The hub must be restarted."), ("root", "JUPYTERHUB_API_TOKEN")):
        answer = await person(name)("GET", "health")
        assert answer.status == 503
        (wrong,) = [check for check in answer.json["checks"] if not check["ok"]]
        assert wrong["service"] == "token"
        assert said in wrong["message"]
    metrics = (await person("root")("GET", "metrics")).text
    assert 'part_up{part="token"} 0.0' in metrics
    assert 'part_up{part="hub"} 1.0' in metrics


async def test_health_notices_a_hub_that_goes_away(
    hub: FakeHub, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterhub_binder.maintenance.health._FRESH_SECONDS", 0)
    assert (await person(None)("GET", "health")).status == 200
    monkeypatch.setattr(hub, "down", True)
    answer = await person(None)("GET", "health")
    assert [c["service"] for c in answer.json["checks"] if not c["ok"]] == ["hub"]


async def test_a_sign_in_that_is_not_this_browsers_gets_a_page(service_url: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service_url}oauth_callback?code=x&state=y", headers=NAVIGATE) as response,
    ):
        assert response.status == 400
        assert "Signing in did not work." in await response.text()
