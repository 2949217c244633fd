"""What the hub's home page says of servers that run in environments.

The service knows names and builds. Without its answer, what the start recorded is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from jupyterhub_binder.spawner.form import BUILD_OPTION, NAME_OPTION

_SECONDS = 3.0
"""The home page does not wait longer for the service."""
_MOST = 30


@dataclass(frozen=True, slots=True)
class RunningEnvironment:
    """A running server's environment."""

    server: str
    """Empty for the default server."""
    name: str
    page: str
    build: int | None
    """The number of the build that it runs in."""
    newer: int | None
    """The number of the build that a restart would use, if it is another one."""
    update: str
    """What the newest build does or became, if no server can start from it."""


_UPDATES = {
    "queued": "A newer build is waiting",
    "building": "A newer build is running",
    "failed": "A newer build failed",
}


def describe(
    server: str, options: Mapping[str, Any], found: Mapping[str, Any], *, page: str
) -> RunningEnvironment:
    """Compare what a server started from with the environment now. Pure."""
    build = _number(options.get(BUILD_OPTION))
    current = found.get("current")
    number = _number(current.get("number")) if isinstance(current, Mapping) else None
    newer = number if build and number and number != build else None
    return RunningEnvironment(
        server=server,
        name=str(found.get("name") or options.get(NAME_OPTION) or "an environment"),
        page=page,
        build=build,
        newer=newer,
        update="" if newer else _UPDATES.get(str(found.get("state")), ""),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def binder_running(user: Any) -> Callable[[], Awaitable[list[RunningEnvironment]]]:
    """Return a function for the hub's templates, of which only the home page calls it."""
    return partial(fetch_running, user)


async def fetch_running(user: Any) -> list[RunningEnvironment]:
    """Return what of a person's servers runs in environments."""
    spawners = [
        spawner
        for spawner in user.spawners.values()
        if spawner.active and hasattr(spawner, "describe_environment")
    ]
    tasks = [asyncio.ensure_future(each.describe_environment()) for each in spawners[:_MOST]]
    if not tasks:
        return []
    done, late = await asyncio.wait(tasks, timeout=_SECONDS)
    for task in late:
        task.cancel()
    found = [task.result() for task in tasks if task in done and task.exception() is None]
    return [each for each in found if each is not None]
