"""The usage page and the report, of a quarter, a year, and two million sessions."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping

from bench.figures import show
from jupyterhub_binder.admin.usage_report import write_report
from jupyterhub_binder.admin.usage_reports import UsageReports
from jupyterhub_binder.model import User
from jupyterhub_binder.model.usage import read_period
from jupyterhub_binder.store import Store
from tests.kit.usage import QUARTERS, fill

ROUNDS = 9
TWO_MILLION = {"2025Q4": 500_000, "2026Q1": 500_000, "2026Q2": 500_000, "2026Q3": 500_000}
_ADMIN = User("root", admin=True)


async def measure() -> None:
    """Print the figures."""
    await _measure("", QUARTERS)
    await _measure("_of_2_million", TWO_MILLION)


async def _measure(which: str, quarters: Mapping[str, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = await Store.open(f"sqlite:///{folder}/bench.sqlite")
        began = time.perf_counter()
        await fill(store, quarters)
        filled = time.perf_counter() - began
        reports = UsageReports(store=store)
        sessions = sum(quarters.values())
        for name, goal in (("2026Q3", "< 100"), ("2026", "< 300")):
            times = await _times(reports, name, quarters)
            show(
                f"usage_{'quarter' if 'Q' in name else 'year'}{which}_ms",
                statistics.median(times),
                "ms",
                goal=goal,
                sessions=sessions,
                filled_seconds=round(filled, 1),
            )
        began = time.perf_counter()
        summary = await reports.fetch(read_period("2026Q3"), _ADMIN)
        files = write_report(summary, {})
        show(
            f"usage_report{which}_s",
            time.perf_counter() - began,
            "s",
            goal="< 5",
            digits=3,
            files=len(files),
        )
        await store.close()


async def _times(reports: UsageReports, name: str, quarters: Mapping[str, int]) -> list[float]:
    """Return milliseconds to read and summarise a period; check its total."""
    found: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        summary = await reports.fetch(read_period(name), _ADMIN)
        found.append((time.perf_counter() - began) * 1000)
        expected = sum(n for quarter, n in quarters.items() if quarter.startswith(name))
        if summary.launches != expected:
            raise RuntimeError(f"counted {summary.launches} of {expected}")
    return found
