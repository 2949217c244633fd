"""How long is waited between attempts, and when they end."""

from __future__ import annotations

import asyncio

import pytest

from jupyterhub_binder.utils.retry import Backoff


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_waits_double_up_to_the_maximum_and_are_shortened_by_at_most_a_half() -> None:
    backoff = Backoff(1, max_seconds=5)
    for longest in (1, 2, 4, 5, 5):
        wait = backoff.next_wait()
        assert wait is not None
        assert longest / 2 <= wait <= longest


def test_waits_of_several_clients_differ() -> None:
    assert len({Backoff(1).next_wait() for _ in range(10)}) > 1


def test_a_success_makes_the_next_wait_short_and_the_patience_whole() -> None:
    clock = Clock()
    backoff = Backoff(1, patience_seconds=10, clock=clock)
    for _ in range(3):
        assert backoff.next_wait()
    clock.now = 9.0
    backoff.reset()
    wait = backoff.next_wait()
    assert wait is not None
    assert wait <= 1
    clock.now = 17.0
    assert backoff.next_wait() is not None


def test_patience_ends_before_a_wait_that_would_outlast_it() -> None:
    clock = Clock()
    backoff = Backoff(4, patience_seconds=10, clock=clock)
    assert backoff.next_wait() is not None
    clock.now = 3.0
    assert backoff.next_wait() is None


@pytest.mark.parametrize("patience", [0, 0.5])
async def test_without_patience_nothing_is_waited_for(patience: float) -> None:
    async with asyncio.timeout(1):
        assert not await Backoff(60, patience_seconds=patience).wait()
