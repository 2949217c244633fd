"""What one person may try against another: names, frames, forms and paths that lead elsewhere."""

from __future__ import annotations

import re
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model import BuildEvent, Phase
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.api.builds import plain_text
from tests.kit.api_client import Api
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import NAVIGATE, Person
from tests.kit.waiting import until


def xsrf_of(session: aiohttp.ClientSession, url: str) -> str:
    return session.cookie_jar.filter_cookies(URL(url))["_xsrf"].value


async def test_somebody_called_star_sees_nobodys_environments(
    person: Person, new_environment
) -> None:
    await new_environment(build=False)
    for path in ("api/v1/environments", "api/v1/environments?owner=*"):
        assert (await person("*")("GET", path)).json["items"] == []


async def test_nobody_is_the_namesake_of_a_service(person: Person) -> None:
    assert (await person("service:cron")("GET", "api/v1/")).status == 403


async def test_a_build_of_somebody_else_cannot_be_cancelled_by_its_page(
    bobs_browser, service_url: str, new_environment
) -> None:
    build_id = (await new_environment())["latest"]["id"]
    async with bobs_browser.post(
        f"{service_url}builds/{build_id}/cancel",
        data={"_xsrf": xsrf_of(bobs_browser, service_url)},
        headers=NAVIGATE,
        allow_redirects=False,
    ) as response:
        assert response.status == 404


@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate", "same-origin", "nonsense"])
@pytest.mark.parametrize("site", ["same-origin", "same-site", "cross-site", "none"])
async def test_a_cookie_alone_posts_nothing_whatever_the_browser_says(
    bobs_browser, service_url: str, git_repo: GitRepo, mode: str, site: str
) -> None:
    headers = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Site": site}
    async with bobs_browser.post(
        f"{service_url}new", data={"url": git_repo.url}, headers=headers, allow_redirects=False
    ) as response:
        assert response.status == 403


_OF_ADMINS = [
    *[("PUT", "api/v1/admin/drain"), ("DELETE", "api/v1/admin/drain"), ("POST", "admin/drain")],
    *[("POST", "api/v1/admin/rules"), ("PUT", "api/v1/admin/limits"), ("POST", "admin/rules")],
    *[("DELETE", "api/v1/admin/rules/23456789ab"), ("POST", "admin/limits")],
    *[("POST", "api/v1/admin/rules/23456789ab/cancel"), ("POST", "admin/rules/23456789ab/remove")],
]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", ""]
)
async def test_an_admins_cookie_alone_changes_nothing(
    hub: FakeHub, service: JupyterHubBinder, service_url: str, person: Person, kind: str
) -> None:
    hub.visitor = "root"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    foreign |= {"Sec-Fetch-Mode": "no-cors", **({"Content-Type": kind} if kind else {})}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(f"{service_url}admin", headers=NAVIGATE) as response:
            assert response.status == 200
        for method, path in _OF_ADMINS:
            body = b'{"message": "x", "pattern": "*", "person": "ada", "environments": 0}'
            async with session.request(
                method, service_url + path, data=body, headers=foreign, allow_redirects=False
            ) as response:
                assert response.status == 403, (method, path)
    root = person("root")
    assert (await root("GET", "api/v1/admin/rules")).json["total"] == 0
    assert (await root("GET", "api/v1/admin/limits")).json["total"] == 0


@pytest.mark.parametrize("path", ["", "new", "builds/23456789ab", "nowhere"])
async def test_no_page_can_be_framed_even_by_this_origin(
    bobs_browser, service_url: str, path: str
) -> None:
    async with bobs_browser.get(f"{service_url}{path}", headers=NAVIGATE) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("server_name", [".", ".."])
async def test_the_name_of_a_server_is_no_way_to_another_address_of_the_hub(
    ada: Api, hub: FakeHub, new_environment, server_name: str
) -> None:
    made = await new_environment(build=False)
    hub.asked.clear()
    answer = await ada(
        "POST", f"api/v1/environments/{made['id']}/launches", {"server_name": server_name}
    )
    assert answer.status == 400
    assert not [asked for asked in hub.asked if not asked.startswith("GET")]


