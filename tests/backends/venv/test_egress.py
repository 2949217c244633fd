"""The way out of the sandbox lets nothing through but what is allowed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from jupyterhub_binder.backends.venv.egress import Egress

LOG = logging.getLogger(__name__)


async def ask(folder, hosts, request: bytes) -> bytes:
    async with Egress(hosts, LOG).open(folder):
        reader, writer = await asyncio.open_unix_connection(str(folder / "socket"))
        writer.write(request)
        answer = await reader.read(1000)
        writer.close()
        return answer


@pytest.mark.parametrize(
    "request_line",
    [
        b"CONNECT 127.0.0.1:443 HTTP/1.1",
        b"CONNECT localhost:443 HTTP/1.1",
        b"CONNECT 169.254.169.254:443 HTTP/1.1",
        b"CONNECT 10.0.0.1:443 HTTP/1.1",
        b"CONNECT [::1]:443 HTTP/1.1",
        b"CONNECT 2130706433:443 HTTP/1.1",
        b"CONNECT 8.8.8.8:22 HTTP/1.1",
        b"GET http://127.0.0.1/ HTTP/1.1",
        b"CONNECT a\xff:443 HTTP/1.1",
        b"rubbish",
    ],
)
@pytest.mark.parametrize("hosts", [["*"], ["index.example.org"]])
async def test_nothing_of_the_local_network_is_reached(tmp_path, hosts, request_line):
    answer = await ask(tmp_path / "way", hosts, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_host_that_nobody_named_is_refused(tmp_path):
    answer = await ask(
        tmp_path / "way", ["index.example.org"], b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n"
    )
    assert b"may not connect to evil.example" in answer


async def test_allowed_host_is_reached_and_bytes_pass_both_ways(tmp_path, monkeypatch):
    async def echo(reader, writer):
        writer.write((await reader.readexactly(4)).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connect = asyncio.open_connection
    monkeypatch.setattr(asyncio, "open_connection", lambda host, _: connect(host, port))
    async with Egress(["localhost"], LOG).open(tmp_path / "way"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "way/socket"))
        writer.write(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ping")
        assert await reader.read() == b"PING"
        writer.close()
    server.close()


async def test_socket_may_be_deep_in_the_tree(tmp_path):
    folder = tmp_path / ("d" * 100)
    async with Egress(["*"], LOG).open(folder):
        assert (folder / "socket").is_socket()


async def test_one_step_takes_few_of_the_services_open_files(tmp_path):
    async with Egress(["index.example.org"], LOG).open(tmp_path / "way"):
        path = str(tmp_path / "way" / "socket")
        opened = [await asyncio.open_unix_connection(path) for _ in range(130)]
        cut = [asyncio.create_task(reader.read()) for reader, _ in opened]
        async with asyncio.timeout(10):
            while sum(task.done() for task in cut) < 30:
                await asyncio.wait(
                    [task for task in cut if not task.done()], return_when=asyncio.FIRST_COMPLETED
                )
        assert sum(task.done() for task in cut) == 30
        for task in cut:
            task.cancel()
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*cut, return_exceptions=True)
