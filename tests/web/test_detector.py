"""What a detector of forbidden programs sends, through a running service."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.environments.detections import SECRET_VARIABLE, read_report
from jupyterhub_binder.errors import ConfigurationError, HubError, InvalidInput
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web import hooks
from jupyterhub_binder.web.hooks import MAX_REPORT_BYTES
from tests.kit.api_client import Api
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build
from tests.kit.waiting import until, until_it_comes

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
ADMIN = "api/v1/admin"
_numbers = count(1)


@pytest.fixture
def root(person: Person) -> Api:
    return person("root")


@pytest_asyncio.fixture(loop_scope="module")
async def detector(
    service: JupyterHubBinder, root: Api, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """The service's part with a secret; no report and no rule outlives the test."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    part = service.parts.detections
    await part.start()
    yield part
    monkeypatch.delenv(SECRET_VARIABLE)
    await part.start()
    part.ban = "never"
    for servers in hub.servers.values():
        servers.clear()
    for rule in (await root("GET", f"{ADMIN}/rules")).json["items"]:
        await root("DELETE", f"{ADMIN}/rules/{rule['id']}")
    for each in (await root("GET", f"{ADMIN}/detections")).json["items"]:
        await root("DELETE", f"{ADMIN}/detections/{each['id']}")


def message(**data: Any) -> bytes:
    return json.dumps({"type": "process.killed", "data": data}).encode()


def signed(body: bytes, name: str = "", key: bytes = KEY, age: int = 0) -> dict[str, str]:
    """Sign by hand: HMAC-SHA256 over `id.timestamp.body`, in Base64, after the version."""
    name, sent = name or f"msg_{next(_numbers)}", str(int(time.time()) - age)
    mac = hmac.new(key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": name, "webhook-timestamp": sent, "webhook-signature": signature}


@pytest.fixture
def send(session: aiohttp.ClientSession, service_url: str):
    async def send(body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        url = f"{service_url}hooks/detector"
        headers = signed(body) if headers is None else headers
        async with session.post(url, data=body, headers=headers) as response:
            return response.status, await response.json()

    return send


@pytest.fixture
def reports(root: Api):
    """Wait until the reports fulfil a condition; return them."""

    async def reports(holds=lambda found: found) -> list[dict[str, Any]]:
        async def ask() -> Any:
            found = (await root("GET", f"{ADMIN}/detections")).json["items"]
            return (found,) if holds(found) else None

        (found,) = await until_it_comes(ask)
        return found

    return reports


def name_of(repo: GitRepo) -> str:
    return repo.url.partition("://")[2].removesuffix(".git")


async def test_without_a_secret_there_is_no_such_address(send) -> None:
    body = message(repository="https://github.com/org/miner")
    status, answer = await send(body)
    assert (status, answer["error"]["code"]) == (404, "not_found")


async def test_only_who_has_the_secret_is_heard(detector, send, root: Api) -> None:
    body = message(repository="https://github.com/org/miner")
    right = signed(body)
    for headers in (
        {},
        signed(body, key=b"x" * 32),
        signed(body, age=301),
        signed(body, age=-330),  # so far ahead that a slow test does not catch up
        {**right, "webhook-id": "another"},
        {"Authorization": "token root-token"},
    ):
        status, answer = await send(body, headers)
        assert (status, answer["error"]["code"]) == (401, "wrong_signature")
    assert (await send(body + b" ", right))[0] == 401
    assert (await root("GET", f"{ADMIN}/detections")).json["items"] == []


async def test_a_message_has_a_largest_size(detector, send) -> None:
    assert (await send(b" " * (MAX_REPORT_BYTES + 1)))[0] == 413
    status, _ = await send(message(user="ada").ljust(MAX_REPORT_BYTES))
    assert status == 202


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 60_000,
        b"[]",
        b'{"data": []}',
        message(),
        message(server="one"),
        message(user=1),
        message(user="x" * 256),
        message(environment="../../x"),
    ],
)
def test_a_message_that_names_nothing_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_report(body)


