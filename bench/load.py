"""Clients that cost little themselves: one connection each, requests written beforehand."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from bench.service import Service, headers_of

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What many requests took."""

    requests: int
    seconds: float
    cpu_ms: float
    """Processor time of the service, in milliseconds a request."""
    p50_ms: float
    p95_ms: float

    @property
    def per_second(self) -> float:
        """Return requests answered a second."""
        return self.requests / self.seconds


def request(
    service: Service, method: str, path: str, body: bytes = b"", *, person: str = "ada"
) -> bytes:
    """Return a request to send again and again."""
    head = [f"{method} {service.prefix}{path} HTTP/1.1", f"Host: {service.host}:{service.port}"]
    head += [f"{name}: {value}" for name, value in headers_of(person).items()]
    head += [f"Content-Length: {len(body)}"] if method != "GET" else []
    return "\r\n".join(head).encode() + _HEAD_END + body


class Client:
    """One connection that is kept."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __aenter__(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection(
            self._service.host, self._service.port
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: bytes, *, expect: int = 200) -> bytes:
        """Send a request; return the body of the answer.

        `expect` 0 is every status that is not an error.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(_HEAD_END)
        status = int(head[9:12])
        lines = head.lower()
        if status == 204:
            return b""
        start = lines.index(b"content-length:") + 15
        body = await self._reader.readexactly(int(lines[start : lines.index(b"\r", start)]))
        if (status != expect) if expect else (status >= 400):
            raise RuntimeError(f"status {status} instead of {expect}: {body[:500]!r}")
        return body


async def load(
    service: Service,
    wanted: Sequence[bytes],
    *,
    clients: int,
    requests: int,
    expect: int = 200,
) -> Load:
    """Have several clients send requests in turns, each after its last was answered."""
    times: list[float] = []
    turns = cycle(wanted)

    async def work() -> None:
        async with Client(service) as client:
            for _ in range(requests // clients):
                began = time.perf_counter()
                await client.ask(next(turns), expect=expect)
                times.append(time.perf_counter() - began)

    cpu, began = service.cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(clients)))
    seconds = time.perf_counter() - began
    return Load(
        len(times),
        seconds,
        (service.cpu_seconds() - cpu) / len(times) * 1000,
        statistics.median(times) * 1000,
        statistics.quantiles(times, n=20)[-1] * 1000,
    )
