"""Ends the shares of people whom the hub has removed.

Nobody tells the service about them, so it asks the hub from time to time. Otherwise a new person of
an old name would find what was shared with the one before.
"""

from __future__ import annotations

import asyncio
from typing import Any

from traitlets import Float
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model.admin import SERVICE, Action
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import TaskSet

_NAMES = 200
"""Asked about in one round; the next round goes on after them."""


class Departures(LoggingConfigurable):
    """Asks the hub about the people who are named in shares and offers."""

    check_seconds = Float(
        3600,
        min=1,
        help="""How often the service asks the hub whether the people in shares and offers still
        exist, in seconds. Shares and offers of people whom the hub has removed end then.
        Default: 3600.
        """,
    ).tag(config=True)

    def __init__(self, *, store: Store, hub: HubClient, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._hub = hub
        self._audit = audit
        self._after = ""
        self._tasks = TaskSet(self.log)

    async def start(self) -> None:
        """Begin to ask."""
        self._tasks.spawn(self._keep_checking(), name="people who left")

    async def stop(self) -> None:
        """Stop asking. Idempotent."""
        await self._tasks.close()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(self.check_seconds)
            try:
                await self.check()
            except BinderError as error:
                self.log.warning("Can't ask the hub who has left: %s", error.message)

    async def check(self) -> tuple[str, ...]:
        """Ask about the next names; return those who are gone. Raises the hub's errors.

        Does nothing unless the hub would show every user: it answers the same for a person who is
        hidden from the service.
        """
        if not await self._hub.may_read_users():
            return ()
        names = await self._store.list_named_people(after=self._after, limit=_NAMES)
        self._after = names[-1] if len(names) == _NAMES else ""
        gone = tuple([name for name in names if not await self._hub.knows_user(name)])
        for name in gone:
            await self._end(name)
        return gone

    async def _end(self, name: str) -> None:
        for environment_id in await self._store.end_person(name):
            environment = await self._store.fetch_environment(environment_id)
            self._audit.note(
                SERVICE,
                Action.ENVIRONMENT_SHARE,
                environment_id,
                always=True,
                name=environment.name if environment else "",
                repository=environment.label if environment else "",
                ended=f"user:{name}",
                reason="The hub has removed this person.",
            )
