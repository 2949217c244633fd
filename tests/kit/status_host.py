"""A git host's API over https, as far as commit statuses need it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.kit.certificates import make_certificate

TOKEN = "a-token-of-the-host-0123456789"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    """As it was sent, with its escapes."""
    headers: Mapping[str, str]
    body: Any


@dataclass
class StatusHost:
    """Remembers what it is sent, and answers 201 unless told otherwise."""

    url: str
    certificate: Path
    asked: list[Asked] = field(default_factory=list)
    answers: deque[web.Response] = field(default_factory=deque)
    gate: asyncio.Event | None = None
    """Answers wait for it."""
    git_url: str = ""
    """A server of repositories, which gets what is not for the API."""

    def answer(self, status: int, body: Any = None, headers: Any = None) -> None:
        """Answer the next request like this."""
        self.answers.append(web.json_response(body or {}, status=status, headers=headers))

    @property
    def states(self) -> list[tuple[str, str]]:
        """What it was told, in order."""
        return [(each.body["state"], each.body["description"]) for each in self.asked]

    async def handle(self, request: web.Request) -> web.Response:
        """Answer."""
        if self.git_url and "/api/" not in request.path:
            return await self._forward(request)
        self.asked.append(
            Asked(request.method, request.raw_path, request.headers, await request.json())
        )
        if self.gate is not None:
            await self.gate.wait()
        return self.answers.popleft() if self.answers else web.json_response({}, status=201)

    async def _forward(self, request: web.Request) -> web.Response:
        kept = ("Content-Type", "Content-Encoding", "Git-Protocol")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self.git_url + request.raw_path,
                data=await request.read(),
                headers=headers,
            ) as answer,
        ):
            kind = {"Content-Type": answer.headers.get("Content-Type", "")}
            return web.Response(body=await answer.read(), status=answer.status, headers=kind)


@asynccontextmanager
async def serve_statuses(folder: Path) -> AsyncIterator[StatusHost]:
    """Serve at an address of this machine, with a certificate in a folder."""
    folder.mkdir(exist_ok=True)
    context = await asyncio.to_thread(make_certificate, folder)
    host = StatusHost("", folder / "cert.pem")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", host.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    host.url = f"https://127.0.0.1:{port}"
    try:
        yield host
    finally:
        if host.gate is not None:
            host.gate.set()
        await runner.cleanup()
