"""Queries for what people prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.tables import choice_row, environments, metadata, read_choice

preferences = sa.Table(
    "preferences",
    metadata,
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column(
        "environment_id",
        sa.String(16),
        sa.ForeignKey("environments.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("pinned", sa.Boolean, nullable=False),
    sa.Column("opens", sa.Text, nullable=False),
    sa.Column("profile", sa.JSON(none_as_null=True)),
    sa.Index("ix_preferences_environment_id", "environment_id"),
)


def is_pinned(person: str) -> sa.ColumnElement[bool]:
    """Match the environments that a person has pinned."""
    return sa.exists().where(
        preferences.c.environment_id == environments.c.id,
        preferences.c.person == person,
        preferences.c.pinned,
    )


def pinned_first(person: str) -> sa.ColumnElement[int]:
    """Order environments so that the person's pinned ones come first."""
    return sa.case((is_pinned(person), 0), else_=1)


class PreferenceQueries:
    """What people prefer."""

    _database: Database

    async def list_preferences(
        self, person: str, environment_ids: Sequence[str]
    ) -> Mapping[str, Preference]:
        """Return a person's preferences by environment."""
        return await self._database.run(_list, person, environment_ids)

    async def put_preference(
        self, person: str, environment_id: str, preference: Preference
    ) -> None:
        """Set a person's preference; one that says nothing is removed."""
        await self._database.run(_put, person, environment_id, preference)


def _list(
    connection: sa.Connection, person: str, environment_ids: Sequence[str]
) -> Mapping[str, Preference]:
    if not environment_ids:
        return {}
    rows = connection.execute(
        preferences.select().where(
            preferences.c.person == person, preferences.c.environment_id.in_(environment_ids)
        )
    )
    return {
        row.environment_id: Preference(row.pinned, row.opens, read_choice(row.profile))
        for row in rows
    }


def _put(
    connection: sa.Connection, person: str, environment_id: str, preference: Preference
) -> None:
    key = {"person": person, "environment_id": environment_id}
    connection.execute(
        preferences.delete().where(*(preferences.c[name] == value for name, value in key.items()))
    )
    if preference != Preference():
        profile = choice_row(preference.profile)
        row = {**key, "pinned": preference.pinned, "opens": preference.opens, "profile": profile}
        connection.execute(preferences.insert(), row)