@pytest.mark.parametrize(
    "path",
    ["static/x//etc/passwd", "static/x/..%2f..%2f..%2fpyproject.toml", "static/%2fetc/passwd"],
)
async def test_static_files_are_ours_alone(session, service_url: str, path: str) -> None:
    async with session.get(URL(f"{service_url}{path}", encoded=True)) as response:
        assert response.status in (403, 404)


def test_a_log_as_text_has_no_control_of_either_kind() -> None:
    hostile = "a\x9b2Jb\x1b]0;title\x07c\x85d\u2028e"
    assert plain_text((BuildEvent(1, utc_now(), Phase.BUILDING, hostile),)) == "abcde\n"


def test_a_log_as_text_leaves_out_what_was_replaced_and_not_what_came_last() -> None:
    said = ["10 %\r", "20 %\r", "done", "30 %\r"]
    events = [BuildEvent(n, utc_now(), Phase.BUILDING, text) for n, text in enumerate(said)]
    assert plain_text(tuple(events)) == "done\n30 %\n"


async def test_a_long_address_is_cut_in_the_log(session, service_url: str, caplog) -> None:
    with caplog.at_level("INFO", "jupyterhub_binder.web"):
        address = f"{service_url}api/v1/{'token.' * 8000}"
        async with session.get(address) as response:
            assert response.status == 404
    lines = [record.getMessage() for record in caplog.records if "token." in record.getMessage()]
    assert lines
    assert max(map(len, lines)) < 1200


async def test_one_person_follows_so_many_things_and_another_still_can(
    person: Person, service: JupyterHubBinder, git_repo: GitRepo, monkeypatch
) -> None:
    monkeypatch.setattr(service.parts.streams, "_max_per_user", 2)
    slow = {"fake": {"hang_at": "building"}}
    paths = {}
    for name in ("ada", "bob"):
        made = await person(name)(
            "POST", "api/v1/environments", {"url": git_repo.url, "options": slow}
        )
        paths[name] = f"api/v1/builds/{made.json['latest']['id']}/events"
    async with person("ada").events(paths["ada"]), person("ada").events(paths["ada"]):
        refused = await person("ada")("GET", paths["ada"])
        assert (refused.status, refused.code) == (429, "limit_reached")
        async with person("bob").events(paths["bob"]):
            pass
    await until(lambda: not service.parts.streams._open)


# --- A page is a page, scripts are ours, and nothing leads elsewhere ------------------------------


