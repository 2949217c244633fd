"""What the BinderHub backend costs: memory of builds in parallel, delay of a line to the browser.

    python bench/binderhub.py

Three processes on 127.0.0.1: a simulated BinderHub, the service with a simulated hub, and the
watchers. Prints one JSON line a figure; the goals are 150 MB in all for 10 builds of 20,000
lines, and 50 ms from BinderHub's line to the watcher's.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

BUILDS, LINES = 10, 20_000
PACED_LINES, PACED_SECONDS = 200, 0.02


async def simulate_binderhub() -> None:
    """Answer builds: 20,000 lines at once, or, for `paced`, lines that say when they were sent."""
    from tests.backends import replay

    fast = [replay.event("".join(f"line {n} {'x' * 60}\n" for n in range(k, k + 50)), "building") for k in range(0, LINES, 50)]  # fmt: skip
    async with replay.replaying() as server:
        server.tell("/build/", replay.stream(fast, replay.ready()))
        paced = [PACED_SECONDS, lambda: replay.event(f"now {time.time()}\n", "building")]
        server.tell("/paced", replay.stream(paced * PACED_LINES, replay.ready()))
        print(server.url, flush=True)
        await asyncio.Event().wait()


async def serve(binderhub: str) -> None:
    """Run the service, with a hub that knows everybody."""
    from traitlets.config import Config

    from jupyterhub_binder.app import JupyterHubBinder
    from tests.web.fake_hub import running_hub

    async with running_hub() as hub:
        with tempfile.TemporaryDirectory() as folder:
            config = Config()
            config.JupyterHubBinder.update(
                {"backend": "binderhub", "state_dir": folder, "port": 0, "log_level": 40}
            )
            config.HubOAuth.update(
                {"api_url": hub.api_url, "api_token": "x", "oauth_client_id": "service-binder"}
            )
            config.HubClient.update({"api_url": hub.api_url, "api_token": "x"})
            config.Builds.update({"max_running": 20, "max_running_per_user": 20})
            config.Builds.max_active_per_user = 20
            config.BinderHubBackend.update({"url": binderhub, "images_dir": f"{folder}/images"})
            app = JupyterHubBinder(config=config)
            await app.start_service()
            print(f"http://127.0.0.1:{app.port}{app.base_url}", flush=True)
            await asyncio.Event().wait()


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
            assert response.status == 201, answer
            return answer["latest"]["id"]

    async def messages(self, build_id: str) -> AsyncIterator[str]:
        """Yield the messages of a build, until its end."""
        from jupyterhub_binder.sse import EventParser

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


async def measure(service: psutil.Process, url: str) -> None:
    """Print the figures."""
    headers = {"Authorization": "token ada-token"}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        watchers = Watchers(session, url)
        delays = await watchers.delays(await watchers.begin("org/paced"))
        show("binderhub_line_delay_ms_p50", statistics.median(delays), "50", lines=len(delays))
        show("binderhub_line_delay_ms_p99", statistics.quantiles(delays, n=100)[98], "50")
        before, peak = service.memory_info().rss, 0
        began = time.monotonic()
        ids = await asyncio.gather(*(watchers.begin(f"org/fast{n}") for n in range(BUILDS)))
        counting = asyncio.gather(*(watchers.count(build_id) for build_id in ids))
        while not counting.done():
            peak = max(peak, service.memory_info().rss)
            await asyncio.sleep(0.02)
        seconds = time.monotonic() - began
        counts = await counting
        assert min(counts) >= LINES, counts
        show("binderhub_10_builds_rss_mb", peak / 2**20, "150", before=round(before / 2**20))
        show("binderhub_10_builds_lines_per_second", sum(counts) / seconds, "", lines=sum(counts))


def show(name: str, value: float, goal: str, **more: object) -> None:
    """Print one figure."""
    print(json.dumps({"figure": name, "value": round(value, 1), "goal": goal, **more}), flush=True)


def start(*args: str) -> tuple[subprocess.Popen[str], str]:
    """Start a role of this file; return it and the address it prints."""
    process = subprocess.Popen(
        [sys.executable, __file__, *args], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    """Run all three."""
    binderhub, binderhub_url = start("binderhub")
    service, service_url = start("service", binderhub_url)
    try:
        asyncio.run(measure(psutil.Process(service.pid), service_url))
    finally:
        for process in (service, binderhub):
            process.kill()
            process.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["binderhub"]:
            asyncio.run(simulate_binderhub())
        case ["service", url]:
            asyncio.run(serve(url))
        case _:
            main()