def test_an_environment_is_named_by_its_id_or_its_page() -> None:
    page = "https://hub.example.org/services/binder/environments/abcdefgh23?x=1"
    for named in ("abcdefgh23", page):
        assert read_report(message(environment=named)).environment_id == "abcdefgh23"


async def test_a_delivery_counts_once_and_a_repetition_is_counted(detector, send, reports) -> None:
    body = message(user="bob", server="one", program="xmrig \x1b[2J")
    headers = signed(body)
    assert await send(body, headers) == (202, {"result": "accepted"})
    assert await send(body, headers) == (200, {"result": "repeated"})
    assert (await send(body))[0] == 202
    (found,) = await reports()
    assert (found["times"], found["person"], found["server_name"]) == (2, "bob", "one")
    assert (found["confirmed"], found["program"]) == (False, "xmrig [2J")


async def test_a_process_with_many_names_fills_neither_the_list_nor_the_audit_log(
    detector, send, reports, root: Api, service, monkeypatch
) -> None:
    monkeypatch.setattr(service.parts.audit, "max_per_hour", 2)
    for number in range(4):
        await send(message(user="bob", repository=f"https://github.com/org/{number}"))
    (found,) = await reports(lambda found: found and found[0]["times"] == 4)
    assert found["person"] == "bob"
    for number in range(4):
        await send(message(repository=f"https://github.com/org/{number}"))
    await reports(lambda found: len(found) == 5)
    entries = (await root("GET", f"{ADMIN}/audit?action=detection.report")).json["items"]
    assert len([each for each in entries if "github.com/org/" in each["target"]]) <= 2


