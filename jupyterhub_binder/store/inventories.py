"""Queries for what is in images."""

from __future__ import annotations

import sqlalchemy as sa

from jupyterhub_binder.model.inventory import Inventory, Package
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import builds, metadata, read_build

inventories = sa.Table(
    "inventories",
    metadata,
    sa.Column(
        "build_id",
        sa.String(16),
        sa.ForeignKey("builds.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("packages", sa.JSON, nullable=False),
    sa.Column("lock", sa.Text, nullable=False),
    sa.Column("tools", sa.JSON, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
)


class InventoryQueries:
    """What is in images."""

    _database: Database

    async def put_inventory(self, build_id: str, inventory: Inventory) -> None:
        """Keep what a build put into its image, in place of what an earlier run of it did."""
        await self._database.run(_put, build_id, inventory)

    async def fetch_inventory(self, build_id: str) -> Inventory | None:
        """Return what is in a build's image; None if nobody knows.

        A build that found its image made says nothing of it: the one that made it does.
        """
        return await self._database.run(_fetch, build_id)


def _put(connection: sa.Connection, build_id: str, inventory: Inventory) -> None:
    connection.execute(inventories.delete().where(inventories.c.build_id == build_id))
    row = {
        "build_id": build_id,
        "packages": [[each.name, each.version, each.source] for each in inventory.packages],
        "lock": inventory.lock,
        "tools": dict(inventory.tools),
        "digest": inventory.digest,
    }
    connection.execute(inventories.insert(), row)


_OWN = inventories.select().where(inventories.c.build_id == sa.bindparam("id"))
_OF_IMAGE = (
    inventories.select()
    .join(builds, builds.c.id == inventories.c.build_id)
    .where(
        builds.c.base_key == sa.bindparam("base_key"),
        builds.c.image == sa.bindparam("image"),
    )
    .order_by(builds.c.created.desc())
    .limit(1)
)
_BUILD = builds.select().where(builds.c.id == sa.bindparam("id"))


def _fetch(connection: sa.Connection, build_id: str) -> Inventory | None:
    row = connection.execute(_OWN, {"id": build_id}).mappings().first()
    if row is None:
        found = connection.execute(_BUILD, {"id": build_id}).mappings().first()
        if found is None or found["image"] is None:
            return None
        maker = read_build(found).image_key.partition("-")[0]
        given = {"base_key": maker, "image": found["image"]}
        row = connection.execute(_OF_IMAGE, given).mappings().first()
    return None if row is None else _read(row)


def _read(row: sa.RowMapping) -> Inventory:
    return Inventory(
        packages=tuple(Package(*each) for each in row["packages"]),
        lock=row["lock"],
        tools=row["tools"],
        digest=row["digest"],
    )
