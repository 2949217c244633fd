"""Probes come from anybody, and often: the parts are asked seldom."""

import asyncio
from typing import Any

from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.health import Health


class Parts:
    """A database and a backend that count how often they are asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    async def list_active_builds(self) -> tuple[()]:
        raise StoreUnavailable("The disk is full.")

    async def health(self) -> None:
        self.asked += 1
        await self.go_on.wait()


def health_of(parts: Any) -> Health:
    return Health(store=parts, backend=parts)


async def test_many_probes_at_once_ask_once():
    parts = Parts()
    health = health_of(parts)
    probes = [asyncio.create_task(health.check()) for _ in range(50)]
    await asyncio.sleep(0)
    parts.go_on.set()
    answers = [*await asyncio.gather(*probes), await health.check()]
    assert parts.asked == 1
    assert all(a == {"database": "The disk is full.", "backend": None} for a in answers)


async def test_part_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr("jupyterhub_binder.health._PATIENCE_SECONDS", 0.01)
    answer = await health_of(Parts()).check()
    assert answer["backend"] == "The counting backend does not answer."
