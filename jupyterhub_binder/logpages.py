"""Logs read back from the store, in pages that all who read them share.

A page that is full never changes, so it is read and encoded once however many watch; the
newest, which still grows, is read afresh by each. How a log comes to be is `buildlog`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable

from jupyterhub_binder.aio import Locks
from jupyterhub_binder.buildlog import EventBatch
from jupyterhub_binder.model import BuildEvent

PAGE_LINES = 1_000

_MOST_CHARACTERS = 6_000_000
"""What the pages that are remembered may have together; one line counts some more."""
_LINE_OVERHEAD = 300

FetchEvents = Callable[[str, int, int], Awaitable[tuple[BuildEvent, ...]]]
"""Returns lines of a build after a sequence number, at most so many."""


class LogPages:
    """The pages of logs that somebody read lately."""

    def __init__(self, fetch: FetchEvents) -> None:
        self._fetch = fetch
        self._pages: OrderedDict[tuple[str, int], EventBatch] = OrderedDict()
        self._weight = 0
        self._locks: Locks[tuple[str, int]] = Locks()

    async def read(self, build_id: str, *, after: int) -> AsyncIterator[EventBatch]:
        """Yield the lines after a sequence number, up to the newest that is kept now."""
        while (page := await self._fetch_page(build_id, after // PAGE_LINES)) is not None:
            if (rest := page.after(after)) is not None:
                yield rest
            after = page.last
            if not _is_full(page):
                return

    async def _fetch_page(self, build_id: str, number: int) -> EventBatch | None:
        key = (build_id, number)
        # Not a single flight: who joins one would miss the lines that came since it began.
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
        while self._weight > _MOST_CHARACTERS and len(self._pages) > 1:
            _, oldest = self._pages.popitem(last=False)
            self._weight -= _weight(oldest)


def _is_full(page: EventBatch) -> bool:
    return len(page.events) == PAGE_LINES


def _weight(page: EventBatch) -> int:
    return sum(len(event.message) + _LINE_OVERHEAD for event in page.events)
