"""The store: one async method a transaction, frozen results; the queries are in its bases."""

from __future__ import annotations

from typing import Self

from jupyterhub_binder.store.builds import BuildQueries
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.environments import EnvironmentQueries
from jupyterhub_binder.store.images import ImageQueries
from jupyterhub_binder.store.launches import LaunchQueries


class Store(EnvironmentQueries, BuildQueries, LaunchQueries, ImageQueries):
    """All that is kept. Made by `open`; one process owns it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open the database of a URL, ``sqlite:////path`` or ``postgresql://user@host/name``.

        Raises ConfigurationError with what to do about it.
        """
        return cls(await Database.open(url))

    async def close(self) -> None:
        """Finish the work under way and let go; closing twice is harmless."""
        await self._database.close()
