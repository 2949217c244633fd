"""What the BinderHub backend costs: memory of builds in parallel, delay of a line to the browser.

Three processes on 127.0.0.1: a simulated BinderHub (this module, run by itself), the service,
and the watchers with a simulated hub.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator

import aiohttp

from bench.figures import show
from bench.service import HEADERS, ROOT, Service, running_service
from tests.kit import replay

BUILDS, LINES = 10, 20_000
PACED_LINES, PACED_SECONDS = 200, 0.02


async def simulate_binderhub() -> None:
    """Answer builds: 20,000 lines at once, or, for `paced`, lines that say when they were sent."""
    fast = [replay.event("".join(f"line {n} {'x' * 60}\n" for n in range(k, k + 50)), "building") for k in range(0, LINES, 50)]  # fmt: skip
    async with replay.replaying() as server:
        server.tell("/build/", replay.stream(fast, replay.ready()))
        server.tell("/paced", lambda _: replay.stream(paced(), replay.ready()))
        print(server.url, flush=True)
        await asyncio.Event().wait()


def paced() -> list[replay.Step]:
    """Return lines to be sent one each PACED_SECONDS from now on, each with the time it is sent."""
    loop = asyncio.get_running_loop()
    steps: list[replay.Step] = []
    for number in range(1, PACED_LINES + 1):
        due = asyncio.Event()
        loop.call_later(number * PACED_SECONDS, due.set)
        steps += [due, lambda: replay.event(f"now {time.time()}\n", "building")]
    return steps


class Watchers:
    """One person who watches builds."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def begin(self, repo: str) -> str:
        """Ask for a build; return its id."""
        body = {"provider": "gh", "spec": f"{repo}/{'c' * 40}"}
        async with self.session.post(f"{self.url}api/v1/environments", json=body) as response:
            answer = await response.json()
            if response.status != 201:
                raise RuntimeError(f"status {response.status}: {answer}")
            return answer["latest"]["id"]

    async def messages(self, build_id: str) -> AsyncIterator[str]:
        """Yield the messages of a build, until its end."""
        from jupyterhub_binder.utils.sse import EventParser

        parser = EventParser()
        url = f"{self.url}api/v1/builds/{build_id}/events"
        async with self.session.get(url) as response:
            async for data in response.content.iter_any():
                for event in parser.feed(data):
                    if event.event == "message":
                        yield event.json()["message"]
                    elif event.event == "end":
                        assert event.json()["state"] == "built", event.data
                        return

    async def count(self, build_id: str) -> int:
        """Count the lines that a watcher gets."""
        return sum([1 async for _ in self.messages(build_id)])

    async def delays(self, build_id: str) -> list[float]:
        """Return the milliseconds from BinderHub's line to ours."""
        return [
            (time.time() - float(message[4:])) * 1000
            async for message in self.messages(build_id)
            if message.startswith("now ")
        ]


async def measure() -> None:
    """Print the figures."""
    simulated = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.binderhub", stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert simulated.stdout is not None
    try:
        url = (await simulated.stdout.readline()).decode().strip()
        config = {"JupyterHubBinder": {"backend": "binderhub"}, "BinderHubBackend": {"url": url}}
        async with running_service(config) as service:
            await _measure(service)
    finally:
        simulated.kill()
        await simulated.wait()


async def _measure(service: Service) -> None:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(headers=HEADERS, timeout=timeout) as session:
        watchers = Watchers(session, service.url)
        delays = await watchers.delays(await watchers.begin("org/paced"))
        for name, value in (
            ("p50", statistics.median(delays)),
            ("p99", statistics.quantiles(delays, n=100)[98]),
        ):
            show(f"binderhub_line_delay_{name}", value, "ms", goal="< 50", lines=len(delays))
        before, peak = service.rss(), 0
        began = time.monotonic()
        ids = await asyncio.gather(*(watchers.begin(f"org/fast{n}") for n in range(BUILDS)))
        counting = asyncio.gather(*(watchers.count(build_id) for build_id in ids))
        while not counting.done():
            peak = max(peak, service.rss())
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - began
        counts = await counting
        if min(counts) < LINES:
            raise RuntimeError(f"of {LINES} lines came {min(counts)}")
        before_mb = round(before / 2**20)
        show("binderhub_10_builds_memory", peak / 2**20, "MB", goal="< 150", before=before_mb)
        show("binderhub_10_builds", sum(counts) / seconds, "lines/s in total", lines=sum(counts))


if __name__ == "__main__":
    asyncio.run(simulate_binderhub())
