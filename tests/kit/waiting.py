"""Waiting for what others bring about and nobody announces: for a condition, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 0.01


async def until(condition: Callable[[], T], *, seconds: float = 60) -> T:
    """Wait until a condition holds; return its value. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return value


async def until_it_comes(ask: Callable[[], Awaitable[T]], *, seconds: float = 60) -> T:
    """As `until`, for a condition that is asked for."""
    async with asyncio.timeout(seconds):
        while not (value := await ask()):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return value


def wait_until(condition: Callable[[], T], *, seconds: float = 60) -> T:
    """As `until`, where there is no event loop."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come to be within {seconds} seconds")
        time.sleep(_LOOK_AGAIN_SECONDS)
    return value
