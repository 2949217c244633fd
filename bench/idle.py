"""What the service takes when nobody uses it: its memory, and the time until it answers."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from pathlib import Path

from bench.figures import show
from bench.load import Client, load, request
from bench.service import PEOPLE, Service, running_service

ROUNDS = 5
QUEUED = 1_000
LEFT = 20_000


async def measure() -> None:
    """Print the figures."""
    ready, cpu, rss = [], [], []
    for _ in range(ROUNDS):
        async with running_service() as service:
            ready.append(service.ready_seconds)
            cpu.append(service.cpu_seconds())
            rss.append(service.rss() / 2**20)
    show(
        "start_to_ready",
        statistics.median(ready),
        "s",
        goal="< 2",
        digits=2,
        cpu_seconds=round(statistics.median(cpu), 2),
    )
    show("idle_memory", statistics.median(rss), "MB", goal="< 100", peer="141 (BinderHub)")
    await _measure_after_a_kill()


async def _measure_after_a_kill() -> None:
    """Start with waiting builds, and with a checkout that a killed service left."""
    ready = []
    with tempfile.TemporaryDirectory() as folder:
        async with running_service(state_dir=Path(folder)) as service:
            await _queue_builds(service)
        for number in range(ROUNDS):
            await asyncio.to_thread(_leave_files, Path(folder, "work", f"left{number}"))
            async with running_service(state_dir=Path(folder)) as service:
                ready.append(service.ready_seconds)
    show(
        "start_to_ready_after_a_kill",
        statistics.median(ready),
        "s",
        goal="< 2",
        digits=2,
        queued_builds=QUEUED,
        files_to_remove=LEFT,
    )


async def _queue_builds(service: Service) -> None:
    async with Client(service) as client:
        await client.ask(request(service, "PUT", "api/v1/admin/drain", b"{}", person="root"))
    create = []
    for number in range(QUEUED):
        body = {"provider": "gh", "spec": f"org/r{number}/{'a' * 40}"}
        person = PEOPLE[number % len(PEOPLE)]
        data = json.dumps(body).encode()
        create.append(request(service, "POST", "api/v1/environments", data, person=person))
    await load(service, create, clients=10, requests=QUEUED, expect=201)


def _leave_files(folder: Path) -> None:
    for number in range(LEFT):
        file = folder / str(number % 100) / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
