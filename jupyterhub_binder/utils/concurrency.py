"""Concurrency helpers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Lagged(Exception):
    """The item that a reader needs is no longer kept."""


class Broadcast(Generic[T]):
    """A growing list with independent readers. Not thread-safe.

    Readers share the list, so they cost no memory. A slow reader blocks no one; it gets `Lagged`
    once its item is not among the newest `keep`, `max_weight` in total.
    """

    def __init__(
        self,
        *,
        keep: int = 256,
        max_weight: int | None = None,
        weigh: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._items: deque[T] = deque(maxlen=keep)
        self._max_weight = max_weight
        self._weigh = weigh
        self._closed = False
        self._changed = asyncio.Event()
        self.end = 0

    @property
    def closed(self) -> bool:
        """Whether publishing has ended."""
        return self._closed

    def publish(self, item: T) -> None:
        """Append an item. Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError("published to a closed broadcast")
        self._items.append(item)
        self.end += 1
        self._shed()
        self._wake()

    def _shed(self) -> None:
        """Observe the maximum weight, but keep the newest item."""
        if self._max_weight is None:
            return
        weight = sum(map(self._weigh, self._items))
        while weight > self._max_weight and len(self._items) > 1:
            weight -= self._weigh(self._items.popleft())

    def close(self) -> None:
        """Let readers finish. Idempotent."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def read(self, position: int = 0) -> AsyncIterator[T]:
        """Yield items until closed. Raises Lagged."""
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
    """Concurrent identical calls share one result; cancelling one leaves the others."""

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}

    async def do(self, key: K, ask: Callable[[], Awaitable[T]]) -> T:
        """Call `ask`, or join the call under way."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(_run(ask))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
            # If all callers are cancelled, nobody else retrieves the exception.
            task.add_done_callback(lambda t: t.cancelled() or t.exception())
        return await asyncio.shield(task)


async def _run(ask: Callable[[], Awaitable[T]]) -> T:
    return await ask()


class Remembered(Generic[K, T]):
    """Answers by key, each asked for once until `forget`. Errors are not remembered."""

    def __init__(self, ask: Callable[[K], Awaitable[T]], *, max_keys: int) -> None:
        self._ask = ask
        self._max_keys = max_keys
        self._answers: dict[K, asyncio.Future[T]] = {}

    async def get(self, key: K) -> T:
        """Return the answer; concurrent callers ask once."""
        answer = self._answers.get(key)
        if answer is None or (answer.done() and (answer.cancelled() or answer.exception())):
            if len(self._answers) >= self._max_keys:
                self._answers.clear()
            answer = self._answers[key] = asyncio.ensure_future(self._ask(key))
            # If all callers are cancelled, nobody else retrieves the exception.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(answer)

    def forget(self, *keys: K) -> None:
        """Ask again for these keys, also if an answer is on its way."""
        for key in keys:
            self._answers.pop(key, None)

    def forget_all(self) -> None:
        """Ask again for every key."""
        self._answers.clear()


class Locks(Generic[K]):
    """One lock per key, kept only while used."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, key: K) -> asyncio.Lock:
        """Return the key's lock."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


async def run_without_waiting_at_exit(work: Callable[[], T]) -> T:
    """As `asyncio.to_thread`, but a process that ends does not wait for the work.

    The work must be such that it can be killed at any point.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        # From here on, whoever waits may be cancelled, but not the future.
        if not outcome.set_running_or_notify_cancel():
            return
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    threading.Thread(target=run, name="abandonable", daemon=True).start()
    return await asyncio.wrap_future(outcome)


class Full(Exception):
    """Too many callers are waiting."""


class Turns(Generic[K]):
    """Limits concurrent work per key. Further callers wait; too many are refused."""

    def __init__(self, at_once: int, *, waiting: int) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._places: dict[K, tuple[asyncio.Semaphore, list[None]]] = {}

    @asynccontextmanager
    async def take(self, key: K) -> AsyncIterator[None]:
        """Hold a turn. Raises Full."""
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
    """Background tasks whose failures are logged."""

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a task; its exception is logged with its name."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("Task %s failed", task.get_name(), exc_info=error)

    async def close(self) -> None:
        """Cancel all tasks and wait for them."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
