"""The tables of usage: counts that outlive launches, environments and people.

No name of a person and no address of a private repository is in them.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.store.tables import metadata

_FIRST_DAY = date(1970, 1, 1).toordinal()


class Day(sa.types.TypeDecorator[date]):
    """A day in UTC, stored as days since 1970."""

    impl = sa.Integer
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: sa.Dialect) -> int | None:
        """Convert to days."""
        return None if value is None else value.toordinal() - _FIRST_DAY

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> date | None:
        """Convert from days."""
        return None if value is None else date.fromordinal(value + _FIRST_DAY)


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


usage_launches = sa.Table(
    "usage_launches",
    metadata,
    _key("day", Day),
    _key("origin", sa.Text),
    _key("provider", sa.String(32)),
    _key("outcome", sa.String(16)),
    sa.Column("launches", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

usage_builds = sa.Table(
    "usage_builds",
    metadata,
    _key("day", Day),
    _key("outcome", sa.String(16)),
    sa.Column("builds", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

usage_failures = sa.Table(
    "usage_failures",
    metadata,
    _key("day", Day),
    _key("what", sa.String(16)),
    _key("code", sa.String(64)),
    _key("owner", sa.String(16)),
    sa.Column("failures", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# By period and not by day, because percentiles, people and top lists can't be added up.

usage_times = sa.Table(
    "usage_times",
    metadata,
    _key("period", sa.String(8)),
    _key("what", sa.String(20)),
    _key("bucket", sa.Integer),
    sa.Column("times", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)

# By quarter and by year.
usage_repositories = sa.Table(
    "usage_repositories",
    metadata,
    _key("period", sa.String(8)),
    _key("repository_key", sa.Text),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("launches", sa.Integer, nullable=False),
    sa.Index("ix_usage_repositories_top", "period", "launches"),
    sqlite_with_rowid=False,
)

# The number of people; while a period lasts, the key of their hashes too.
usage_periods = sa.Table(
    "usage_periods",
    metadata,
    _key("period", sa.String(8)),
    sa.Column("salt", sa.String(32)),
    sa.Column("people", sa.Integer, nullable=False),
)

usage_people = sa.Table(
    "usage_people",
    metadata,
    _key("period", sa.String(8)),
    _key("digest", sa.String(32)),
    sqlite_with_rowid=False,
)
