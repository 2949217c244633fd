"""Removes unused images to meet a budget.

A launch or build brings an image back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from traitlets import Dict, Float, Int, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.backends.base import BuildBackend, KeptImage
from jupyterhub_binder.errors import BinderError, ConfigurationError, Conflict
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.maintenance.retention import Retention
from jupyterhub_binder.model import User
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.images import ImageUse
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.units import format_bytes

InUse = Callable[[], Awaitable[Collection[str]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be removed."""

    image: str
    size_bytes: int
    last_used: datetime
    needed: bool
    """By an environment's current, previous or newest build."""
    in_use: bool
    """By a server."""
    backend: str = ""
    """The name of the backend that made it."""


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a clean-up did."""

    removed: tuple[str, ...]
    freed_bytes: int
    kept_bytes: int
    over_bytes: int
    """Bytes above the budget that had to stay."""

    def __add__(self, other: CleanupReport) -> CleanupReport:
        """Return what two clean-ups did together."""
        return CleanupReport(
            self.removed + other.removed,
            self.freed_bytes + other.freed_bytes,
            self.kept_bytes + other.kept_bytes,
            self.over_bytes + other.over_bytes,
        )


def choose(
    candidates: Iterable[Candidate], *, now: datetime, budget_bytes: int, unused_days: float
) -> tuple[Candidate, ...]:
    """Return the images to remove, in order.

    Only images without a server, unused for `unused_days`; those that no environment needs first,
    then the longest unused.
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


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What images take, and what a clean-up could free."""

    images: int
    image_bytes: int
    cache_bytes: int
    removable: int
    """Images that no server uses and that are unused for long enough."""
    removable_bytes: int
    checked: datetime


def measure(
    candidates: Iterable[Candidate], *, cache_bytes: int, now: datetime, unused_days: float
) -> DiskUse:
    """Add up the images, and those that a clean-up without a budget would remove."""
    everything = list(candidates)
    removable = choose(everything, now=now, budget_bytes=0, unused_days=unused_days)
    return DiskUse(
        images=len(everything),
        image_bytes=sum(one.size_bytes for one in everything),
        cache_bytes=cache_bytes,
        removable=len(removable),
        removable_bytes=sum(one.size_bytes for one in removable),
        checked=now,
    )


def join(
    images: Iterable[KeptImage], uses: Iterable[ImageUse], in_use: Collection[str]
) -> tuple[Candidate, ...]:
    """Combine the backend's images with their use."""
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
    """Return the images that any server of the hub may use.

    The hub knows a server's environment but not its build, so all its images count. Raises
    HubError, NotAllowed, and Conflict for a purged environment, whose image is unknown.
    """
    environments = await hub.fetch_environments_in_use(hub.api_token)
    images = await store.list_images_of(environments)
    if gone := sorted(environments - images.keys()):
        raise Conflict(
            "%(count)s running server(s) use a deleted environment (for example %(example)s) "
            "whose image is unknown. Stop them so that images can be removed.",
            count=len(gone),
            example=gone[0],
        )
    return frozenset().union(*images.values())


@dataclass(frozen=True, slots=True)
class _Share:
    """Backends that share a budget."""

    makers: Sequence[BuildBackend]
    budget_bytes: int

    def that_started(self) -> _Share:
        """Leave out the images of backends that could not start."""
        return replace(self, makers=[one for one in self.makers if not one.start_failure])

    def maker(self, candidate: Candidate) -> BuildBackend:
        return next(one for one in self.makers if one.name == candidate.backend)


_CacheSize = tuple[BuildBackend, int]


def _sum(sizes: Iterable[_CacheSize]) -> int:
    return sum(size for _, size in sizes)