async def test_a_later_message_about_a_server_may_name_more(
    detector, send, reports, ada: Api, git_repo: GitRepo, new_environment
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await send(message(user="ada", server="gone"))
    await until(lambda: not detector._tasks)
    await send(message(user="ada", server="gone", environment=made["id"]))
    (found,) = await reports(lambda found: found and found[0]["repository"])
    assert (found["times"], found["repository"]) == (2, name_of(git_repo))


async def test_too_many_messages_are_put_off(detector, send, monkeypatch) -> None:
    monkeypatch.setattr(detector, "_minute", time.monotonic())
    monkeypatch.setattr(detector, "_received", detector.max_per_minute)
    status, answer = await send(message(user="bob"))
    assert (status, answer["error"]["code"]) == (429, "limit_reached")


async def test_by_default_an_administrator_decides(
    detector, send, reports, ada: Api, root: Api, git_repo: GitRepo, new_environment
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    assert (await send(message(environment=made["id"], program="xmrig")))[0] == 202
    (found,) = await reports(lambda found: found and found[0]["repository"])
    assert found["repository"] == name_of(git_repo)
    assert (await root("GET", f"{ADMIN}/rules")).json["items"] == []
    dismissed = await root("DELETE", f"{ADMIN}/detections/{found['id']}")
    assert dismissed.status == 200
    assert await reports(lambda found: not found) == []
    entries = (await root("GET", f"{ADMIN}/audit")).json["items"]
    assert [entry["action"] for entry in entries[:2]] == ["detection.dismiss", "detection.report"]
    again = await root("DELETE", f"{ADMIN}/detections/{found['id']}")
    assert again.status == 404


async def test_a_server_that_the_hub_confirms_is_banned_if_wanted(
    detector, send, reports, ada: Api, root: Api, hub: FakeHub, git_repo, new_environment
) -> None:
    detector.ban, detector.ban_reason = "confirmed", "Mining"
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await send(message(environment=made["id"]))
    (report,) = await reports(lambda found: found and found[0]["repository"])
    assert not report["confirmed"]
    path = f"api/v1/environments/{made['id']}/launches"
    launch = (await ada("POST", path, {"server_name": "one"})).json
    assert launch["id"]
    await until_it_comes(lambda: _server(hub, "one"))
    await send(message(user="ada", server="one", environment="abcdefgh23"))
    assert await reports(lambda found: not found) == []
    (rule,) = (await root("GET", f"{ADMIN}/rules")).json["items"]
    assert (rule["pattern"], rule["reason"]) == (name_of(git_repo), "Mining")
    assert (rule["created_by"], rule["shows_reason"]) == ("service:", True)
    refused = await ada("POST", "api/v1/resolve", {"url": git_repo.url})
    assert (refused.code, "Mining" in refused.text) == ("repository_banned", True)


async def _server(hub: FakeHub, name: str) -> Any:
    return hub.servers["ada"].get(name)


async def test_a_report_that_is_kept_too_late_for_an_answer_is_looked_into(
    detector, send, reports, ada: Api, service, git_repo, new_environment, monkeypatch
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    answered, keep = asyncio.Event(), service.parts.store.note_detection

    async def keep_slowly(*args: Any) -> Any:
        kept = await keep(*args)
        await answered.wait()
        return kept

    monkeypatch.setattr(service.parts.store, "note_detection", keep_slowly)
    monkeypatch.setattr(hooks, "_ANSWER_SECONDS", 0.1)
    body = message(environment=made["id"])
    headers = signed(body)
    assert (await send(body, headers))[0] == 503
    answered.set()
    assert await send(body, headers) == (200, {"result": "repeated"})
    (found,) = await reports(lambda found: found and found[0]["repository"])
    assert found["repository"] == name_of(git_repo)


async def test_what_the_hub_said_of_a_server_outlives_the_server(
    detector, send, reports, ada: Api, hub: FakeHub, git_repo: GitRepo, new_environment
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await ada("POST", f"api/v1/environments/{made['id']}/launches", {"server_name": "one"})
    await until_it_comes(lambda: _server(hub, "one"))
    for times in (1, 2):
        await send(message(user="ada", server="one"))
        (first,) = await reports(
            lambda found, times=times: (
                [each["times"] for each in found] == [times] and found[0]["repository"]
            )
        )
    hub.servers["ada"].clear()
    await send(message(user="ada", server="one"))
    later, before = await reports(lambda found: len(found) == 2)
    assert before == first
    assert (before["repository"], before["confirmed"]) == (name_of(git_repo), True)
    assert (later["repository"], later["confirmed"]) == (None, False)


async def test_a_hub_that_does_not_answer_is_asked_again(
    detector, send, reports, ada: Api, hub: FakeHub, git_repo: GitRepo, new_environment, monkeypatch
) -> None:
    monkeypatch.setattr(detector, "_retry_seconds", 0.01)
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await ada("POST", f"api/v1/environments/{made['id']}/launches", {"server_name": "one"})
    await until_it_comes(lambda: _server(hub, "one"))
    asked, fetch = count(1), detector._hub.fetch_servers

    async def fetch_third_time(*args: Any) -> Any:
        if next(asked) < 3:
            raise HubError("The hub does not answer.")
        return await fetch(*args)

    monkeypatch.setattr(detector._hub, "fetch_servers", fetch_third_time)
    await send(message(user="ada", server="one"))
    (found,) = await reports(lambda found: found and found[0]["repository"])
    assert (found["repository"], found["confirmed"]) == (name_of(git_repo), True)


async def test_a_restart_forgets_no_report_that_is_being_looked_into(
    detector, send, reports, ada: Api, hub: FakeHub, git_repo: GitRepo, new_environment, monkeypatch
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await ada("POST", f"api/v1/environments/{made['id']}/launches", {"server_name": "one"})
    await until_it_comes(lambda: _server(hub, "one"))

    async def refuse(*_: Any) -> Any:
        raise HubError("The hub does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(detector._hub, "fetch_servers", refuse)
        await send(message(user="ada", server="one"))
        await detector.stop()
    await detector.start()
    (found,) = await reports(lambda found: found and found[0]["repository"])
    assert (found["repository"], found["confirmed"]) == (name_of(git_repo), True)


async def test_a_server_that_began_after_the_report_is_not_to_blame(
    detector, send, reports, ada: Api, hub: FakeHub, new_environment
) -> None:
    detector.ban = "confirmed"
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    await ada("POST", f"api/v1/environments/{made['id']}/launches", {"server_name": "one"})
    server = await until_it_comes(lambda: _server(hub, "one"))
    server["started"] = (utc_now() + timedelta(seconds=2)).isoformat()
    await send(message(user="ada", server="one"))
    (found,) = await reports()
    await until(lambda: not detector._tasks)
    assert await reports() == [found]
    assert (found["confirmed"], found["repository"]) == (False, None)


async def test_nothing_but_a_repository_that_was_built_here_is_banned(
    detector, send, reports, ada: Api, root: Api, git_repo: GitRepo, new_environment
) -> None:
    detector.ban = "always"
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    host = name_of(git_repo).partition("/")[0]
    wide = [
        f"http://{host}/",
        f"http://{host}/org",
        f"http://{host}/org/*",
        f"{name_of(git_repo)}*",
        "*",
        "github.com/org/*",
        "https://github.com/someone/else",
        "not a repository",
    ]
    for url in wide:
        assert (await send(message(repository=url)))[0] == 202
    found = await reports(lambda found: len(found) == len(wide))
    assert {each["named"] for each in found} == set(wide)
    assert (await root("GET", f"{ADMIN}/rules")).json["items"] == []
    await send(message(repository=git_repo.url))
    rules = await until_it_comes(lambda: _rules(root))
    assert [rule["pattern"] for rule in rules] == [name_of(git_repo)]


async def _rules(root: Api) -> Any:
    return (await root("GET", f"{ADMIN}/rules")).json["items"]


async def test_what_admins_feature_or_others_may_be_to_blame_for_is_only_reported(
    detector, send, reports, ada: Api, root: Api, service, git_repo: GitRepo, new_environment
) -> None:
    detector.ban = "always"
    made, mixed = await new_environment(), await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    content = {"content_url": "https://git.example.org/org/content"}
    await service.parts.store.update_environment(mixed["id"], content, at=utc_now())
    await send(message(environment=mixed["id"]))
    await reports(lambda found: found and found[0]["repository"])
    await root("PUT", f"{ADMIN}/featured/{made['id']}", {})
    await send(message(repository=git_repo.url))
    await reports(lambda found: len(found) == 2 and found[0]["repository"])
    assert await _rules(root) == []
    await root("DELETE", f"{ADMIN}/featured/{made['id']}")


async def test_the_admins_pages_show_a_report_and_a_ban_decides_it(
    detector, send, reports, ada: Api, root: Api, session, service_url: str, new_environment
) -> None:
    made = await new_environment()
    await send(message(environment=made["id"]))
    (found,) = await reports(lambda found: found and found[0]["repository"])
    headers = {"Authorization": "token root-token"}
    for page, text in (("admin", "admin/rules#reports"), ("admin/rules", found["repository"])):
        async with session.get(f"{service_url}{page}", headers=headers) as response:
            assert text in await response.text()
    await root("POST", f"{ADMIN}/rules", {"pattern": found["repository"]})
    assert await reports(lambda found: not found) == []


async def test_an_allow_list_hides_no_report_that_names_only_a_person(
    detector, send, reports, root: Api
) -> None:
    rule = (
        await root("POST", f"{ADMIN}/rules", {"pattern": "github.com/our/*", "kind": "allow"})
    ).json
    await send(message(user="bob"))
    listed = await root("GET", f"{ADMIN}/detections")
    await root("DELETE", f"{ADMIN}/rules/{rule['rule']['id']}")
    assert [each["person"] for each in listed.json["items"]] == ["bob"]


async def test_no_page_offers_to_ban_what_a_process_calls_itself(
    detector, send, reports, root: Api
) -> None:
    await send(message(repository="github.com/*"))
    await send(message(environment="abcdefgh23"))
    await reports(lambda found: len(found) == 2)
    async with root.session.get(f"{root.url}admin/rules", headers=root.headers) as response:
        page = await response.text()
    assert "<bdi>github.com/*</bdi>" in page
    assert 'class="b-menu b-ban"' not in page


async def test_a_secret_of_another_kind_is_a_mistake(
    service: JupyterHubBinder, monkeypatch
) -> None:
    for wrong in ("short", "whsec_", "whsec_" + "A" * 8, "x" * 40):
        monkeypatch.setenv(SECRET_VARIABLE, wrong)
        with pytest.raises(ConfigurationError, match="whsec_"):
            await service.parts.detections.start()
    monkeypatch.delenv(SECRET_VARIABLE)
    await service.parts.detections.start()
