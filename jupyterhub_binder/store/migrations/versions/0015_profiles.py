"""The profile of the hub that a person chose for an environment, and that a launch uses."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    for table in ("preferences", "launches"):
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("profile", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    for table in ("preferences", "launches"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("profile")
