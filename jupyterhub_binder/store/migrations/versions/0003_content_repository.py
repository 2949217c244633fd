"""Where a person's files come from, where that is not the environment's own repository."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("environments") as batch:
        batch.add_column(sa.Column("content_url", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("content_ref", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("environments") as batch:
        batch.drop_column("content_ref")
        batch.drop_column("content_url")
