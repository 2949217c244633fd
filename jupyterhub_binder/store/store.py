"""The store: one async method a transaction, frozen results; the queries are in its bases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from jupyterhub_binder.store.audit import AuditQueries
from jupyterhub_binder.store.builds import BuildQueries
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.environments import EnvironmentQueries
from jupyterhub_binder.store.images import ImageQueries
from jupyterhub_binder.store.launches import LaunchQueries
from jupyterhub_binder.store.limits import LimitQueries
from jupyterhub_binder.store.retention import RetentionQueries
from jupyterhub_binder.store.rules import RuleQueries
from jupyterhub_binder.store.switches import SwitchQueries
from jupyterhub_binder.store.usage import UsageQueries


class Store(
    EnvironmentQueries,
    BuildQueries,
    LaunchQueries,
    ImageQueries,
    RuleQueries,
    LimitQueries,
    SwitchQueries,
    AuditQueries,
    UsageQueries,
    RetentionQueries,
):
    """All that is kept. Made by `open`; one process owns it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database of a URL, ``sqlite:////path`` or ``postgresql://user@host/name``.

        Raises ConfigurationError with what to do about it.
        """
        return cls(await Database.open(url))

    def watch(
        self,
        *,
        when_done: Callable[[float, bool], None] | None = None,
        when_ousted: Callable[[], None] | None = None,
    ) -> None:
        """Have somebody told, from another thread, of what happens.

        `when_done`: of each transaction, its seconds, and whether the database failed.
        `when_ousted`: that another service owns the database now; this one has to end.
        """
        if when_done is not None:
            self._database.when_done = when_done
        if when_ousted is not None:
            self._database.when_ousted = when_ousted

    @property
    def reconnections(self) -> int:
        """How often a lost connection to the server was taken up again."""
        return self._database.reconnections

    async def close(self) -> None:
        """Finish the work under way and let go; closing twice is harmless."""
        await self._database.close()
