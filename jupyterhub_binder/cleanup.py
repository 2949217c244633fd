"""Makes room from time to time: removes images that nobody misses, down to a budget.

What goes is decided by a pure function, `choose`. Images that no environment needs go first,
then those that an environment needs but nobody has used for long, always the longest unused
first. What a running server uses stays, and what was used lately. A launch or a build brings
an image back that went. What is old in the database goes with `retention`, at the same times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from traitlets import Float, Int
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.aio import TaskSet
from jupyterhub_binder.audit import Audit
from jupyterhub_binder.backends.base import BuildBackend, KeptImage
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import BinderError, Conflict
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.oversight import SERVICE, Action
from jupyterhub_binder.retention import Retention
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.images import ImageUse
from jupyterhub_binder.units import format_bytes

InUse = Callable[[], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image, as far as it matters whether it may go."""

    image: str
    size_bytes: int
    last_used: datetime
    needed: bool
    """Whether it is the current, the previous or the newest build of an environment."""
    in_use: bool
    """Whether a server runs in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one clean-up did."""

    removed: tuple[str, ...]
    freed_bytes: int
    kept_bytes: int
    over_bytes: int
    """By how much what had to stay goes over the budget; 0 if it does not."""


def choose(
    candidates: Iterable[Candidate], *, now: datetime, budget_bytes: int, unused_days: float
) -> tuple[Candidate, ...]:
    """Return the images to remove, in this order, so that the rest fits into a budget.

    Only images that no server uses and that were unused for `unused_days` are taken, those
    that no environment needs before the others, the longest unused first. Pure.
    """
    everything = list(candidates)
    over = sum(one.size_bytes for one in everything) - budget_bytes
    oldest_kept = now - timedelta(days=unused_days)
    removable = [one for one in everything if not one.in_use and one.last_used <= oldest_kept]
    chosen = []
    for one in sorted(removable, key=lambda one: (one.needed, one.last_used, one.image)):
        if over <= 0:
            break
        chosen.append(one)
        over -= one.size_bytes
    return tuple(chosen)


def join(
    images: Iterable[KeptImage], uses: Iterable[ImageUse], in_use: Collection[str]
) -> tuple[Candidate, ...]:
    """Put together what a backend has, what the store knows of it, and what runs. Pure."""
    known = {use.image: use for use in uses}
    return tuple(_candidate(image, known.get(image.name), in_use) for image in images)


def _candidate(image: KeptImage, use: ImageUse | None, in_use: Collection[str]) -> Candidate:
    return Candidate(
        image=image.name,
        size_bytes=image.size_bytes or (use.size_bytes if use else 0),
        last_used=max(image.created, use.last_used) if use else image.created,
        needed=use.needed if use else False,
        in_use=image.in_use or image.name in in_use,
    )


async def fetch_images_in_use(hub: HubClient, store: Store) -> frozenset[str]:
    """Return the images that servers may run in, on this machine or any other.

    The hub says which environments its servers were started from, not with which build: all
    images that such an environment ever had count. Raises HubError or NotAllowed where the hub
    does not say, and Conflict where a server's environment has been deleted for good: then
    nobody knows which image it needs.
    """
    environments = await hub.fetch_environments_in_use(hub.api_token)
    images = await store.list_images_of(environments)
    if gone := sorted(environments - images.keys()):
        raise Conflict(
            f"{len(gone)} running server(s) use an environment that is deleted ({gone[0]}, for "
            "example), and which image that was is not known. Stop them to make room."
        )
    return frozenset().union(*images.values())


class Cleanup(LoggingConfigurable):
    """Keeps a backend's images within a budget."""

    budget_bytes = Int(
        0,
        min=0,
        help="""How many bytes all images together may take. Images count in full, also where they
        share layers, so that the disk holds less. Default: 0, nothing is ever removed. For
        example `200 * 2**30`.""",
    ).tag(config=True)

    unused_days = Float(
        30,
        min=0,
        help="""For how many days nobody may have built or started an image before it can be
        removed, however little room is left. Default: 30.""",
    ).tag(config=True)

    interval_seconds = Float(
        3600, min=1, help="How often it is looked at, in seconds. Default: 3600."
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        in_use: InUse | None = None,
        retention: Retention | None = None,
        audit: Audit | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._retention = retention
        self._audit = audit
        self._store = store
        self._backend = backend
        self._in_use = in_use
        self._running = asyncio.Lock()
        self._tasks = TaskSet(self.log)

    async def start(self) -> None:
        """Clean up from now on, every `interval_seconds`: images only if there is a budget."""
        if self.budget_bytes or self._retention:
            self._tasks.spawn(self._run_always(), name="cleanup")

    async def stop(self) -> None:
        """Stop; what is being removed may go on in the engine. Stopping twice is harmless."""
        await self._tasks.close()

    async def _run_always(self) -> None:
        while True:
            if self.budget_bytes:
                await self._try(self.run)
            if self._retention:
                await self._try(self._retention.run)
            await asyncio.sleep(self.interval_seconds)

    async def _try(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except BinderError as error:
            self.log.warning("Clean-up did not work: %s", error.message)

    async def run(self) -> Report:
        """Clean up once.

        Raises BinderError when the backend, the store or who knows what runs does not answer;
        then nothing is removed.
        """
        async with self._running:
            images = await self._backend.list_images()
            uses = await self._store.list_image_uses(self._backend.name)
            # Asked last, since servers start at any time.
            in_use = await self._in_use() if self._in_use else ()
            candidates = join(images, uses, in_use)
            chosen = choose(
                candidates,
                now=utc_now(),
                budget_bytes=self.budget_bytes,
                unused_days=self.unused_days,
            )
            removed = [one for one in chosen if await self._remove(one)]
        report = self._report(candidates, removed)
        if removed and self._audit:
            await self._audit.record(
                SERVICE,
                Action.CLEANUP_IMAGES,
                removed=len(removed),
                freed_bytes=report.freed_bytes,
            )
        return report

    async def _remove(self, candidate: Candidate) -> bool:
        """Remove an image, unless somebody asked for it meanwhile; say whether it went."""
        use = await self._store.fetch_image_use(candidate.image)
        if use is not None and use.last_used > candidate.last_used:
            return False
        if await self._store.is_wanted(candidate.image):
            return False
        try:
            await self._backend.delete_image(candidate.image)
        except BinderError as error:
            self.log.warning("Image %s stays: %s", candidate.image, error.message)
            return False
        self.log.info(
            "Removed image %s, unused since %s", candidate.image, candidate.last_used.date()
        )
        return True

    def _report(self, candidates: Iterable[Candidate], removed: Collection[Candidate]) -> Report:
        freed = sum(one.size_bytes for one in removed)
        kept = sum(one.size_bytes for one in candidates) - freed
        over = max(kept - self.budget_bytes, 0)
        if over and self.budget_bytes:
            self.log.warning(
                "Images take %s more than Cleanup.budget_bytes, and all are used or recent",
                format_bytes(over),
            )
        return Report(tuple(one.image for one in removed), freed, kept, over)
