"""Sends messages in the background, with retries, and knows which destination fails."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.maintenance.alerts.destinations import Destination, Notice
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.time import utc_now

_MAX_WAITING = 50
"""Messages for one destination; older ones are dropped."""


@dataclass
class AlertDelivery:
    """What became of the messages to one destination."""

    destination: Destination
    sent: datetime | None = None
    problem: str = ""
    """Why the last attempt failed; empty if it did not."""
    waiting: asyncio.Queue[Notice] = field(default_factory=lambda: asyncio.Queue(_MAX_WAITING))


class Outbox:
    """One worker for each destination keeps its messages in order."""

    def __init__(
        self,
        destinations: tuple[Destination, ...],
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        retry_seconds: float,
        patience_seconds: float,
    ) -> None:
        self.deliveries = tuple(AlertDelivery(each) for each in destinations)
        self._log = log
        self._retry_seconds = retry_seconds
        self._patience_seconds = patience_seconds
        self._tasks = TaskSet(log)

    def start(self) -> None:
        """Begin to send."""
        for each in self.deliveries:
            self._tasks.spawn(self._work(each), name=f"alerts to {each.destination.name}")

    async def stop(self) -> None:
        """Stop at once. Idempotent."""
        await self._tasks.close()

    def put(self, notice: Notice) -> None:
        """Queue a message for every destination."""
        for each in self.deliveries:
            if each.waiting.full():
                each.waiting.get_nowait()
            each.waiting.put_nowait(notice)

    async def _work(self, delivery: AlertDelivery) -> None:
        while True:
            notice = await delivery.waiting.get()
            backoff = Backoff(
                self._retry_seconds, max_seconds=300, patience_seconds=self._patience_seconds
            )
            while not await self.send(delivery, notice):
                if not await backoff.wait():
                    self._log.error(
                        "Alert to %s dropped: %s", delivery.destination.name, notice.subject
                    )
                    break

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
