"""The tables of shares, of the people who use an environment, and of transfers."""

from __future__ import annotations

import sqlalchemy as sa

from jupyterhub_binder.store.tables import UTCTime, metadata, type_of_state


def _environment_id() -> sa.Column[str]:
    return sa.Column(
        "environment_id",
        sa.String(16),
        sa.ForeignKey("environments.id", ondelete="CASCADE"),
        nullable=False,
    )


shares = sa.Table(
    "shares",
    metadata,
    _environment_id(),
    sa.Column("kind", type_of_state, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("right", type_of_state, nullable=False),
    sa.Column("since", UTCTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("environment_id", "kind", "subject"),
    sa.Index("ix_shares_kind", "kind", "subject", "environment_id", "right"),
)

# How each person other than the owner uses an environment.
environment_people = sa.Table(
    "environment_people",
    metadata,
    _environment_id(),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("directory", sa.Text, nullable=False),
    sa.Column("launched", UTCTime),
    sa.PrimaryKeyConstraint("environment_id", "person"),
    sa.Index("ix_environment_people_person", "person", "directory"),
)

transfers = sa.Table(
    "transfers",
    metadata,
    _environment_id(),
    sa.Column("to", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("offered", UTCTime, nullable=False),
    sa.Column("expires", UTCTime, nullable=False),
    sa.PrimaryKeyConstraint("environment_id"),
    sa.Index("ix_transfers_to", "to"),
)
