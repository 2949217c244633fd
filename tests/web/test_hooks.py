"""What git hosts call, through a running service: no login, only a signature."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.web.hooks import MAX_BODY_BYTES, MAX_UNKNOWN_BYTES
from jupyterhub_binder.wiring import public_origin
from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build
from tests.kit.status_host import TOKEN, serve_statuses
from tests.kit.waiting import until_it_comes
from tests.web.api.test_admin import numbers

BODY = b'{"ref": "refs/heads/main"}'


async def hooked(ada: Api, environment: dict[str, Any], host: str = "github") -> dict[str, Any]:
    path = f"api/v1/environments/{environment['id']}/hooks"
    made = await ada("POST", path, {"host": host})
    assert made.status == 200, made.text
    return made.json


def address(service_url: str, hook: dict[str, Any]) -> str:
    return service_url.partition("/services/")[0] + hook["url"]


def signed(hook: dict[str, Any], name: str, event: str = "push", body: bytes = BODY):
    mac = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-Hub-Signature-256": f"sha256={mac}",
        "X-GitHub-Delivery": name,
        "X-GitHub-Event": event,
        "Content-Type": "application/json",
    }


async def post(session: aiohttp.ClientSession, url: str, **kwargs: Any) -> tuple[int, Any]:
    async with session.post(url, **{"data": BODY, **kwargs}) as response:
        return response.status, await response.json()


async def test_a_push_is_built_without_login(
    ada: Api, session, service_url: str, git_repo: GitRepo, new_environment
) -> None:
    environment = await new_environment()
    await wait_for_build(ada, environment["latest"]["id"])
    hook = await hooked(ada, environment)
    url = address(service_url, hook)
    status, answer = await post(session, url, headers=signed(hook, "1", "ping"))
    assert (status, answer) == (200, {"result": "ping"})
    sha = git_repo.commit({"requirements.txt": "numpy==2.3.2\n"}, "Another numpy")
    status, answer = await post(session, url, headers=signed(hook, "2"))
    assert (status, answer) == (202, {"result": "accepted"})

    async def built() -> Any:
        found = (await ada("GET", f"api/v1/environments/{environment['id']}/prebuild")).json
        return found if found["last"] and found["last"]["outcome"] == "building" else None

    found = await until_it_comes(built)
    assert found["hooks"][0]["deliveries"][0]["number"] == 2
    now = (await ada("GET", f"api/v1/environments/{environment['id']}")).json
    assert now["latest"]["resolved_ref"] == sha
    status, answer = await post(session, url, headers=signed(hook, "2"))
    assert (status, answer) == (200, {"result": "repeated"})


async def test_the_host_is_told_what_became_of_a_push(
    ada: Api,
    session,
    service: JupyterHubBinder,
    service_url: str,
    git_repo: GitRepo,
    new_environment,
    tmp_path: Path,
) -> None:
    async with serve_statuses(tmp_path) as host:
        host.git_url = git_repo.url.removesuffix(f"/{git_repo.name}.git")
        service.parts.providers.git.ca_file = str(host.certificate)
        environment = await new_environment(url=f"{host.url}/{git_repo.name}.git")
        await wait_for_build(ada, environment["latest"]["id"])
        hook = await hooked(ada, environment)
        path = f"api/v1/environments/{environment['id']}/hooks/{hook['id']}/token"
        assert (await ada("PUT", path, {"token": TOKEN})).status == 200
        sha = git_repo.commit({"requirements.txt": "numpy==2.3.4\n"}, "Another numpy")
        await post(session, address(service_url, hook), headers=signed(hook, sha))

        async def told() -> Any:
            shown = await ada("GET", f"api/v1/environments/{environment['id']}/prebuild")
            assert TOKEN not in shown.text
            report = shown.json["hooks"][0]["report"]
            return report if report and report["state"] == "success" else None

        report = await until_it_comes(told)
        service.parts.providers.git.ca_file = ""
    assert (report["commit"], report["message"]) == (sha, "")
    ready = host.asked[-1]
    assert ready.path == f"/api/v3/repos/{git_repo.name}/statuses/{sha}"
    assert ready.headers["Authorization"] == f"Bearer {TOKEN}"
    assert ready.body["state"] == "success"
    assert ready.body["target_url"].startswith(f"{service_url}v2/git/")


async def test_the_secret_is_told_once(ada: Api, new_environment) -> None:
    environment = await new_environment(build=False)
    hook = await hooked(ada, environment, "gitlab")
    shown = await ada("GET", f"api/v1/environments/{environment['id']}/prebuild")
    assert hook["secret"] not in shown.text
    path = f"api/v1/environments/{environment['id']}/hooks/{hook['id']}/secret"
    assert (await ada("POST", path, {})).json["secret"] != hook["secret"]
    short = await ada("POST", path, {"secret": "short"})
    assert (short.status, short.json["error"]["detail"]["field"]) == (400, "secret")


@pytest.mark.parametrize(
    ("public", "hub_host", "origin"),
    [
        ({}, "", ""),
        ({}, "https://hub.example.org", ""),
        ({"HUB_URL": "https://a.example.org:8443/hub/"}, "", "https://a.example.org:8443"),
        # Services have a domain of their own.
        ({"HUB_URL": "https://a.example.org/hub/"}, "https://a.example.org", ""),
        (
            {"URL": "https://services.a.example.org/services/binder/"},
            "https://a.example.org",
            "https://services.a.example.org",
        ),
    ],
)
def test_the_address_is_whole_if_the_hub_says_its_own(
    public: dict[str, str], hub_host: str, origin: str
) -> None:
    environ = {f"JUPYTERHUB_PUBLIC_{name}": value for name, value in public.items()}
    assert public_origin(environ, hub_host=hub_host) == origin


async def test_a_webhook_has_the_public_address(
    ada: Api, person: Person, new_environment, service: JupyterHubBinder
) -> None:
    environment = await new_environment(build=False)
    hook = await hooked(ada, environment)
    assert hook["url"] == f"{service.base_url}hooks/{hook['id']}"
    object.__setattr__(service.parts, "public_origin", "https://hub.example.org")
    shown = (await ada("GET", f"api/v1/environments/{environment['id']}/prebuild")).json
    object.__setattr__(service.parts, "public_origin", "")
    assert [each["url"] for each in shown["hooks"]] == [f"https://hub.example.org{hook['url']}"]


async def test_without_the_secret_nothing_is_started(
    ada: Api, person: Person, session, service_url: str, new_environment
) -> None:
    hook = await hooked(ada, await new_environment(build=False))
    url = address(service_url, hook)
    right = signed(hook, "1")
    for headers in (
        {},
        {**right, "X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"Authorization": "token ada-token", "X-GitHub-Event": "push"},
    ):
        status, answer = await post(session, url, headers=headers)
        assert (status, answer["error"]["code"]) == (401, "wrong_signature")
    status, answer = await post(session, url, headers=right, data=BODY + b" ")
    assert status == 401


async def test_deliveries_are_counted_by_what_became_of_them(
    ada: Api, person: Person, session, service_url: str, new_environment
) -> None:
    hook = await hooked(ada, await new_environment(build=False))
    url, right = address(service_url, hook), signed(hook, "1", "ping")
    before = await numbers(person("root"))
    await post(session, url, headers=right)
    await post(session, url, headers=right, data=b"another body")
    await post(session, f"{service_url}hooks/{'0' * 40}", headers=right)
    await post(session, f"{service_url}hooks/detector", headers=right)
    async with session.get(url) as response:
        assert response.status == 405
    after = await numbers(person("root"))
    risen = {name: value - before.get(name, 0) for name, value in after.items() if "_total" in name}
    deliveries = {name: value for name, value in risen.items() if "deliveries" in name and value}
    assert deliveries == {
        'hook_deliveries_total{outcome="ping"}': 1,
        'hook_deliveries_total{outcome="wrong_signature"}': 1,
        'hook_deliveries_total{outcome="not_found"}': 1,
    }
    assert risen['detector_reports_total{outcome="not_found"}'] == 1


async def test_an_unknown_address_is_404_and_no_other_method_works(
    ada: Api, session, service_url: str, new_environment
) -> None:
    hook = await hooked(ada, await new_environment(build=False))
    url = address(service_url, hook)
    unknown = f"{service_url}hooks/{'0' * 40}"
    assert (await post(session, unknown, headers=signed(hook, "1")))[0] == 404
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
        async with session.request(method, url, headers=signed(hook, "1")) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"


async def test_every_address_without_a_hook_is_answered_alike(session, service_url: str) -> None:
    answers = []
    for hook_id in ("0" * 40, "0" * 41, "A-b_c", "a/b", "%00", "%ff", ""):
        url = URL(f"{service_url}hooks/{hook_id}", encoded=True)
        async with session.post(url, data=BODY) as response:
            answer = await response.json()
            assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
        answers.append((response.status, answer))
    assert answers == [answers[0]] * len(answers)
    assert (answers[0][0], answers[0][1]["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("known", [True, False])
async def test_a_body_has_a_largest_size(
    ada: Api, session, service_url: str, new_environment, chunked: bool, known: bool
) -> None:
    hook = await hooked(ada, await new_environment(build=False))
    host, port = service_url.split("/")[2].split(":")
    path = hook["url"] if known else f"/services/binder/hooks/{'0' * 40}"
    reader, writer = await asyncio.open_connection(host, int(port))
    length = 1 + (MAX_BODY_BYTES if known else MAX_UNKNOWN_BYTES)
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{how}\r\n\r\n".encode())
    if chunked:
        writer.write(f"{length:x}\r\n".encode() + b" " * length + b"\r\n0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_large_delivery_is_signed_as_a_whole(
    ada: Api, session, service_url: str, new_environment
) -> None:
    hook = await hooked(ada, await new_environment(build=False))
    body = b"x" * (5 * 1024 * 1024)
    headers = signed(hook, "1", body=body)
    status, _ = await post(session, address(service_url, hook), headers=headers, data=body)
    assert status == 202


@pytest.mark.parametrize("signature", ["right", "wrong"])
async def test_a_webhook_that_is_removed_while_a_delivery_comes_is_no_error(
    ada: Api, service, service_url: str, new_environment, signature: str
) -> None:
    environment = await new_environment(build=False)
    hook = await hooked(ada, environment)
    headers = signed(hook, "1", body=BODY if signature == "right" else b"")
    parsed = urlsplit(address(service_url, hook))
    reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    start = [f"POST {parsed.path} HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}", *lines]
    begun = asyncio.Event()
    fetch = service.parts.hooks.fetch

    async def fetch_and_tell(hook_id: str) -> Any:
        found = await fetch(hook_id)
        begun.set()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.parts.hooks, "fetch", fetch_and_tell)
        writer.write("\r\n".join([*start, "", ""]).encode())
        await begun.wait()
    await ada("DELETE", f"api/v1/environments/{environment['id']}/hooks/{hook['id']}")
    writer.write(BODY)
    status = (await reader.readline()).split()[1]
    writer.close()
    assert status == (b"404" if signature == "right" else b"401")
