"""What a shared session keeps apart, and which proxy a request goes through."""

from __future__ import annotations

import asyncio
import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from jupyterhub_binder.utils.http import (
    borrow_session,
    environment_proxy,
    open_session,
    take_connection,
    why_unanswered,
)


async def test_a_session_keeps_no_cookies_and_sends_no_ones_credentials() -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        response = web.Response()
        response.set_cookie("session", "secret")
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app, host="localhost") as server, open_session() as session:
        await session.get(server.make_url("/"), headers={"Authorization": "Bearer one"})
        await session.get(server.make_url("/"))
    assert seen[0]["Authorization"] == "Bearer one"
    assert not {"Authorization", "Cookie"} & set(seen[1])
    assert seen[1]["User-Agent"].startswith("jupyterhub-binder/")


async def test_a_borrowed_session_stays_open_and_an_own_one_is_closed() -> None:
    async with open_session() as session:
        async with borrow_session(session) as borrowed:
            assert borrowed is session
        assert not session.closed
    async with borrow_session(None) as own:
        assert not own.closed
    assert own.closed


async def test_a_user_of_the_session_has_a_limit_of_connections() -> None:
    slots = asyncio.Semaphore(1)
    async with take_connection(slots, 5):
        with pytest.raises(TimeoutError):
            async with take_connection(slots, 0.01):
                pass
    async with take_connection(slots, 0.01):
        pass


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert environment_proxy(URL("https://registry.example.org/")) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pw@proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.org")
    found = environment_proxy(URL("https://registry.example.org/v2/"))
    assert found == "http://me:pw@proxy.example.org:3128"
    assert environment_proxy(URL("https://inside.example.org/v2/")) is None
    assert environment_proxy(URL("http://registry.example.org/")) is None


async def test_why_there_was_no_answer_is_said_in_plain_words(unused_tcp_port: int) -> None:
    async def why(url: str) -> str:
        async with open_session() as session:
            with pytest.raises((aiohttp.ClientError, TimeoutError)) as error:
                await session.get(url)
        return why_unanswered(error.value)

    for host in ("127.0.0.1", "localhost"):
        assert await why(f"http://{host}:{unused_tcp_port}/") == "Connection refused"
    assert await why("http://nosuch.invalid/") == "the host's name is not known"
    assert why_unanswered(TimeoutError()) == "no answer in time"
    reset = aiohttp.ClientConnectorError(Mock(), ConnectionResetError())
    assert why_unanswered(reset) == "the connection broke"


def test_untrusted_certificate_is_said_in_plain_words() -> None:
    error = aiohttp.ClientConnectorCertificateError(Mock(), ssl.SSLCertVerificationError())
    assert why_unanswered(error) == "its certificate is not trusted"
