"""A BinderHub made of bytes: answers what it is told, cut wherever it is told, on a real socket.

An answer is a list of steps: bytes are sent, `Wait` waits for an event, `HANG` keeps the
connection open until the client leaves, `DROP` breaks it. Whatever is not told is a 404.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORDINGS = Path(__file__).parent.parent / "data" / "binderhub"

HANG = object()
DROP = object()
Step = Any
"""Bytes, what makes them when they are sent, an iterator of them, an asyncio.Event, HANG or DROP."""

HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: TornadoServer/6.6.1\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
KEEPALIVE = b":keepalive\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(message: str | None = None, phase: str | None = None, **more: Any) -> bytes:
    """One event as BinderHub sends a log's line."""
    data = {"message": message, "phase": phase, **more}
    text = json.dumps({key: value for key, value in data.items() if value is not None})
    return chunk(f"data: {text}\n\n\n".encode())


def said(*lines: str, phase: str = "building") -> list[Step]:
    return [event(f"{line}\n", phase) for line in lines]


def greeting() -> list[Step]:
    """What BinderHub says first on every connection, whatever becomes of the build."""
    return said("Waiting for build to start...", phase="waiting")


def lost_sight() -> bytes:
    """What BinderHub says when it loses sight of a build, which may well go on."""
    return event("Unhandled error watching for build events. Please try again.\n", "failed")


def ready(image: str = "registry/name:tag") -> list[Step]:
    return [event("Done! Image built\n", "ready", imageName=image), END]


def stream(*steps: Step | Sequence[Step]) -> list[Step]:
    """An answer: the head of a stream and its steps."""
    flat = [HEAD]
    for step in steps:
        flat.extend(step if isinstance(step, list) else [step])
    return flat


def as_json(value: Any, status: int = 200) -> list[Step]:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body]


def status(code: int, headers: str = "") -> list[Step]:
    body = b"<html>no</html>"
    head = f"HTTP/1.1 {code} X\r\nContent-Type: text/html\r\nConnection: close\r\n{headers}"
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body]


def recording(name: str) -> bytes:
    (path,) = RECORDINGS.glob(f"{name}_*.sse")
    return path.read_bytes()


def cut(data: bytes, seed: int, *, limit: int = 40) -> list[Step]:
    """The bytes in pieces of random lengths, the same for the same seed."""
    dice = random.Random(seed)
    pieces, at = [], 0
    while at < len(data):
        size = dice.randint(1, limit)
        pieces.append(data[at : at + size])
        at += size
    return pieces


def cut_at(data: bytes, places: Iterable[int]) -> list[Step]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@dataclass
class Request:
    """What a client asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


Answer = list[Step] | Callable[[Request], list[Step]]

PROVIDERS = [{"id": prefix} for prefix in ("gh", "gl", "gist", "git", "zenodo")]


@dataclass
class ReplayServer:
    """The server, and what the test may look at."""

    url: str = ""
    answers: list[tuple[re.Pattern[str], Answer]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    """Those for builds."""
    open: int = 0
    """Connections that are being answered."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    health: Answer = field(default_factory=lambda: as_json({"ok": True, "checks": []}))
    providers: Answer = field(default_factory=lambda: as_json(PROVIDERS))

    def tell(self, path: str, *answers: Answer) -> None:
        """Answer requests whose path matches: one after the other, the last one for ever."""
        left = list(answers)

        def next_one(request: Request) -> list[Step]:
            answer = left.pop(0) if len(left) > 1 else left[0]
            return answer(request) if callable(answer) else answer

        self.answers.insert(0, (re.compile(path), next_one))

    def _find(self, request: Request) -> list[Step]:
        fixed = {"/health": self.health, "/api/repoproviders": self.providers}
        fixed["/versions"] = as_json({"builder_info": {}, "binderhub": "1.0.0"})
        answer = fixed.get(request.path)
        if answer is None:
            self.requests.append(request)
            found = (a for pattern, a in self.answers if pattern.search(request.path))
            answer = next(found, status(404))
        return answer(request) if callable(answer) else answer

    async def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await self.changed.wait()

    def _tell_change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = parse_request(await reader.readuntil(b"\r\n\r\n"))
                steps = self._find(request)
                self._tell_change()
                await play(steps, reader, writer)
        finally:
            writer.close()
            self.open -= 1
            self._tell_change()


def parse_request(head: bytes) -> Request:
    first, *lines = head.decode().strip().split("\r\n")
    url = urlsplit(first.split()[1])
    pairs = (line.split(": ", 1) for line in lines)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    return Request(url.path, query, {name.lower(): value for name, value in pairs})


async def play(
    steps: list[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    gone = asyncio.ensure_future(reader.read())
    try:
        for step in steps:
            if step is HANG:
                await gone
                return
            if step is DROP:
                writer.transport.abort()
                return
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            for data in step if isinstance(step, Iterator) else [step]:
                writer.write(data() if callable(data) else data)
                await writer.drain()
                # One piece a turn of the loop, so that the client sees it by itself.
                await asyncio.sleep(0)
    finally:
        gone.cancel()


@asynccontextmanager
async def replaying(port: int = 0):
    """Run one on a free port of 127.0.0.1."""
    server = ReplayServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # The streams of asyncio complain loudly about a handler that is cancelled.
        with suppress(asyncio.CancelledError):
            await server.serve(reader, writer)
        tasks.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", port)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    try:
        yield server
    finally:
        listening.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
