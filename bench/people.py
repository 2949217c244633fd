"""Many people at once: everything that they do, and what they watch.

The simulated hub and the people are this process, on a core of their own if the machine has two.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from bench.figures import show
from bench.load import Client, request
from bench.service import Service, running_service
from bench.watchers import Watcher
from tests.kit.git_server import GitServer

COUNT = 400
PEOPLE = tuple(f"visitor{number}" for number in range(COUNT))
STREAMS = 2_000
CANCELS = 1_000
_GIVE_UP_SECONDS = 300
_CONFIG = {"Builds": {"max_active_per_user": 100, "max_running": 20, "max_running_per_user": 20}}


async def measure() -> None:
    """Print the figures."""
    async with running_service(_CONFIG, people=PEOPLE) as service:
        await _measure_everything(service)
    seconds = {}
    for watched in (False, True):
        async with running_service(_CONFIG, people=PEOPLE) as service:
            seconds[watched] = await _seconds_of_builds(service, watched=watched)
    show(
        f"{COUNT}_watched_builds_over_unwatched",
        seconds[True] / seconds[False],
        "times",
        goal="<= 2",
        digits=2,
        seconds=round(seconds[True], 1),
        unwatched_seconds=round(seconds[False], 1),
    )
    async with running_service(_CONFIG, people=PEOPLE) as service:
        await _measure_streams(service)
    async with running_service(_CONFIG, people=PEOPLE) as service:
        await _measure_cancels(service)


class _Visitor:
    """One person's program, which notes how long each answer takes."""

    def __init__(
        self, service: Service, name: str, times: dict[str, list[float]], client: Client
    ) -> None:
        self._service = service
        self._times = times
        self._client = client
        self.name = name

    async def ask(self, what: str, method: str, path: str, body: Any = None) -> Any:
        """Ask; return the JSON of the answer."""
        data = b"" if body is None else json.dumps(body).encode()
        sent = request(self._service, method, f"api/v1/{path}", data, person=self.name)
        began = time.perf_counter()
        answer = await self._client.ask(sent, expect=0)
        self._times[what].append(time.perf_counter() - began)
        return json.loads(answer) if answer else None

    async def follow(self, what: str, path: str) -> str:
        """Follow a stream to its end; return the last event's text."""
        watcher = Watcher(self._service, path, person=self.name)
        began = time.perf_counter()
        await watcher.connect()
        self._times[what].append(time.perf_counter() - began)
        await watcher.follow()
        return watcher.last

    async def do_everything(self) -> None:
        """List, create, watch, launch, list again, delete."""
        await self.ask("list", "GET", "environments?limit=50")
        made = await self.ask("create", "POST", "environments", _repository(self.name))
        environment = f"environments/{made['id']}"
        end = await self.follow("watch", f"builds/{made['latest']['id']}/events")
        if '"state":"built"' not in end:
            raise RuntimeError(f"the build did not end well: {end}")
        launch = await self.ask("launch", "POST", f"{environment}/launches", {})
        await self.follow("watch a launch", f"launches/{launch['id']}/events")
        await self.ask("list", "GET", "environments?limit=50")
        await self.ask("delete", "DELETE", environment)


def _repository(name: str, **script: Any) -> dict[str, Any]:
    spec = f"org/{name}/{'a' * 40}"
    return {"provider": "gh", "spec": spec, "options": {"fake": {"lines": 12, **script}}}


async def _measure_everything(service: Service) -> None:
    times: dict[str, list[float]] = defaultdict(list)
    peak = service.rss()

    async def visit(name: str) -> None:
        async with Client(service) as client:
            await _Visitor(service, name, times, client).do_everything()

    cpu, began = service.cpu_seconds(), time.perf_counter()
    visits = asyncio.gather(*map(visit, PEOPLE), return_exceptions=True)
    while not visits.done():
        peak = max(peak, service.rss())
        await asyncio.wait([visits], timeout=0.05)
    seconds = time.perf_counter() - began
    cpu = service.cpu_seconds() - cpu
    failures = [repr(each) for each in await visits if each is not None]
    for what, each in times.items():
        show(
            f"p95_of_{what.replace(' ', '_')}_with_{COUNT}_people",
            statistics.quantiles(each, n=20)[-1] * 1000,
            "ms",
            goal="< 500",
            digits=0,
            p50_ms=round(statistics.median(each) * 1000),
            asked=len(each),
        )
    show(
        f"{COUNT}_people_do_everything",
        seconds,
        "s",
        done=COUNT - len(failures),
        cpu_ms_each=round(cpu / COUNT * 1000, 1),
        failures=failures[:3],
    )
    show(f"memory_with_{COUNT}_people", peak / 2**20, "MB", goal="< 200", digits=0)


