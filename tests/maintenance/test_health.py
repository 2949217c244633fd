"""Probes come from anybody, and often: the parts are asked seldom."""

import asyncio
import logging
from typing import Any

import pytest

from jupyterhub_binder.errors import HubError, NotAllowed, StoreUnavailable
from jupyterhub_binder.maintenance.health import Health, without_detail


class Parts:
    """A database and a backend that count how often they are asked."""

    name = "counting"

    def __init__(self) -> None:
        self.makers, self.start_failure = (self,), ""
        self.asked = 0
        self.go_on = asyncio.Event()

    async def list_active_builds(self) -> tuple[()]:
        raise StoreUnavailable("The disk is full.")

    async def check_token(self) -> None:
        raise HubError("The hub is down.")

    async def health(self) -> None:
        self.asked += 1
        await self.go_on.wait()


def health_of(parts: Any) -> Health:
    return Health(store=parts, backend=parts, hub=parts, state_dir="/", min_free_bytes=10**18)


async def test_many_probes_at_once_ask_once():
    parts = Parts()
    health = health_of(parts)
    probes = [asyncio.create_task(health.check()) for _ in range(50)]
    await asyncio.sleep(0)
    parts.go_on.set()
    answers = [dict(a) for a in [*await asyncio.gather(*probes), await health.check()]]
    assert parts.asked == 1
    for answer in answers:
        assert answer.pop("disk").endswith("sets the limit for this warning.")
        assert answer == {
            "database": "The disk is full.",
            "hub": "The hub is down.",
            "token": None,
            "backend": None,
        }


async def test_part_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr("jupyterhub_binder.maintenance.health._PATIENCE_SECONDS", 0.01)
    answer = await health_of(Parts()).check()
    assert answer["backend"] == "The counting backend does not answer."


async def test_a_folder_that_is_gone_is_said():
    parts = Parts()
    parts.go_on.set()
    health = Health(store=parts, backend=parts, hub=parts, state_dir="/gone", min_free_bytes=1)
    assert (await health.check())[
        "disk"
    ] == "The folder /gone can't be read: No such file or directory."


def test_whoever_is_no_admin_is_told_of_no_folder():
    parts = {"database": None, "disk": "/srv is full", "hub": None, "backend": "/srv is gone"}
    told = without_detail(parts)
    assert told.keys() == parts.keys()
    assert [part for part, wrong in told.items() if wrong] == ["disk", "backend"]
    assert "/srv" not in str(told)


class HubThatComesUp(Parts):
    """Is away at first, then refuses the token."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on.set()
        self.away = 1

    async def check_token(self) -> None:
        if self.away:
            self.away -= 1
            raise HubError("The hub is down.")
        raise NotAllowed("Forbidden")


async def test_a_token_that_the_hub_refuses_is_logged_at_the_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyterhub_binder.maintenance.health._FRESH_SECONDS", 0)
    monkeypatch.setattr("jupyterhub_binder.maintenance.health._FIRST_RETRY_SECONDS", 0.01)
    caplog.set_level(logging.INFO, logger="jupyterhub_binder.health")
    health = health_of(HubThatComesUp())
    await health.start()
    async with asyncio.timeout(10):
        await health.first_check
    said = [record.message for record in caplog.records if "Health check" in record.message]
    assert "Health check, hub: works again" in said
    assert any(line.startswith("Health check, token: The hub does not accept") for line in said)
    await health.stop()
