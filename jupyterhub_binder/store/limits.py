"""Queries over limits, and over the groups that people were last seen in."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from jupyterhub_binder.oversight import LimitOverride
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import limit_overrides, override_row, people, read_override


class LimitQueries:
    """The part of the store that knows limits."""

    _database: Database

    async def list_limit_overrides(self) -> tuple[LimitOverride, ...]:
        """Return everybody's own limits, groups before people, by name."""
        return await self._database.run(_list)

    async def put_limit_override(self, override: LimitOverride) -> None:
        """Keep a person's or a group's limits in place of those they had; none at all removes."""
        await self._database.run(_put, override)

    async def list_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return people's groups by their names, of those who have any."""
        return await self._database.run(_groups)

    async def put_groups(self, name: str, groups: tuple[str, ...]) -> None:
        """Keep the groups that a person has now."""
        await self._database.run(_put_groups, name, groups)


def _list(connection: sa.Connection) -> tuple[LimitOverride, ...]:
    query = limit_overrides.select().order_by(limit_overrides.c.holder, limit_overrides.c.name)
    return tuple(read_override(row) for row in connection.execute(query).mappings())


def _put(connection: sa.Connection, override: LimitOverride) -> None:
    table = limit_overrides.c
    connection.execute(
        limit_overrides.delete().where(table.holder == override.holder, table.name == override.name)
    )
    if override.values:
        connection.execute(limit_overrides.insert(), override_row(override))


def _groups(connection: sa.Connection) -> dict[str, tuple[str, ...]]:
    rows = connection.execute(people.select()).mappings()
    return {row["name"]: tuple(row["groups"]) for row in rows}


def _put_groups(connection: sa.Connection, name: str, groups: tuple[str, ...]) -> None:
    connection.execute(people.delete().where(people.c.name == name))
    if groups:
        connection.execute(people.insert(), {"name": name, "groups": list(groups)})