@pytest.mark.parametrize(
    "target", ["iframe", "frame", "object", "embed", "image", "script", "nope"]
)
@pytest.mark.parametrize("site", ["cross-site", "same-origin"])
async def test_no_part_of_another_page_makes_the_service_ask_a_host(
    bobs_browser, service: JupyterHubBinder, service_url: str, monkeypatch, target: str, site: str
) -> None:
    async def asked(*_: object, **__: object) -> None:
        raise AssertionError("a repository was asked for")

    monkeypatch.setattr(service.parts.previews, "preview", asked)
    headers = {"Sec-Fetch-Dest": target, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": site}
    for path in ("new?url=https://example.org/a", "v2/git/https%3A%2F%2Fexample.org%2Fa/HEAD"):
        url = URL(f"{service_url}{path}", encoded=True)
        async with bobs_browser.get(url, headers=headers, allow_redirects=False) as response:
            assert response.status == 403


async def test_a_link_of_another_site_is_followed(
    bobs_browser, service_url: str, git_repo: GitRepo
) -> None:
    headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
    url = URL(f"{service_url}v2/git/{quote(git_repo.url, safe='')}/HEAD", encoded=True)
    async with bobs_browser.get(
        url, headers={**headers, "Sec-Fetch-Dest": "document"}, allow_redirects=False
    ) as response:
        assert response.status == 200


async def test_a_script_runs_by_its_nonce_alone_and_each_answer_has_another(
    bobs_browser, service_url: str
) -> None:
    seen = set()
    for _ in range(2):
        async with bobs_browser.get(service_url, headers=NAVIGATE) as response:
            policy = response.headers["Content-Security-Policy"]
            text = await response.text()
        (sources,) = re.findall(r"script-src ([^;]*)", policy)
        (nonce,) = re.fullmatch(r"'nonce-([\w-]{20,})'", sources).groups()
        assert set(re.findall(r"<script[^>]*?nonce=\"([^\"]*)\"", text)) == {nonce}
        assert text.count("<script") == text.count(f'nonce="{nonce}"')
        seen.add(nonce)
    assert len(seen) == 2


async def test_a_badge_may_do_nothing(session, service_url: str) -> None:
    for name in ("badge.svg", "badge_logo.svg"):
        async with session.get(f"{service_url}{name}") as response:
            assert response.headers["Content-Security-Policy"] == "default-src 'none'"
            assert "<style" not in (await response.text())


ELSEWHERE = (
    "//evil.example",
    "%2F%2Fevil.example",
    "%252F%252Fevil.example",
    "/%5Cevil.example",
    "%5C%5Cevil.example",
    "rstudio/%255C%255Cevil.example",
    "https://evil.example",
    "https%3A%2F%2Fevil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "%09//evil.example",
    "lab%0D%0ALocation:%20https://evil.example",
    "..%2F..%2Fhub/logout",
    "%252e%252e/hub/logout",
)
"""Values of a query that a browser, a proxy or a server might read as an address elsewhere."""


@pytest.mark.parametrize("name", ["urlpath", "labpath"])
@pytest.mark.parametrize("value", ELSEWHERE)
async def test_a_link_opens_nothing_elsewhere(
    bobs_browser, service_url: str, git_repo: GitRepo, hub: FakeHub, name: str, value: str
) -> None:
    spec = quote(git_repo.url, safe="")
    url = URL(f"{service_url}v2/git/{spec}/HEAD?{name}={value}", encoded=True)
    data = {"_xsrf": xsrf_of(bobs_browser, service_url)}
    async with bobs_browser.post(
        url, data=data, headers=NAVIGATE, allow_redirects=False
    ) as response:
        location = response.headers.get("Location", "")
        text = await response.text()
    if name == "urlpath":
        assert response.status == 400, text
    # A path is one inside the repository, whatever it looks like.
    assert stays_here(location)
    assert 'href="https://evil' not in text
    assert 'href="//evil' not in text


@pytest.mark.parametrize("name", ["next", "url"])
@pytest.mark.parametrize("path", ["", "oauth_callback", "%2F%2Fevil.example"])
async def test_no_query_redirects_elsewhere(
    bobs_browser, service_url: str, name: str, path: str
) -> None:
    for value in ELSEWHERE:
        url = URL(f"{service_url}{path}?{name}={value}", encoded=True)
        async with bobs_browser.get(url, headers=NAVIGATE, allow_redirects=False) as response:
            assert response.status < 500
            assert stays_here(response.headers.get("Location", ""))


async def test_after_the_login_nobody_ends_elsewhere(
    session, hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> None:
    hub.visitor = "bob"
    for path in ("//evil.example", "/%5Cevil.example", "\\evil.example"):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as fresh:
            url = URL(f"{service_url}{path}", encoded=True)
            async with fresh.get(url, headers=NAVIGATE) as response:
                assert response.url.host == "127.0.0.1"
                assert all(each.url.host == "127.0.0.1" for each in response.history)


def stays_here(location: str) -> bool:
    """Say whether a browser that follows a redirect stays on the site."""
    address = location.replace("\\", "/")
    return not location or (address.startswith("/") and not address.startswith("//"))
