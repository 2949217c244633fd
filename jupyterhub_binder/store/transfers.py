"""Queries for offers of environments."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.model import Environment, UpdateMode
from jupyterhub_binder.model.sharing import Right, SubjectKind, Transfer
from jupyterhub_binder.store import environments as queries
from jupyterhub_binder.store import hooks
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.shares import find_directory_of
from jupyterhub_binder.store.sharing_tables import environment_people, shares, transfers

_MAX_OFFERS = 50
"""Shown to one person."""


class TransferQueries:
    """At most one offer for each environment."""

    _database: Database
    rights_version: int

    async def put_transfer(self, transfer: Transfer) -> None:
        """Keep an offer in place of an earlier one."""
        await self._database.run(_put, transfer)

    async def fetch_transfer(self, environment_id: str, *, at: datetime) -> Transfer | None:
        """Return an offer that has not expired."""
        query = transfers.select().where(
            transfers.c.environment_id == environment_id, transfers.c.expires > at
        )
        return next(iter(await self._database.run(_read, query)), None)

    async def list_transfers(self, to: str, *, at: datetime) -> tuple[Transfer, ...]:
        """Return what is offered to a person, oldest first."""
        query = (
            transfers.select()
            .where(transfers.c.to == to, transfers.c.expires > at)
            .order_by(transfers.c.offered, transfers.c.environment_id)
            .limit(_MAX_OFFERS)
        )
        return await self._database.run(_read, query)

    async def delete_transfer(self, environment_id: str) -> None:
        """End an offer. Idempotent."""
        await self._database.run(_delete, environment_id)

    async def accept_transfer(
        self, environment_id: str, person: str, *, limit: int, at: datetime
    ) -> Environment | None:
        """Make the receiver the owner; None if they have `limit` environments already.

        The owner before gets the right to manage it, and keeps their folder. Without an offer, the
        environment is returned as it is.
        """
        accepted = await self._database.run(_accept, environment_id, person, limit, at)
        self.rights_version += 1
        return accepted


def _read(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Transfer, ...]:
    return tuple(Transfer(**row) for row in connection.execute(query).mappings())


def _put(connection: sa.Connection, transfer: Transfer) -> None:
    _delete(connection, transfer.environment_id)
    names = ("environment_id", "to", "by", "offered", "expires")
    connection.execute(transfers.insert(), {name: getattr(transfer, name) for name in names})


def _delete(connection: sa.Connection, environment_id: str) -> None:
    connection.execute(transfers.delete().where(transfers.c.environment_id == environment_id))


def _accept(
    connection: sa.Connection, environment_id: str, person: str, limit: int, at: datetime
) -> Environment | None:
    environment = queries.fetch(connection, environment_id)
    if environment is None:
        return None
    before = environment.owner
    offered = transfers.select().where(
        transfers.c.environment_id == environment_id,
        transfers.c.to == person,
        transfers.c.expires > at,
    )
    if before == person or not _read(connection, offered):
        return environment  # a repeated request, or an offer that was withdrawn meanwhile
    if queries.count(connection, person) >= limit:
        return None
    used = _take_use(connection, environment_id, person)
    directory = used["directory"] if used else ""
    changes = {
        "owner": person,
        "directory": directory or find_directory_of(connection, environment, person),
        "launched": used["launched"] if used else None,
    }
    if environment.updates is UpdateMode.AUTO:  # builds in somebody's name need their own word
        changes |= {"updates": UpdateMode.ASK, "held": None}
    _end_share(connection, environment_id, person)
    _end_share(connection, environment_id, before)
    _keep_as_manager(connection, environment, at)
    hooks.end(connection, environment_id)
    _delete(connection, environment_id)
    return queries.update(connection, environment_id, changes, at)


def _take_use(connection: sa.Connection, environment_id: str, person: str) -> sa.RowMapping | None:
    """Remove and return how a person used an environment that becomes theirs."""
    theirs = (
        environment_people.c.environment_id == environment_id,
        environment_people.c.person == person,
    )
    row = connection.execute(environment_people.select().where(*theirs)).mappings().first()
    connection.execute(environment_people.delete().where(*theirs))
    return row


def _end_share(connection: sa.Connection, environment_id: str, person: str) -> None:
    connection.execute(
        shares.delete().where(
            shares.c.environment_id == environment_id,
            shares.c.kind == SubjectKind.USER,
            shares.c.subject == person,
        )
    )


def _keep_as_manager(connection: sa.Connection, environment: Environment, at: datetime) -> None:
    place = {"environment_id": environment.id}
    connection.execute(
        shares.insert(),
        {
            **place,
            "kind": SubjectKind.USER,
            "subject": environment.owner,
            "right": Right.MANAGE,
            "since": at,
            "by": environment.owner,
        },
    )
    connection.execute(
        environment_people.insert(),
        {
            **place,
            "person": environment.owner,
            "directory": environment.directory,
            "launched": environment.launched,
        },
    )
