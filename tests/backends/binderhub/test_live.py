"""A real BinderHub, given by BINDERHUB_URL: what the conformance suite does not ask."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from yarl import URL

from jupyterhub_binder.backends.binderhub.backend import BinderHubBackend
from jupyterhub_binder.backends.binderhub.host import HostState
from jupyterhub_binder.errors import BuildFailed
from tests.kit.backend_binderhub import LiveBinderHubKit
from tests.kit.jobs import collect, collect_into, image_of, lines

pytestmark = pytest.mark.binderhub


@pytest.fixture
async def kit(tmp_path) -> AsyncIterator[LiveBinderHubKit]:
    kit = LiveBinderHubKit(tmp_path)
    await kit.backend.start()
    yield kit
    await kit.backend.stop()


class Proxy:
    """A way to BinderHub that can be cut."""

    def __init__(self) -> None:
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways."""
        there = URL(os.environ["BINDERHUB_URL"])
        far_reader, far_writer = await asyncio.open_connection(there.host, there.port)
        self._writers |= {writer, far_writer}
        with suppress(ConnectionError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = str(URL(os.environ["BINDERHUB_URL"]).with_host("127.0.0.1").with_port(port))
    async with server:
        yield proxy


async def test_broken_connection_is_taken_up_again(kit: LiveBinderHubKit, tmp_path) -> None:
    if URL(os.environ["BINDERHUB_URL"]).scheme != "http":
        pytest.skip("only a connection without TLS can be led through a proxy")
    async with running_proxy() as proxy:
        backend = BinderHubBackend(url=proxy.url, images_dir=str(tmp_path), reconnect_seconds=0.1)
        await backend.start()
        outputs = []
        async for output in backend.build(kit.good()):
            outputs.append(output)
            if sum("broke" in line for line in lines(outputs)) == 0 and len(lines(outputs)) == 4:
                proxy.cut()
        await backend.stop()
    assert image_of(outputs)
    assert any("Connecting again" in line for line in lines(outputs))


async def test_second_build_of_a_commit_is_found(kit: LiveBinderHubKit) -> None:
    job = kit.good()
    image = image_of(await collect(kit.backend, job)).name
    outputs = await collect(kit.backend, job)
    assert image_of(outputs).name == image
    assert any("already has the image" in line for line in lines(outputs))


async def test_reason_of_a_failure_is_that_of_the_log(kit: LiveBinderHubKit) -> None:
    outputs = []
    with pytest.raises(BuildFailed) as caught:
        await collect_into(outputs, kit.backend, kit.failing())
    assert "nosuchthing" in caught.value.message
    assert "Traceback" not in "\n".join(lines(outputs))


async def test_binderhub_says_how_it_is(kit: LiveBinderHubKit) -> None:
    (status,) = kit.backend.statuses()
    assert status.state in (HostState.OK, HostState.FULL)
    assert status.version
    assert status.prefixes
    assert {"gh", "git"} <= status.prefixes
