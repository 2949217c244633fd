"""Launches that succeeded, for the archive: without their person."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "launch_events",
        sa.Column("launch_id", sa.String(16), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("resolved_ref", sa.Text(), nullable=False),
        sa.Column("clone_url", sa.Text(), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("request_origin", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("launch_id", name="pk_launch_events"),
    )
    op.create_index("ix_launch_events_time", "launch_events", ["time"])


def downgrade() -> None:
    op.drop_table("launch_events")
