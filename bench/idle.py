"""What the service takes when nobody uses it: its memory, and the time until it answers."""

from __future__ import annotations

import statistics

from bench.figures import show
from bench.service import running_service

ROUNDS = 5


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
