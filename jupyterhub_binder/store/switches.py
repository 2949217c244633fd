"""Queries over what an administrator has switched on: draining, so far."""

from __future__ import annotations

import sqlalchemy as sa

from jupyterhub_binder.oversight import Drain
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import read_drain, switches

_DRAIN = switches.c.name == "drain"


class SwitchQueries:
    """The part of the store that knows what is switched on."""

    _database: Database

    async def fetch_drain(self) -> Drain | None:
        """Return how the service is being drained; None where it is not."""
        return await self._database.run(_fetch)

    async def put_drain(self, drain: Drain | None) -> None:
        """Keep that the service is being drained, or with None that it is not."""
        await self._database.run(_put, drain)


def _fetch(connection: sa.Connection) -> Drain | None:
    row = connection.execute(switches.select().where(_DRAIN)).mappings().first()
    return None if row is None else read_drain(row)


def _put(connection: sa.Connection, drain: Drain | None) -> None:
    connection.execute(switches.delete().where(_DRAIN))
    if drain is not None:
        values = {"message": drain.message, "since": drain.since, "by": drain.by}
        connection.execute(switches.insert(), {"name": "drain", **values})