async def _create_many(service: Service, count: int, **script: Any) -> dict[str, str]:
    """Begin builds of 20 people; return the person of each build."""
    people: dict[str, str] = {}

    async def work(name: str, numbers: range) -> None:
        async with Client(service) as client:
            visitor = _Visitor(service, name, defaultdict(list), client)
            for number in numbers:
                body = _repository(f"{name}-{number}", **script)
                made = await visitor.ask("create", "POST", "environments", body)
                people[made["latest"]["id"]] = name

    await asyncio.gather(*(work(name, range(count // 20)) for name in PEOPLE[:20]))
    return people


async def _seconds_of_builds(service: Service, *, watched: bool) -> float:
    """Return how long many waiting builds take, begun all at once."""
    root = _Admin(service)
    await root.drain(True)
    people = await _create_many(service, COUNT)
    watchers = [
        Watcher(service, f"builds/{build}/events", person=person)
        for build, person in people.items()
    ]
    following: asyncio.Future[Any] | None = None
    if watched:
        await asyncio.gather(*(watcher.connect() for watcher in watchers))
        following = asyncio.gather(*(watcher.follow() for watcher in watchers))
    began = time.perf_counter()
    await root.drain(False)
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        await root.wait_for_all_builds()
        seconds = time.perf_counter() - began
        if following is not None:
            await following
    return seconds


class _Admin:
    """An administrator's program."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Any:
        async with Client(self._service) as client:
            sent = request(self._service, method, f"api/v1/admin/{path}", body, person="root")
            answer = await client.ask(sent, expect=0)
            return json.loads(answer) if answer else None

    async def drain(self, on: bool) -> None:
        """Begin no builds, or begin them again."""
        if on:
            await self._ask("PUT", "drain", b"{}")
        else:
            await self._ask("DELETE", "drain")

    async def wait_for_all_builds(self) -> None:
        """Wait until no build waits or runs."""
        while True:
            queue = await self._ask("GET", "queue")
            if not queue["running"] and not queue["waiting"]:
                return
            await asyncio.sleep(0.1)


async def _measure_streams(service: Service) -> None:
    """All people watch one build that hangs, each on several pages."""
    with (
        tempfile.TemporaryDirectory() as folder,
        GitServer.running(Path(folder)) as server,
    ):
        repository = server.make_repo("org/hanging", {"requirements.txt": ""})
        options = {"fake": {"hang_at": "building"}}
        # Who joins a build by a full SHA has its host asked, once for all.
        body = {"url": repository.url, "ref": repository.head, "options": options}
        await _measure_streams_of(service, body)


async def _measure_streams_of(service: Service, body: Mapping[str, Any]) -> None:
    builds: dict[str, str] = {}

    async def join(name: str) -> None:
        async with Client(service) as client:
            visitor = _Visitor(service, name, defaultdict(list), client)
            made = await visitor.ask("create", "POST", "environments", body)
            builds[name] = made["latest"]["id"]

    await asyncio.gather(*map(join, PEOPLE))
    before = service.rss()
    watchers = [
        Watcher(service, f"builds/{build}/events", person=person)
        for person, build in builds.items()
        for _ in range(STREAMS // COUNT)
    ]
    seconds = await _seconds(lambda: asyncio.gather(*(each.connect() for each in watchers)))
    show(
        f"{STREAMS}_streams_opened",
        seconds,
        "s",
        goal="<= 3",
        digits=2,
        kib_each=round((service.rss() - before) / STREAMS / 1024, 1),
    )
    for watcher in watchers:
        watcher.close()


async def _measure_cancels(service: Service) -> None:
    people = await _create_many(service, CANCELS, hang_at="building")
    by_person: dict[str, list[str]] = defaultdict(list)
    for build, person in people.items():
        by_person[person].append(build)

    async def cancel(name: str, builds: list[str]) -> None:
        async with Client(service) as client:
            visitor = _Visitor(service, name, defaultdict(list), client)
            for build in builds:
                await visitor.ask("cancel", "POST", f"builds/{build}/cancel")

    seconds = await _seconds(
        lambda: asyncio.gather(*(cancel(name, builds) for name, builds in by_person.items()))
    )
    show(f"{CANCELS}_builds_cancelled", seconds, "s", goal="<= 5", digits=2)


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        await work()
    return time.perf_counter() - began
