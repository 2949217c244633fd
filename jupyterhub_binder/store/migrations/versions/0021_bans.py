"""Whether the reason of a ban is shown to those who are refused."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    with op.batch_alter_table("rules") as batch:
        batch.add_column(
            sa.Column("shows_reason", sa.Boolean(), nullable=False, server_default=sa.true())
        )


def downgrade() -> None:
    op.execute("DELETE FROM rules WHERE kind = 'ban_person'")
    with op.batch_alter_table("rules") as batch:
        batch.drop_column("shows_reason")
