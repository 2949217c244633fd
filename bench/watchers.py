"""A long log to many watchers: every one gets all of it, in order; and one of them that is slow."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import statistics
import time
from collections.abc import Awaitable

from bench.figures import show
from bench.load import Client, request
from bench.probe import probing
from bench.service import Service, headers_of, running_service

LINES = 20_000
_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)
_NOT_LINES = re.compile(
    rb"^(?:event: [a-z]+\ndata: [^\n]*|retry: \d+|:[^\n]*|\n)\n\n?", re.MULTILINE
)


class Watcher:
    """One watcher's connection. It counts lines and sums up their text, cheaply.

    A strict one looks at each line's number, too: it stands for all whose sum is the same.
    """

    def __init__(
        self, service: Service, path: str, *, person: str = "ada", strict: bool = False
    ) -> None:
        self._service = service
        self._path = f"{service.prefix}api/v1/{path}"
        self._headers = headers_of(person)
        self.last = ""
        """The last event, once it has ended."""
        self._sum = hashlib.blake2b()
        self._strict = strict
        self._ended = False
        self.lines = 0

    async def connect(self) -> None:
        """Ask for the stream."""
        self.reader, self._writer = await asyncio.open_connection(
            self._service.host, self._service.port, limit=2**20
        )
        # Of HTTP 1.0 the answer comes as it is, in no chunks.
        head = [f"GET {self._path} HTTP/1.0", "Host: bench", "Accept: text/event-stream"]
        head += [f"{name}: {value}" for name, value in self._headers.items()]
        self._writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        await self.reader.readuntil(b"\r\n\r\n")

    async def follow(self) -> tuple[int, str]:
        """Read to the end of the build; return the number of lines, and a sum of their text."""
        rest = b""
        while not self._ended:
            data = await self.reader.read(2**18)
            if not data:
                raise RuntimeError(f"the stream broke off after {self.lines} lines")
            whole, _, rest = (rest + data).rpartition(b"\n\n")
            self._take(whole + b"\n\n")
        self.close()
        return self.lines, self._sum.hexdigest()

    def _take(self, text: bytes) -> None:
        if (end := text.rfind(b"event: end\n")) >= 0:
            self._ended = True
            self.last = text[end:].decode()
        text = _NOT_LINES.sub(b"", text)
        if self._strict:
            seen = [int(found) for found in _ID.findall(text)]
            if seen != list(range(self.lines + 1, self.lines + 1 + len(seen))):
                raise RuntimeError(f"after line {self.lines} came {seen[:5]}")
        self.lines += text.count(b"id: ")
        self._sum.update(text)

    def close(self) -> None:
        """Leave."""
        self._writer.close()


async def measure() -> None:
    """Print the figures."""
    for watchers in (50, 200):
        async with running_service() as service:
            await _measure_many(service, watchers)
    async with running_service() as service:
        await _measure_slow(service)


async def _begin_build(service: Service, repo: str) -> str:
    """Begin a build that says its lines at once."""
    body = {"provider": "gh", "spec": f"org/{repo}/{'a' * 40}"}
    script = {"options": {"fake": {"lines": LINES, "checkpoints": 1}}}
    async with Client(service) as client:
        create = request(
            service, "POST", "api/v1/environments", json.dumps({**body, **script}).encode()
        )
        return json.loads(await client.ask(create, expect=201))["latest"]["id"]


def _events(build_id: str) -> str:
    return f"builds/{build_id}/events"


async def _measure_many(service: Service, count: int) -> None:
    before, peak = service.rss(), 0
    build_id = await _begin_build(service, f"many{count}")
    watchers = [Watcher(service, _events(build_id), strict=n == 0) for n in range(count)]
    await asyncio.gather(*(watcher.connect() for watcher in watchers))
    async with probing(service) as times:
        cpu, began = service.cpu_seconds(), time.perf_counter()
        following = asyncio.gather(*(watcher.follow() for watcher in watchers))
        while not following.done():
            peak = max(peak, service.rss())
            await asyncio.sleep(0.02)
        seconds = time.perf_counter() - began
        used = service.cpu_seconds() - cpu
    texts = await following
    if len(set(texts)) > 1 or texts[0][0] < LINES:
        raise RuntimeError(f"not every watcher got all {LINES} lines in order: {set(texts)}")
    lines = sum(count for count, _ in texts)
    show(
        f"lines_per_second_to_{count}_watchers",
        lines / seconds,
        "lines/s in total",
        goal=">= 200000",
        peer="18,000 to 50 watchers; nothing in 40 s to 200",
        digits=0,
        lines=lines,
        cpu_us_per_line=round(used / lines * 1e6, 2),
    )
    show(
        f"memory_growth_with_{count}_watchers",
        (peak - before) / 2**20,
        "MB",
        goal="< 50",
        peer="1,190 to 50 watchers",
    )
    show(
        f"versions_p95_beside_{count}_watchers",
        statistics.quantiles(times, n=20)[-1],
        "ms",
        goal="< 200",
        asked=len(times),
    )


async def _measure_slow(service: Service) -> None:
    """One of 50 reads nothing; the others are compared with 50 of whom none is slow."""
    quick = await _seconds_of(service, "none-slow", slow=False)
    before = service.rss()
    slow = await _seconds_of(service, "one-slow", slow=True)
    show("time_of_49_beside_a_slow_watcher", slow / quick, "times that without", digits=2)
    show("memory_growth_with_a_slow_watcher", (service.rss() - before) / 2**20, "MB", goal="< 50")


async def _seconds_of(service: Service, repo: str, *, slow: bool) -> float:
    build_id = await _begin_build(service, repo)
    watchers = [Watcher(service, _events(build_id)) for _ in range(50)]
    await asyncio.gather(*(watcher.connect() for watcher in watchers))
    followed = watchers[1:] if slow else watchers
    following: list[Awaitable[object]] = [watcher.follow() for watcher in followed]
    began = time.perf_counter()
    await asyncio.gather(*following)
    seconds = time.perf_counter() - began
    if slow:
        watchers[0].close()
    return seconds
