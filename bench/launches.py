"""A launch through the service, over the hub's bare spawn of the same command; and its records.

Two real hubs with one person each, in turns: ours, whose spawner asks the service which
environment to start; and one with the hub's own spawner, told that environment's command.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import show
from jupyterhub_binder.demo.person import Person
from jupyterhub_binder.model import ContentMode, Environment, Launch, LaunchState, Spec
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.tables import launch_row, launches
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.sse import EventParser
from tests.kit.live import LiveHub, start_hub, stop_hub

ROUNDS = 8
QUARTER = 417_048
"""Launches of one quarter on one node, as a persistent hub reports them."""

_ENVIRONMENT = new_id()

_BARE = """
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [{command!r}]
c.Spawner.default_url = "/lab"
"""


async def measure() -> None:
    """Print the figures."""
    await _measure_records()
    await _measure_spawns()


# --- Starting ------------------------------------------------------------------------------------


async def _measure_spawns() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        ours = await asyncio.to_thread(start_hub, Path(one), backend="venv")
        try:
            async with _client(ours) as client:
                environment = await client.build(ours.make_repository("bench"))
                command = _command(Path(one))
                bare = await asyncio.to_thread(
                    start_hub, Path(other), more_config=_BARE.format(command=command)
                )
                try:
                    async with _client(bare) as plain:
                        await _compare(client, environment, plain)
                finally:
                    await asyncio.to_thread(stop_hub, bare)
        finally:
            await asyncio.to_thread(stop_hub, ours)


async def _compare(client: _Client, environment: str, plain: _Client) -> None:
    pairs = []
    for _ in range(ROUNDS + 1):
        launched = await client.seconds_to_launch(environment)
        pairs.append((launched, await plain.seconds_to_spawn()))
    pairs = pairs[1:]  # the first start in a home makes it
    show(
        "launch_over_bare_spawn",
        statistics.median(ours for ours, _ in pairs) / statistics.median(bare for _, bare in pairs),
        "times",
        goal="<= 1.05",
        digits=3,
        seconds=[round(ours, 2) for ours, _ in pairs],
        bare_seconds=[round(bare, 2) for _, bare in pairs],
    )


def _command(folder: Path) -> str:
    """Return the program that a launch of the one environment starts."""
    (program,) = folder.glob("*environments/*/bin/jupyterhub-singleuser")
    return str(program)


class _Client:
    """One person's program, with a token."""

    def __init__(self, hub: LiveHub, session: aiohttp.ClientSession, name: str) -> None:
        self._hub = hub
        self._session = session
        self._name = name

    async def build(self, url: str) -> str:
        """Build an environment; return its id."""
        made = await self._ask("POST", f"{self._hub.binder}api/v1/environments", {"url": url})
        build = f"{self._hub.binder}api/v1/builds/{made['latest']['id']}"
        while (await self._ask("GET", build))["state"] in ("pending", "running"):
            await asyncio.sleep(0.2)
        return made["id"]

    async def seconds_to_launch(self, environment: str) -> float:
        """Launch, wait until the server is ready, stop it; return the seconds until it was."""
        began = time.monotonic()
        url = f"{self._hub.binder}api/v1/environments/{environment}/launches"
        launch = await self._ask("POST", url, {})
        events = f"{self._hub.binder}api/v1/launches/{launch['id']}/events"
        async for event in self._events(events):
            if event.get("state") in ("ready", "failed"):
                break
        else:
            raise RuntimeError("the launch did not end")
        seconds = time.monotonic() - began
        if event["state"] != "ready":
            raise RuntimeError(f"the launch failed: {event}")
        await self._stop()
        return seconds

    async def seconds_to_spawn(self) -> float:
        """Spawn by the hub's API alone, wait until it is ready, stop it."""
        began = time.monotonic()
        server = f"{self._hub.url}hub/api/users/{self._name}/server"
        await self._ask("POST", server, {})
        async for event in self._events(f"{server}/progress"):
            if event.get("ready") or event.get("failed"):
                break
        else:
            raise RuntimeError("the spawn did not end")
        seconds = time.monotonic() - began
        if not event.get("ready"):
            raise RuntimeError(f"the spawn failed: {event}")
        await self._stop()
        return seconds

    async def _stop(self) -> None:
        user = f"{self._hub.url}hub/api/users/{self._name}"
        await self._ask("DELETE", f"{user}/server")
        while (await self._ask("GET", user)).get("servers"):
            await asyncio.sleep(0.1)

    async def _ask(self, method: str, url: str, body: Any = None) -> Any:
        async with self._session.request(method, url, json=body) as response:
            text = await response.text()
            if response.status >= 400:
                raise RuntimeError(f"{method} {url}: {response.status} {text[:500]}")
            return json.loads(text) if text else {}

    async def _events(self, url: str) -> AsyncIterator[dict[str, Any]]:
        parser = EventParser()
        async with self._session.get(url) as response:
            async for data in response.content.iter_any():
                for event in parser.feed(data):
                    yield event.json()


@asynccontextmanager
async def _client(hub: LiveHub) -> AsyncIterator[_Client]:
    name = hub.new_person()
    async with Person(hub.url, name, "any") as person:
        token = await person.make_token("bench")
    headers = {"Authorization": f"token {token}"}
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield _Client(hub, session, name)


# --- Records -------------------------------------------------------------------------------------


async def _measure_records() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(f"sqlite:///{folder}/bench.sqlite")
        await store.insert_environment(_environment(), directories=["bench"], limit=1)
        await _measure_taking_in(store)
        await _measure_counting(store)
        await store.close()


async def _measure_taking_in(store: Store, count: int = 2000) -> None:
    now = datetime.now(UTC)
    cpu = time.process_time()
    for _ in range(count):
        await store.insert_launch(_launch(now))
    per_launch = (time.process_time() - cpu) / count * 1000
    show("taking_in_a_launch_cpu_ms", per_launch, "ms", goal="< 1", digits=3)


async def _measure_counting(store: Store) -> None:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    step = timedelta(days=92) / QUARTER
    rows = [launch_row(_launch(start + step * n)) for n in range(QUARTER)]
    await store._database.run(lambda connection: connection.execute(launches.insert(), rows))
    times, weeks = [], ()
    for _ in range(9):
        began = time.perf_counter()
        weeks = await store.count_launches_by_week(since=start, until=start + timedelta(days=92))
        times.append((time.perf_counter() - began) * 1000)
    if sum(each.launches for each in weeks) != QUARTER:
        raise RuntimeError(f"counted {sum(each.launches for each in weeks)} of {QUARTER}")
    show(
        "counting_a_quarter_by_week_ms",
        statistics.median(times),
        "ms",
        goal="< 100",
        weeks=len(weeks),
        launches=QUARTER,
    )


def _environment() -> Environment:
    now = datetime.now(UTC)
    return Environment(
        id=_ENVIRONMENT,
        owner="ada",
        name="bench",
        spec=Spec("gh", "org/bench", "main"),
        label="github.com/org/bench",
        repo_url="https://github.com/org/bench",
        path="",
        content=ContentMode.COPY,
        directory="bench",
        options={},
        created=now,
        updated=now,
    )


def _launch(created: datetime) -> Launch:
    return Launch(
        id=new_id(),
        environment_id=_ENVIRONMENT,
        user="ada",
        server_name="",
        path="",
        state=LaunchState.READY,
        created=created,
    )
