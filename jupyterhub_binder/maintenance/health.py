"""The health of the service's parts."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import BinderError, NotAllowed, StoreUnavailable
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import SingleFlight, TaskSet
from jupyterhub_binder.utils.retry import Backoff

log = logging.getLogger("jupyterhub_binder.health")

_FRESH_SECONDS = 5.0
_PATIENCE_SECONDS = 5.0
_FIRST_RETRY_SECONDS = 1.0

_REFUSED = (
    "The hub does not accept this service's token, so nobody can log in. Restart the hub, then "
    "this service: each reads its token when it starts. If that does not help, compare the "
    "service's api_token in the hub's configuration with JUPYTERHUB_API_TOKEN here."
)

_PUBLIC = {
    "database": "The service can't use its database at the moment.",
    "disk": "The service's disk is almost full.",
    "hub": "The hub does not answer.",
    "token": "The hub does not accept this service's token. The hub must be restarted.",
    "backend": "Nothing can be built at the moment.",
}
_SOME = "Some environments can't be built at the moment."
"""What users are told of one of several backends."""


def without_detail(parts: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Hide folders, hosts and settings from users."""
    return {part: _PUBLIC.get(part, _SOME) if wrong else None for part, wrong in parts.items()}


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the service's state."""

    total_bytes: int
    free_bytes: int
    min_free_bytes: int

    @property
    def low(self) -> bool:
        """Whether less is free than the limit."""
        return self.free_bytes < self.min_free_bytes


class Hub(Protocol):
    """The part of `HubClient` needed here."""

    async def check_token(self) -> None:
        """Raise NotAllowed if the hub refuses the service's token, HubError if it fails."""
        ...


class Health:
    """The service's health, cached because anybody may ask. The log says what changes."""

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        hub: Hub,
        state_dir: str,
        min_free_bytes: int,
    ) -> None:
        self._store = store
        self._backend = backend
        self._hub = hub
        self._state_dir = state_dir
        self._min_free_bytes = min_free_bytes
        self._asking: SingleFlight[str, Mapping[str, str | None]] = SingleFlight()
        self._asked = float("-inf")
        self._answer: Mapping[str, str | None] = {}
        self._tasks = TaskSet(log)
        self._stopped = False

    async def start(self) -> None:
        """Check once the hub answers, so that the log says at the start what is wrong."""
        self.first_check = self._tasks.spawn(self._check_with_hub(), name="first health check")

    async def stop(self) -> None:
        """End the first check. One under way fails with what it asks; that is no news."""
        self._stopped = True
        await self._tasks.close()

    async def _check_with_hub(self) -> None:
        backoff = Backoff(_FIRST_RETRY_SECONDS, max_seconds=30)
        while (await self.check())["hub"] is not None:
            await backoff.wait()

    async def check(self) -> Mapping[str, str | None]:
        """Return each part's problem, or None."""
        if time.monotonic() - self._asked > _FRESH_SECONDS:
            return await self._asking.do("all", self._ask)
        return self._answer

    async def _ask(self) -> Mapping[str, str | None]:
        database, hub, backend = await asyncio.gather(
            self._ask_database(), self._ask_hub(), self._ask_backends()
        )
        if self._stopped:
            return self._answer
        before = self._answer
        self._answer = {
            "database": database,
            "disk": self._look_at_disk(),
            **hub,
            **backend,
        }
        self._asked = time.monotonic()
        _log_changes(before, self._answer)
        return self._answer

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._store.list_active_builds()
        except TimeoutError:
            return "The database does not answer."
        except StoreUnavailable as error:
            return error.message
        return None

    def disk(self) -> Disk:
        """Return the space now. Raises OSError."""
        usage = shutil.disk_usage(self._state_dir)
        return Disk(usage.total, usage.free, self._min_free_bytes)

    def _look_at_disk(self) -> str | None:
        try:
            disk = self.disk()
        except OSError as error:
            return f"The folder {self._state_dir} can't be read: {error.strerror}."
        if not disk.low:
            return None
        return (
            f"Only {disk.free_bytes // 10**6} MB are free in {self._state_dir}. Free some space, for "
            "example with Cleanup.budget_bytes. JupyterHubBinder.min_free_bytes sets the limit "
            "for this warning."
        )

    async def _ask_hub(self) -> Mapping[str, str | None]:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._hub.check_token()
        except TimeoutError:
            return {"hub": "The hub does not answer.", "token": None}
        except NotAllowed:
            return {"hub": None, "token": _REFUSED}
        except BinderError as error:
            return {"hub": error.message, "token": None}
        return {"hub": None, "token": None}

    async def _ask_backends(self) -> Mapping[str, str | None]:
        """Return ``backend``, and each of several backends; the first is wrong if all are."""
        makers = self._backend.makers
        answers = await asyncio.gather(*(_ask_backend(maker) for maker in makers))
        if len(makers) == 1:
            return {"backend": answers[0]}
        each = {part_of(maker): answer for maker, answer in zip(makers, answers, strict=True)}
        wrong = [answer for answer in answers if answer]
        return {"backend": " ".join(wrong) if len(wrong) == len(makers) else None, **each}


def part_of(maker: BuildBackend) -> str:
    """Return the name of the part that is one of several backends."""
    return f"backend {maker.name}"


async def _ask_backend(maker: BuildBackend) -> str | None:
    if maker.start_failure:
        return f"It could not start, and is tried again: {maker.start_failure}"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await maker.health()
    except TimeoutError:
        return f"The {maker.name} backend does not answer."


def _log_changes(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> None:
    for part, wrong in now.items():
        if wrong and wrong != before.get(part):
            log.error("Health check, %s: %s", part, wrong)
        elif before.get(part) and not wrong:
            log.info("Health check, %s: works again", part)
