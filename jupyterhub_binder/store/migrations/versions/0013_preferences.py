"""What a person prefers: pinned environments, and the application that each opened last."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "preferences",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.String(16), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("opens", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person", "environment_id", name="pk_preferences"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name="fk_preferences_environment_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_preferences_environment_id", "preferences", ["environment_id"])


def downgrade() -> None:
    op.drop_table("preferences")