class Cleanup(LoggingConfigurable):
    """Keeps the backends' images within budgets."""

    budget_bytes = Int(
        0,
        min=0,
        help="""Disk budget for all images and for the `venv` backend's cache of wheels, in bytes.
        If they exceed it, wheels that no build of the last day used are removed, then unused
        images. A container image counts in full, even if it shares layers with others, so the real
        use is lower; a file that several environments share counts once. Default: 0, nothing is
        ever removed. Example: `200 * 2**30`.""",
    ).tag(config=True)

    budgets = Dict(
        key_trait=Unicode(),
        value_trait=Int(min=0),
        help="""Disk budgets of single backends, in bytes by name, where several make environments
        on different disks: `{"venv": 50 * 2**30, "repo2docker": 200 * 2**30}`. `budget_bytes` then
        holds for the others together. 0: nothing of this backend is removed. Default: empty,
        `budget_bytes` holds for all.""",
    ).tag(config=True)

    unused_days = Float(
        30,
        min=0,
        help="""Minimum number of days since an image was last built or started before it can be
        removed, even if the budget is exceeded. Default: 30.""",
    ).tag(config=True)

    interval_seconds = Float(
        3600, min=1, help="Interval between clean-ups, in seconds. Default: 3600."
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
        self._freeing: asyncio.Task[None] | None = None
        self.disk_use: DiskUse | None = None
        """As of the last clean-up or `look`."""
        self.problem = ""
        """Why the last clean-up or `look` failed."""

    async def start(self) -> None:
        """Clean up regularly; without a budget, only measure images. Raises ConfigurationError."""
        known = [maker.name for maker in self._backend.makers]
        if unknown := sorted(self.budgets.keys() - known):
            raise ConfigurationError(
                f"Cleanup.budgets names {', '.join(unknown)}; this hub's backends are "
                f"{', '.join(known)}."
            )
        if self.has_budget or self._retention:
            self._tasks.spawn(self._run_always(), name="cleanup")

    async def stop(self) -> None:
        """Stop; the engine may finish a removal. Idempotent."""
        await self._tasks.close()

    async def _run_always(self) -> None:
        while True:
            if self.has_budget:
                await self._try(self.run)
            else:
                await self._try(self.look, logging.INFO)  # nothing is to be removed
            if self._retention:
                await self._try(self._retention.run)
            await asyncio.sleep(self.interval_seconds)

    async def _try(
        self, work: Callable[[], Awaitable[object]], level: int = logging.WARNING
    ) -> None:
        try:
            await work()
        except BinderError as error:
            self.problem = error.message
            self.log.log(level, "Clean-up failed: %s", error.message)
        except Exception:  # the next round tries again
            self.problem = Message("The clean-up failed because of a bug. The log has the details.")
            self.log.exception("Clean-up failed")

    async def look(self) -> None:
        """Measure what images take, and remove nothing. Raises BinderError."""
        async with self._running:
            await self._clean(SERVICE, lambda _: None)

    async def run(self) -> CleanupReport:
        """Clean up once. Raises BinderError, without removing images of the backends that fail."""
        async with self._running:
            return await self._clean(SERVICE, lambda share: share.budget_bytes or None)

    @property
    def freeing(self) -> bool:
        """Whether `free` is at work."""
        return self._freeing is not None and not self._freeing.done()

    def free(self, user: User) -> None:
        """Begin to remove every image that may go, whatever the budget."""
        if not self.freeing:
            work = self._try(lambda: self._free(user))
            self._freeing = self._tasks.spawn(work, name="free disk space")

    async def _free(self, user: User) -> None:
        async with self._running:
            await self._clean(user.name, lambda _: 0)

    @property
    def has_budget(self) -> bool:
        """Whether anything is removed without being asked for."""
        return any(share.budget_bytes for share in self._shares())

    def _shares(self) -> list[_Share]:
        """Return the budgets, each with the backends that it holds for."""
        makers = self._backend.makers
        single = [
            _Share([one], self.budgets[one.name]) for one in makers if one.name in self.budgets
        ]
        others = [one for one in makers if one.name not in self.budgets]
        return [*single, _Share(others, self.budget_bytes)] if others else single

    async def _clean(self, actor: str, budget_of: Callable[[_Share], int | None]) -> CleanupReport:
        """Bring each share within its budget, None for no limit; measure what is left."""
        kept: list[Candidate] = []
        report, cache_bytes, failure = CleanupReport((), 0, 0, 0), 0, None
        for share in self._shares():
            share = share.that_started()
            try:
                left, cache, part = await self._clean_share(share, budget_of(share))
            except BinderError as error:
                failure = failure or error
                continue
            kept += left
            cache_bytes += cache
            report += part
        if report.removed and self._audit:
            await self._audit.record(
                actor,
                Action.CLEANUP_IMAGES,
                removed=len(report.removed),
                freed_bytes=report.freed_bytes,
            )
        if failure is not None:
            raise failure
        self._note(kept, cache_bytes)
        return report

    async def _clean_share(
        self, share: _Share, budget_bytes: int | None
    ) -> tuple[list[Candidate], int, CleanupReport]:
        """Return the images that are left, the size of the caches, and what was done."""
        candidates = await self._list_candidates(share)
        image_bytes = sum(one.size_bytes for one in candidates)
        if budget_bytes is None:
            cache = _sum([(one, await one.fetch_cache_bytes()) for one in share.makers])
            return candidates, cache, CleanupReport((), 0, image_bytes + cache, 0)
        # Whoever frees images keeps the caches, which only make builds faster.
        sizes = [(maker, await maker.fetch_cache_bytes()) for maker in share.makers]
        cache = await self._trim(sizes, image_bytes - budget_bytes) if budget_bytes else _sum(sizes)
        chosen = choose(
            candidates,
            now=utc_now(),
            budget_bytes=budget_bytes - cache if budget_bytes else 0,
            unused_days=self.unused_days,
        )
        removed = [one for one in chosen if await self._remove(share.maker(one), one)]
        report = self._report(share, candidates, removed, cache)
        return [one for one in candidates if one not in removed], cache, report

    async def _list_candidates(self, share: _Share) -> list[Candidate]:
        found = [(maker, await maker.list_images()) for maker in share.makers]
        uses = [use for one in share.makers for use in await self._store.list_image_uses(one.name)]
        # Last, since servers may start at any time.
        in_use = await self._in_use() if self._in_use else ()
        return [
            replace(candidate, backend=maker.name)
            for maker, images in found
            for candidate in join(images, uses, in_use)
        ]

    def _note(self, candidates: Iterable[Candidate], cache_bytes: int) -> None:
        self.problem = ""
        self.disk_use = measure(
            candidates, cache_bytes=cache_bytes, now=utc_now(), unused_days=self.unused_days
        )

    async def _trim(self, sizes: Sequence[_CacheSize], over_bytes: int) -> int:
        """Trim caches if they and the images exceed the budget; return the caches' size.

        `over_bytes` is what the images alone exceed it by; negative if they don't.
        """
        left = _sum(sizes)
        for maker, size in sizes:
            over = over_bytes + left
            freed = await maker.trim_cache(over) if size and over > 0 else 0
            if freed:
                self.log.info("Removed %s from the cache of wheels", format_bytes(freed))
            left -= min(freed, size)
        return left

    async def _remove(self, maker: BuildBackend, candidate: Candidate) -> bool:
        """Remove an image unless it is wanted again; say whether it went."""
        use = await self._store.fetch_image_use(candidate.image)
        if use is not None and use.last_used > candidate.last_used:
            return False
        if await self._store.is_wanted(candidate.image):
            return False
        try:
            await maker.delete_image(candidate.image)
        except BinderError as error:
            self.log.warning("Image %s is kept: %s", candidate.image, error.message)
            return False
        self.log.info(
            "Removed image %s, not used since %s", candidate.image, candidate.last_used.date()
        )
        return True

    def _report(
        self,
        share: _Share,
        candidates: Iterable[Candidate],
        removed: Collection[Candidate],
        cache_bytes: int,
    ) -> CleanupReport:
        freed = sum(one.size_bytes for one in removed)
        kept = sum(one.size_bytes for one in candidates) - freed + cache_bytes
        over = max(kept - share.budget_bytes, 0) if share.budget_bytes else 0
        if over:
            self.log.warning(
                "Images of %s exceed their budget by %s, but all of them are in use or recent",
                ", ".join(maker.name for maker in share.makers),
                format_bytes(over),
            )
        return CleanupReport(tuple(one.image for one in removed), freed, kept, over)
