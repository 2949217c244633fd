"""Pages of kept logs: shared by all who read them, and never short of a line."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from jupyterhub_binder.builds import log_pages as logpages
from jupyterhub_binder.builds.log_pages import PAGE_LINES, LogPages
from jupyterhub_binder.model import BuildEvent, Phase


class Kept:
    """Lines in a store, which counts how often it is asked."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self.asked = 0

    async def fetch(self, build_id: str, after: int, limit: int) -> tuple[BuildEvent, ...]:
        self.asked += 1
        last = min(self.lines, after + limit)
        await asyncio.sleep(0)
        now = datetime.now(UTC)
        return tuple(
            BuildEvent(seq, now, Phase.BUILDING, f"line {seq}")
            for seq in range(after + 1, last + 1)
        )


async def read(pages: LogPages, after: int = 0, build_id: str = "b") -> list[int]:
    return [
        event.seq async for batch in pages.read(build_id, after=after) for event in batch.events
    ]


async def test_every_reader_gets_all_lines_and_full_pages_are_fetched_once():
    kept = Kept(3 * PAGE_LINES + 5)
    pages = LogPages(kept.fetch)
    everything = list(range(1, kept.lines + 1))
    assert await asyncio.gather(*(read(pages) for _ in range(50))) == [everything] * 50
    assert kept.asked == 3 + 50


async def test_reading_begins_anywhere():
    pages = LogPages(Kept(2 * PAGE_LINES).fetch)
    for after in (0, 1, PAGE_LINES - 1, PAGE_LINES, PAGE_LINES + 1, 2 * PAGE_LINES, 10**6):
        assert await read(pages, after) == list(range(after + 1, 2 * PAGE_LINES + 1))


async def test_a_reader_sees_lines_that_came_while_another_was_reading():
    kept = Kept(10)
    pages = LogPages(kept.fetch)
    first = asyncio.create_task(read(pages))
    await asyncio.sleep(0)
    kept.lines = 20
    assert await read(pages) == list(range(1, 21))
    assert await first == list(range(1, 11))


async def test_the_memory_of_pages_is_bounded(monkeypatch):
    monkeypatch.setattr(logpages, "_MAX_CHARACTERS", 2 * PAGE_LINES * 310)
    kept = Kept(10 * PAGE_LINES)
    pages = LogPages(kept.fetch)
    await read(pages)
    assert len(pages._pages) == 2
    assert await read(pages) == list(range(1, kept.lines + 1))
