"""The usage page and the report, of a quarter, a year, and two million sessions."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench.figures import show
from bench.load import Client, load, request
from bench.service import Service, running_service
from jupyterhub_binder.store import Store
from tests.kit.usage import QUARTERS, fill

ROUNDS = 30
TWO_MILLION = {"2025Q4": 500_000, "2026Q1": 500_000, "2026Q2": 500_000, "2026Q3": 500_000}
_PERIODS = {"quarter": ("2026Q3", "< 100"), "year": ("2026", "< 300")}


async def measure() -> None:
    """Print the figures."""
    await _measure("", QUARTERS)
    await _measure("_of_2_million", TWO_MILLION)


async def _measure(which: str, quarters: Mapping[str, int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder / 'binder.sqlite'}"
        began = time.perf_counter()
        store = await Store.open(database)
        await fill(store, quarters)
        await store.close()
        filled = time.perf_counter() - began
        config = {"JupyterHubBinder": {"database_url": database}}
        async with running_service(config, state_dir=folder) as service:
            for period, _ in _PERIODS.values():
                await _check(service, period, quarters)
            for kind, (period, goal) in _PERIODS.items():
                page = request(service, "GET", f"admin/usage?period={period}", person="root")
                took = await load(service, [page], clients=1, requests=ROUNDS)
                show(
                    f"usage_{kind}{which}_ms",
                    took.p50_ms,
                    "ms",
                    goal=goal,
                    p95_ms=round(took.p95_ms, 1),
                    cpu_ms=round(took.cpu_ms, 1),
                    sessions=sum(quarters.values()),
                    filled_seconds=round(filled, 1),
                )
            report = request(service, "GET", "api/v1/usage/report?period=2026Q3", person="root")
            took = await load(service, [report], clients=1, requests=ROUNDS)
            show(
                f"usage_report{which}_s",
                took.p50_ms / 1000,
                "s",
                goal="< 5",
                digits=3,
                cpu_ms=round(took.cpu_ms, 1),
            )


async def _check(service: Service, period: str, quarters: Mapping[str, int]) -> None:
    """Raise if what is measured does not have all sessions."""
    asked = request(service, "GET", f"api/v1/usage?period={period}", person="root")
    async with Client(service) as client:
        found = json.loads(await client.ask(asked))["launches"]
    expected = sum(n for quarter, n in quarters.items() if quarter.startswith(period))
    if found != expected:
        raise RuntimeError(f"counted {found} of {expected}")
