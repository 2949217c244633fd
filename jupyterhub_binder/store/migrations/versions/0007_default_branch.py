"""The name of a repository's default branch, for environments that follow it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("environments") as batch:
        batch.add_column(sa.Column("default_branch", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("environments") as batch:
        batch.drop_column("default_branch")
