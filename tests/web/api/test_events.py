"""Event streams: resumed, shared, left, and ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.model import User
from jupyterhub_binder.web import streams as web_events
from jupyterhub_binder.web.services import Streams
from tests.kit.api_client import Api, check_schema
from tests.kit.fake_hub import PEOPLE, FakeHub
from tests.kit.service import wait_for_build
from tests.kit.waiting import until


async def read_all(api: Api, build_id: str, **kwargs) -> list:
    query = kwargs.pop("query", "")
    async with asyncio.timeout(60):
        async with api.events(f"api/v1/builds/{build_id}/events{query}", **kwargs) as stream:
            return [event async for event in stream]


def lines(seen: list) -> list[int]:
    return [event.json()["seq"] for event in seen if event.event == "message"]


async def test_a_finished_build_is_told_in_full(ada: Api, new_environment) -> None:
    build_id = (await new_environment(options={"fake": {"lines": 30, "hostile": True}}))["latest"][
        "id"
    ]
    await wait_for_build(ada, build_id)
    seen = await read_all(ada, build_id)
    assert seen[0].event == "build"
    assert seen[-1].event == "end"
    last = seen[-1].json()
    assert lines(seen) == list(range(1, last["lines"] + 1))
    for event in seen:
        check_schema("BuildEvent" if event.event == "message" else "Build", event.json())
        assert event.event != "message" or event.id == str(event.json()["seq"])


@pytest.mark.parametrize(
    "resume",
    [
        {"headers": {"Last-Event-ID": "7"}},
        {"query": "?after=7"},
        {"query": "?after=3", "headers": {"Last-Event-ID": "7"}},
    ],
)
async def test_a_dropped_stream_is_taken_up_again(ada: Api, new_environment, resume) -> None:
    build_id = (await new_environment(options={"fake": {"lines": 30}}))["latest"]["id"]
    last = (await wait_for_build(ada, build_id))["lines"]
    assert lines(await read_all(ada, build_id, **resume)) == list(range(8, last + 1))


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 30])
async def test_a_resume_from_nonsense_is_400(ada: Api, new_environment, value: str) -> None:
    build_id = (await new_environment())["latest"]["id"]
    path = f"api/v1/builds/{build_id}/events"
    assert (await ada("GET", path, headers={"Last-Event-ID": value})).status == 400
    assert (await ada("GET", f"{path}?after={value}")).status == 400


async def test_a_watcher_sees_lines_before_the_build_ends(
    ada: Api, service: JupyterHubBinder, new_environment
) -> None:
    options = {"fake": {"lines": 5, "gate": "live"}}
    build_id = (await new_environment(options=options))["latest"]["id"]
    async with asyncio.timeout(60), ada.events(f"api/v1/builds/{build_id}/events") as stream:
        async for event in stream:
            if event.event == "message" and "5/5" in event.data:
                break
        service.parts.backend.gate("live").open()
        rest = [event async for event in stream]
    assert rest[-1].event == "end"
    assert rest[-1].json()["state"] == "built"


async def test_many_watchers_share_one_encoding(
    ada: Api, service: JupyterHubBinder, new_environment
) -> None:
    options = {"fake": {"lines": 500, "gate": "many"}}
    build_id = (await new_environment(options=options))["latest"]["id"]
    await service.parts.backend.gate("many").reached.wait()
    watching = [asyncio.create_task(read_all(ada, build_id)) for _ in range(20)]
    service.parts.backend.gate("many").open()
    seen = await asyncio.gather(*watching)
    assert all(lines(each) == lines(seen[0]) for each in seen)
    assert len(lines(seen[0])) >= 500


async def test_a_client_that_leaves_is_noticed(
    ada: Api, service: JupyterHubBinder, new_environment
) -> None:
    build_id = (await new_environment(options={"fake": {"gate": "leave"}}))["latest"]["id"]
    streams = service.parts.streams
    await until(lambda: len(streams) == 0)
    async with ada.events(f"api/v1/builds/{build_id}/events") as stream:
        await anext(stream)
        assert len(streams) == 1
    await until(lambda: len(streams) == 0)
    service.parts.backend.gate("leave").open()
    assert (await wait_for_build(ada, build_id))["state"] == "built"


async def test_a_silent_stream_has_a_heartbeat(
    ada: Api, service: JupyterHubBinder, new_environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_events, "HEARTBEAT_SECONDS", 0.05)
    build_id = (await new_environment(options={"fake": {"gate": "beat"}}))["latest"]["id"]
    await service.parts.backend.gate("beat").reached.wait()
    url = f"{ada.url}api/v1/builds/{build_id}/events"
    async with asyncio.timeout(60), ada.session.get(url, headers=ada.headers) as response:
        text = b""
        while text.count(b": still here\n\n") < 3:
            text += await response.content.readany()
    service.parts.backend.gate("beat").open()


async def test_a_client_that_takes_nothing_is_let_go_and_nobody_waits_for_it(
    ada: Api, service: JupyterHubBinder, new_environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_events, "STALLED_SECONDS", 0.3)
    options = {"fake": {"lines": 40_000, "gate": "stall"}}
    build_id = (await new_environment(options=options))["latest"]["id"]
    await service.parts.backend.gate("stall").reached.wait()
    lazy = socket.create_connection(("127.0.0.1", service.port))
    lazy.sendall(
        f"GET {service.base_url}api/v1/builds/{build_id}/events HTTP/1.1\r\n"
        "Host: x\r\nAuthorization: token ada-token\r\n\r\n".encode()
    )
    await until(lambda: len(service.parts.streams) == 1)
    service.parts.backend.gate("stall").open()
    assert len(lines(await read_all(ada, build_id))) >= 40_000
    await until(lambda: len(service.parts.streams) == 0)
    lazy.close()


async def test_a_stream_ends_with_the_share(
    ada: Api, person: Callable[[str], Api], service: JupyterHubBinder, new_environment
) -> None:
    made = await new_environment(options={"fake": {"lines": 5, "gate": "unshared"}})
    build_id, shares = made["latest"]["id"], f"api/v1/environments/{made['id']}/shares"
    given = {"shares": [{"subject": "user:grace", "right": "launch"}]}
    assert (await ada("PUT", shares, given)).status == 200
    async with asyncio.timeout(60):
        async with person("grace").events(f"api/v1/builds/{build_id}/events") as stream:
            async for event in stream:
                if event.event == "message" and "5/5" in event.data:
                    break
            assert (await ada("PUT", shares, {"shares": []})).status == 200
            service.parts.backend.gate("unshared").open()
            assert [event async for event in stream] == []
    await wait_for_build(ada, build_id)


async def test_a_stream_ends_with_the_membership(
    ada: Api,
    person: Callable[[str], Api],
    service: JupyterHubBinder,
    hub: FakeHub,
    new_environment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web_events, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(web_events, "RIGHTS_SECONDS", 0)
    monkeypatch.setattr(service.parts.hub_auth.cache, "max_age", 1e-6)
    made = await new_environment(options={"fake": {"lines": 5, "gate": "left"}})
    build_id, shares = made["latest"]["id"], f"api/v1/environments/{made['id']}/shares"
    given = {"shares": [{"subject": "group:astronomy", "right": "launch"}]}
    assert (await ada("PUT", shares, given)).status == 200
    async with asyncio.timeout(60):
        async with person("grace").events(f"api/v1/builds/{build_id}/events") as stream:
            await anext(stream)
            hub.down = True
            asked = len(hub.asked)
            await until(lambda: len(hub.asked) > asked + 3)
            assert len(service.parts.streams) == 1, "the hub says nothing, so it goes on"
            hub.down = False
            monkeypatch.setitem(PEOPLE, "grace", {**PEOPLE["grace"], "groups": []})
            assert "end" not in [event.event async for event in stream]
    await until(lambda: len(service.parts.streams) == 0)
    service.parts.backend.gate("left").open()
    await wait_for_build(ada, build_id)


async def test_four_hundred_streams_ask_the_hub_a_few_questions_at_a_time() -> None:
    streams, asking, most, asked = Streams(), 0, 0, 0

    async def fetch() -> User:
        nonlocal asking, most, asked
        asking, asked = asking + 1, asked + 1
        most = max(most, asking)
        await asyncio.sleep(0)
        asking -= 1
        return User("ada")

    tokens = [f"token{number % 100}" for number in range(400)]
    await asyncio.gather(*(streams.identify(token, fetch) for token in tokens))
    assert (asked, most <= 4) == (100, True)
