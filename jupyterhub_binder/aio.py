"""Small pieces of concurrency: a replayable broadcast, a single flight, locks, turns, tasks."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Lagged(Exception):
    """A reader fell so far behind that the items it wants are no longer kept."""


class Broadcast(Generic[T]):
    """A list that grows, and any number of readers, each at its own pace.

    A reader is a position in the one shared list, so a hundred readers cost no more memory
    than one, and a slow reader holds nobody up. Only the newest `keep` items are kept, and of
    those no more than weigh `most_weight` together: a reader behind those gets `Lagged`, and
    finds the rest where the items came from. Not for threads.
    """

    def __init__(
        self,
        *,
        keep: int = 256,
        most_weight: int | None = None,
        weigh: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._items: deque[T] = deque(maxlen=keep)
        self._most_weight = most_weight
        self._weigh = weigh
        self._closed = False
        self._changed = asyncio.Event()
        self.end = 0
        """The position after the newest item."""

    @property
    def closed(self) -> bool:
        """Say whether the last item has been published."""
        return self._closed

    def publish(self, item: T) -> None:
        """Append an item and wake every reader. Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError("published to a closed broadcast")
        self._items.append(item)
        self.end += 1
        self._shed()
        self._wake()

    def _shed(self) -> None:
        """Drop the oldest items that are too heavy to keep; the newest stays in any case."""
        if self._most_weight is None:
            return
        weight = sum(map(self._weigh, self._items))
        while weight > self._most_weight and len(self._items) > 1:
            weight -= self._weigh(self._items.popleft())

    def close(self) -> None:
        """End every reader after its last item; closing twice is harmless."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, position: int = 0) -> AsyncIterator[T]:
        """Yield the items from a position on, then each as it comes, until closed.

        Raises Lagged when the item at the position is no longer kept.
        """
        while True:
            while position < self.end:
                index = position - self.end + len(self._items)
                if index < 0:
                    raise Lagged
                yield self._items[index]
                position += 1
            if self._closed:
                return
            await self._changed.wait()


class SingleFlight(Generic[K, T]):
    """Identical questions under way at once are asked once; all get the one answer.

    A caller that is cancelled leaves the others undisturbed.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}

    async def do(self, key: K, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the answer of `ask`, or of whoever is asking the same already."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(_run(ask))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
            # Every caller may have been cancelled: then nobody fetches the exception.
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return await asyncio.shield(task)


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


class Locks(Generic[K]):
    """One lock for each key, kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, key: K) -> asyncio.Lock:
        """Return the key's lock."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


class Full(Exception):
    """So many wait for a turn already that another one is sent away."""


class Turns(Generic[K]):
    """Lets each key do a few things at once; more of them wait, and very many are refused.

    With a person's name for a key nobody holds up the others.
    """

    def __init__(self, at_once: int, *, waiting: int) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._places: dict[K, tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def take(self, key: K) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. Raises Full."""
        semaphore, here = self._places.setdefault(key, (asyncio.Semaphore(self._at_once), []))
        if len(here) >= self._most:
            raise Full
        here.append(None)
        try:
            async with semaphore:
                yield
        finally:
            here.pop()
            if not here:
                self._places.pop(key, None)


class TaskSet:
    """Background tasks with an owner: none is lost, none fails in silence, all end with it."""

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task; an exception that leaves it is logged with its name."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("Task %s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
