"""Indexes for the list of everybody's builds, the newest first, by state or by person."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_index("ix_builds_state_created", "builds", ["state", "created"])
    op.create_index("ix_builds_created_by", "builds", ["created_by", "created"])


def downgrade() -> None:
    op.drop_index("ix_builds_created_by", "builds")
    op.drop_index("ix_builds_state_created", "builds")
