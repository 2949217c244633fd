"""Reads stored logs in pages that readers share.

Full pages never change, so they are cached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable

from jupyterhub_binder.builds.log import EventBatch
from jupyterhub_binder.model import BuildEvent
from jupyterhub_binder.utils.concurrency import Locks

PAGE_LINES = 1_000

_MAX_CHARACTERS = 6_000_000
"""Of cached pages."""
_LINE_OVERHEAD = 300

FetchEvents = Callable[[str, int, int], Awaitable[tuple[BuildEvent, ...]]]
"""Of a build id, a sequence number and a limit."""


class LogPages:
    """Recently read pages."""

    def __init__(self, fetch: FetchEvents) -> None:
        self._fetch = fetch
        self._pages: OrderedDict[tuple[str, int], EventBatch] = OrderedDict()
        self._weight = 0
        self._locks: Locks[tuple[str, int]] = Locks()

    async def read(self, build_id: str, *, after: int) -> AsyncIterator[EventBatch]:
        """Yield the stored lines after a sequence number."""
        while (page := await self._fetch_page(build_id, after // PAGE_LINES)) is not None:
            if (rest := page.after(after)) is not None:
                yield rest
            after = page.last
            if not _is_full(page):
                return

    async def _fetch_page(self, build_id: str, number: int) -> EventBatch | None:
        key = (build_id, number)
        # Not a single flight: a reader who joined would miss lines that came since it began.
        async with self._locks[key]:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
            events = await self._fetch(build_id, number * PAGE_LINES, PAGE_LINES)
            page = EventBatch(events) if events else None
            if page is not None and _is_full(page):
                self._remember(key, page)
            return page

    def _remember(self, key: tuple[str, int], page: EventBatch) -> None:
        self._pages[key] = page
        self._weight += _weight(page)
        while self._weight > _MAX_CHARACTERS and len(self._pages) > 1:
            _, oldest = self._pages.popitem(last=False)
            self._weight -= _weight(oldest)


def _is_full(page: EventBatch) -> bool:
    return len(page.events) == PAGE_LINES


def _weight(page: EventBatch) -> int:
    return sum(len(event.message) + _LINE_OVERHEAD for event in page.events)
