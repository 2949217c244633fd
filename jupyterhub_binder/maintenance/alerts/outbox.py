"""Sends messages in the background, with retries, and knows which destination fails."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from jupyterhub_binder.errors import BinderError, StoreUnavailable
from jupyterhub_binder.maintenance.alerts.destinations import Destination
from jupyterhub_binder.model.alerts import Notice, WaitingNotice
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.time import utc_now

_MAX_WAITING = 50
"""Messages for one destination; older ones are dropped."""


_STOP_SECONDS = 2.0
"""What a message that is being sent gets at a stop, so that it is not sent twice."""


@dataclass
class AlertDelivery:
    """What became of the messages to one destination."""

    destination: Destination
    sent: datetime | None = None
    problem: str = ""
    """Why the last attempt failed; empty if it did not."""
    waiting: deque[WaitingNotice] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)


class KeepsNotices(Protocol):
    """The part of the store needed here."""

    async def list_alert_notices(self) -> tuple[WaitingNotice, ...]:
        """Return the messages that wait, the oldest first."""
        ...

    async def delete_alert_notices(self, ids: Iterable[int]) -> None:
        """Forget messages that were sent, or never will be."""
        ...


class Outbox:
    """One worker for each destination keeps its messages in order.

    What waits is in the store, so a restart loses nothing. A kill while a message is sent may repeat
    it.
    """

    def __init__(
        self,
        destinations: tuple[Destination, ...],
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        store: KeepsNotices,
        retry_seconds: float,
        patience_seconds: float,
    ) -> None:
        self.deliveries = tuple(AlertDelivery(each) for each in destinations)
        self._by_name = dict(_named(self.deliveries))
        self._log = log
        self._store = store
        self._retry_seconds = retry_seconds
        self._patience_seconds = patience_seconds
        self._tasks = TaskSet(log)
        self._attempts: set[asyncio.Task[bool]] = set()

    async def start(self) -> None:
        """Begin to send, first what still waits. Raises StoreUnavailable."""
        kept = await self._store.list_alert_notices()
        gone = [each.id for each in kept if each.destination not in self._by_name]
        await self._store.delete_alert_notices(gone)
        await self.put(each for each in kept if each.destination in self._by_name)
        for each in self.deliveries:
            self._tasks.spawn(self._work(each), name=f"alerts to {each.destination.name}")

    async def stop(self) -> None:
        """Stop. Idempotent."""
        await self._tasks.close()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=_STOP_SECONDS)
        for attempt in self._attempts:
            attempt.cancel()

    def address(self, notice: Notice) -> Iterator[WaitingNotice]:
        """Yield the message for every destination."""
        return (WaitingNotice(name, notice) for name in self._by_name)

    async def put(self, notices: Iterable[WaitingNotice]) -> None:
        """Queue messages that the store has. Raises StoreUnavailable."""
        dropped = []
        for each in notices:
            delivery = self._by_name[each.destination]
            delivery.waiting.append(each)
            if len(delivery.waiting) > _MAX_WAITING:
                dropped.append(delivery.waiting.popleft().id)
            delivery.came.set()
        if dropped:
            await self._store.delete_alert_notices(dropped)

    async def _work(self, delivery: AlertDelivery) -> None:
        while True:
            await delivery.came.wait()
            delivery.came.clear()
            while delivery.waiting:
                await self._send_patiently(delivery, delivery.waiting[0])

    async def _send_patiently(self, delivery: AlertDelivery, waiting: WaitingNotice) -> None:
        """Send a message, or drop it after long; forget it then."""
        backoff = Backoff(
            self._retry_seconds, max_seconds=300, patience_seconds=self._patience_seconds
        )
        while not await self._attempt(delivery, waiting):
            if not await backoff.wait():
                name, subject = delivery.destination.name, waiting.notice.subject
                self._log.error("Alert to %s dropped: %s", name, subject)
                await self._forget(delivery, waiting)
                return

    async def _attempt(self, delivery: AlertDelivery, waiting: WaitingNotice) -> bool:
        """Send once and forget, also if the outbox stops meanwhile."""

        async def attempt() -> bool:
            sent = await self.send(delivery, waiting.notice)
            if sent:
                await self._forget(delivery, waiting)
            return sent

        task = asyncio.ensure_future(attempt())
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)
        return await asyncio.shield(task)

    async def _forget(self, delivery: AlertDelivery, waiting: WaitingNotice) -> None:
        # A newer one may have taken its place.
        if delivery.waiting and delivery.waiting[0] is waiting:
            delivery.waiting.popleft()
        try:
            await self._store.delete_alert_notices([waiting.id])
        except StoreUnavailable as error:  # at worst, it is sent again after a restart
            self._log.warning("A sent alert could not be removed: %s", error.message)

    async def send(self, delivery: AlertDelivery, notice: Notice) -> bool:
        """Send once; say whether it went."""
        try:
            await delivery.destination.send(notice)
        except BinderError as error:
            delivery.problem = error.message
            self._log.warning("Alert to %s: %s", delivery.destination.name, error.message)
            return False
        except Exception:  # noqa: BLE001 - the next message must go out all the same
            delivery.problem = Message("Unexpected error. See the service's log.")
            self._log.exception("Alert to %s", delivery.destination.name)
            return False
        delivery.problem, delivery.sent = "", utc_now()
        return True


def _named(deliveries: Iterable[AlertDelivery]) -> Iterator[tuple[str, AlertDelivery]]:
    """Yield each with a name that no other has."""
    seen: Counter[str] = Counter()
    for each in deliveries:
        name = each.destination.name
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name} {seen[name]}"), each
