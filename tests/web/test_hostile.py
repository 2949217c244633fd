"""What nobody should send, and what they get."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from yarl import URL

from jupyterhub_binder.model.admin import PersonUse
from jupyterhub_binder.utils.validation import one_line
from jupyterhub_binder.web.api.render.admin import use_csv
from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build

CREATE = "api/v1/environments"
ADMIN = "api/v1/admin"


async def post(api: Api, data: bytes, kind: str | None = "application/json", path: str = CREATE):
    headers = {"Content-Type": kind} if kind else {}
    return await api("POST", path, headers=headers, data=data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"url": NaN}',
        b"[" * 60_000,
        b'{"url": "\\ud800"}',
        b'{"url": "https://example.org/\xed\xa0\x80"}',
        '{"url": "https://example.org/\ud800"}'.encode("utf-16", "surrogatepass"),
        b'{"url": "a\\u0000b"}',
        b'{"url": 1}',
        b'{"url": ""}',
        b'{"url": "a\\nb"}',
        b'{"url": null}',
        b'{"provider": "gh"}',
        b'{"provider": "nope", "spec": "a/b"}',
        b'{"url": "x", "provider": "gh", "spec": "a/b/c"}',
        b'{"url": "https://github.com/a/b", "ref": "--upload-pack=x"}',
        b'{"url": "file:///etc"}',
        b'{"url": "javascript:alert(1)"}',
    ],
)
async def test_a_body_that_makes_no_sense_is_400(ada: Api, data: bytes) -> None:
    answer = await post(ada, data)
    assert answer.status in (400, 403), answer.text
    assert answer.json["error"]["message"]


@pytest.mark.parametrize("half", [b"\\ud800", b"\xed\xa0\x80"])
async def test_half_a_character_in_a_webhooks_secret_is_400(
    ada: Api, new_environment, half: bytes
) -> None:
    environment = await new_environment(build=False)
    path = f"api/v1/environments/{environment['id']}/hooks"
    body = b'{"host": "github", "secret": "' + b"x" * 16 + half + b'"}'
    answer = await post(ada, body, path=path)
    assert (answer.status, answer.code) == (400, "invalid_input"), answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 300),
        ("name", 7),
        ("path", "../../etc/passwd"),
        ("path", "a\u0000"),
        ("content", "merge"),
        ("content", 1),
        ("options", []),
        ("options", {"nope": 1}),
        ("options", {"fake": {"lines": "many"}}),
        ("build", "yes"),
        ("ref", "x" * 400),
        ("unknown", 1),
    ],
)
async def test_a_bad_field_is_named(ada: Api, git_repo: GitRepo, field: str, value) -> None:
    answer = await ada("POST", CREATE, {"url": git_repo.url, field: value})
    assert answer.status == 400, answer.text
    if field != "options":
        assert field in answer.json["error"]["message"] or answer.code == "invalid_input"


async def test_an_unknown_key_is_named(ada: Api) -> None:
    answer = await ada("POST", CREATE, {"<script>": 1})
    assert answer.json["error"]["detail"] == {"field": "<script>"}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_only_json_is_taken(ada: Api, kind: str | None) -> None:
    answer = await post(ada, b'{"url": "x"}', kind or "application/octet-stream")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_large_body_is_413(ada: Api) -> None:
    answer = await post(ada, json.dumps({"url": "x" * 100_000}).encode())
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "limit=", "limit=%D9%A3"),
        *("offset=-1", "offset=1e3", "offset=99999999999999999999"),
        *("order=size", "search=" + "x" * 300),
    ],
)
async def test_a_bad_query_is_400(ada: Api, query: str) -> None:
    assert (await ada("GET", f"{CREATE}?{query}")).status == 400


async def test_a_query_that_is_no_utf8_is_400(ada: Api) -> None:
    async with ada.session.get(
        URL(f"{ada.url}{CREATE}?search=%ff", encoded=True), headers=ada.headers
    ) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_input"


@pytest.mark.parametrize("number", [0, -1, 2**63, 1.5, True, "1", None])
async def test_a_build_number_is_a_number(ada: Api, new_environment, number) -> None:
    made = await new_environment(build=False)
    path = f"{CREATE}/{made['id']}/current"
    assert (await ada("PUT", path, {"number": number})).status == 400


@pytest.mark.parametrize(
    "name", ["<b>bold</b>", "ünï 名前 🎈", "'; drop table builds; --", "a" * 200]
)
async def test_odd_names_come_back_as_they_were(ada: Api, new_environment, name: str) -> None:
    made = await new_environment(name=name, build=False)
    assert (await ada("GET", f"{CREATE}/{made['id']}")).json["name"] == name


async def test_nothing_tells_of_the_inside(ada: Api, service, monkeypatch, new_environment) -> None:
    made = await new_environment(build=False)

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret in /home/hub/state")

    monkeypatch.setattr(service.parts.environments, "get", broken)
    async with ada.session.get(f"{ada.url}{CREATE}/{made['id']}", headers=ada.headers) as response:
        text = await response.text()
        assert response.status == 500
        assert response.headers["X-Request-ID"] in text
    assert "secret" not in text
    assert "Zero" not in text


# --- Texts of strangers, through everything that shows them ---------------------------------------

TEXTS = (
    "</title><script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "{{ 7*7 }}${7*7}",
    "right to left: \u202egnp.exe",
    "\x9b2Ja \x9d0;title\x9c",
    "line\u2028separator\u0085next",
    '=HYPERLINK("http://evil.example")',
    "data: 1\\nevent: end",
)
"""One line each, without what a body is refused for."""


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_of_administrators_stay_texts(person: Person, text: str) -> None:
    root = person("root")
    rule = await root("POST", f"{ADMIN}/rules", {"pattern": "example.org/x", "reason": text})
    await root("PUT", f"{ADMIN}/limits", {"group": text, "share": 2})
    await root("PUT", f"{ADMIN}/drain", {"message": text})
    try:
        assert rule.json["rule"]["reason"] == one_line(text)
        assert (await root("GET", f"{ADMIN}/drain")).json["message"] == one_line(text)
        lines = (await root("GET", f"{ADMIN}/audit.jsonl")).text
        assert lines.isascii()
        assert [json.loads(line) for line in lines.splitlines()]
        for tab in ("", "/rules", "/limits", "/drain", "/audit"):
            check_page(await page_of(root, f"admin{tab}"))
    finally:
        await root("DELETE", f"{ADMIN}/drain")
        await root("DELETE", f"{ADMIN}/rules/{rule.json['rule']['id']}")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("path", ["new?url={}", "v2/gh/{}", "?search={}", "{}", "new?url=x&ref={}"])
async def test_texts_of_addresses_stay_texts(person: Person, path: str, text: str) -> None:
    check_page(await page_of(person("root"), path.format(quote(text, safe=""))))


async def page_of(api: Api, path: str) -> str:
    url = URL(f"{api.url}{path}", encoded=True)
    async with api.session.get(url, headers=api.headers) as response:
        assert response.status < 500
        assert response.headers["Content-Type"].startswith("text/html")
        return await response.text()


def check_page(text: str) -> None:
    """Hold a page to be made of our elements alone, each script with the one nonce."""
    page = Elements(text)
    assert not [names for _, names in page.elements if any(n.startswith("on") for n in names)]
    assert len({names.get("nonce") for tag, names in page.elements if tag == "script"}) == 1
    assert "49" not in page.title
    assert not set(page.title) & set("\u202e\x9b\u2028\u0085")


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "title":
            self.title += data


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r\n=1", "＝1"])  # noqa: RUF001
def test_no_name_is_a_formula_or_a_row_of_its_own_in_a_spreadsheet(name: str) -> None:
    use = PersonUse(f"{name}\x1b[2J\n,=2", 1, 2.5, 3, 4, 5)
    rows = list(csv.reader(io.StringIO(use_csv([use]))))
    assert len(rows) == 2
    assert rows[1][0].startswith("'")
    assert rows[1][0].isprintable()
    assert len(rows[1]) == len(rows[0])


async def test_lines_of_a_build_that_are_hostile_or_long_stay_lines(
    ada: Api, new_environment
) -> None:
    made = await new_environment(options={"fake": {"hostile": True}})
    build_id = made["latest"]["id"]
    await wait_for_build(ada, build_id)
    async with ada.events(f"api/v1/builds/{build_id}/events") as stream:
        events = [event async for event in stream]
    messages = [event.json()["message"] for event in events if event.event == "message"]
    assert [event.event for event in events].count("end") == 1
    assert sum("event: end" in message for message in messages) == 1
    text = (await ada("GET", f"api/v1/builds/{build_id}/log")).text
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cs")]
    assert len(text.splitlines()) == len(text.rstrip("\n").split("\n"))
    check_page(await page_of(ada, f"builds/{build_id}"))
