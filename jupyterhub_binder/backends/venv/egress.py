"""An HTTP proxy on a Unix socket: the sandbox's only way out.

The sandbox has no network, so builds can't reach the hub's API or cloud metadata. Steps that
download get this socket. It supports only CONNECT to port 443 of allowed hosts, and resolves names
itself. ``*`` allows every host that has only public addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.sandbox import Mount
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.net import is_public

_PORT = 3128
_SOCKET = Path("/run/egress/socket")
_HELPER = Path("/run/egress-helper.py")
_CHUNK = 65_536
_CONNECT_SECONDS = 20
_MAX_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class WayOut:
    """What a command needs to use the proxy."""

    mounts: tuple[Mount, ...]
    env: dict[str, str]

    def wrap(self, python: Path, args: Sequence[str | Path]) -> list[str | Path]:
        """Return the command with a proxy beside it."""
        return [python, "-I", "-S", _HELPER, _SOCKET, str(_PORT), *args]


class Egress:
    """Opens proxies."""

    def __init__(
        self, hosts: Collection[str], log: logging.Logger | logging.LoggerAdapter[Any]
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._log = log

    @contextlib.asynccontextmanager
    async def open(self, folder: Path) -> AsyncGenerator[WayOut, None]:
        """Serve one command's proxy; `folder` is created for the socket."""
        server = await asyncio.to_thread(_listen, folder)
        tasks = TaskSet(self._log)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(tasks) >= _MAX_CONNECTIONS:  # each takes two of the service's open files
                writer.transport.abort()
                return
            tasks.spawn(self._serve(reader, writer), name="egress")

        listening = await asyncio.start_unix_server(accept, sock=server)
        proxy = f"http://127.0.0.1:{_PORT}"
        names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
        helper = Path(inside.__file__).with_name("proxy.py")
        try:
            yield WayOut(
                (Mount(folder, _SOCKET.parent), Mount(helper, _HELPER)),
                dict.fromkeys(names, proxy),
            )
        finally:
            listening.close()
            await tasks.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    far = await self._connect(await reader.readuntil(b"\r\n\r\n"))
            except (_RequestRefused, OSError, TimeoutError) as error:
                writer.write(
                    f"HTTP/1.1 403 {error or 'Timeout'}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                await writer.drain()
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _relay((reader, writer), far)
        writer.close()

    async def _connect(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = _target(head)
        if port != 443:
            raise _RequestRefused("Only port 443 is allowed")
        if host not in self._hosts and "*" not in self._hosts:
            raise _RequestRefused(f"Builds may not connect to {host}")
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(address[4][0]) for address in found]
        if host not in self._hosts and not all(map(is_public, addresses)):
            raise _RequestRefused(f"{host} is not a public address")
        return await asyncio.open_connection(addresses[0], port)


class _RequestRefused(Exception):
    """A refused request; the text is ASCII without line ends."""


def _listen(folder: Path) -> socket.socket:
    """Create a socket; the folder's descriptor shortens a long path."""
    folder.mkdir(exist_ok=True)
    (folder / "socket").unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        server.bind(f"/proc/self/fd/{opened}/socket")
    finally:
        os.close(opened)
    return server


def _target(head: bytes) -> tuple[str, int]:
    method, _, rest = head.split(b"\r\n", 1)[0].decode("ascii", "replace").partition(" ")
    host, colon, port = rest.partition(" ")[0].rpartition(":")
    if method != "CONNECT" or not colon or not port.isdigit():
        raise _RequestRefused("Only https addresses are allowed")
    if not host or not all(c.isalnum() or c in ".-" for c in host) or not host.isascii():
        raise _RequestRefused("The host name is invalid")
    return host.lower().rstrip("."), int(port)


async def _relay(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    try:
        await asyncio.gather(_copy(near[0], far[1]), _copy(far[0], near[1]))
    finally:
        far[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
