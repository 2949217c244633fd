"""What is in each build's image: packages, lock, tools and digest."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "inventories",
        sa.Column("build_id", sa.String(16), nullable=False),
        sa.Column("packages", sa.JSON(), nullable=False),
        sa.Column("lock", sa.Text(), nullable=False),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("build_id", name="pk_inventories"),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name="fk_inventories_build_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("inventories")
