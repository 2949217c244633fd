"""The recipe digest of builds, and whose image a build uses."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_INDEX = "ix_builds_recipe_digest"


def upgrade() -> None:
    with op.batch_alter_table("builds") as batch:
        batch.add_column(
            sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch.add_column(sa.Column("recipe_digest", sa.String(length=40), nullable=True))
        batch.add_column(sa.Column("reused_key", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("packages_from", sa.BigInteger(), nullable=True))
    op.create_index(_INDEX, "builds", ["recipe_digest", "packages_from"], unique=False)
    op.execute("update builds set packages_from = finished where state = 'built'")


def downgrade() -> None:
    op.drop_index(_INDEX, "builds")
    with op.batch_alter_table("builds") as batch:
        for name in ("packages_from", "reused_key", "recipe_digest", "forced"):
            batch.drop_column(name)
