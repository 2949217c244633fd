"""The tables of shares, of what is featured, of the people who use an environment, and of transfers."""

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

# What the gallery says of an environment; it ends with the share that gives the right to launch it.
featured = sa.Table(
    "featured",
    metadata,
    _environment_id(),
    sa.Column("kind", type_of_state, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("since", UTCTime, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("written", sa.Text, nullable=False),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("position", sa.Integer),
    # Whether the share came with it.
    sa.Column("gave", sa.Boolean, nullable=False),
    sa.Column("read_ref", sa.Text, nullable=False),
    sa.Column("paragraph", sa.Text, nullable=False),
    sa.Column("checksum", sa.String(20), nullable=False),
    sa.Column("media_type", sa.String(16), nullable=False),
    sa.Column("picture", sa.LargeBinary),
    sa.PrimaryKeyConstraint("environment_id"),
    sa.ForeignKeyConstraint(
        ["environment_id", "kind", "subject"],
        ["shares.environment_id", "shares.kind", "shares.subject"],
        name="fk_featured_share",
        ondelete="CASCADE",
    ),
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
