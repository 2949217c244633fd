"""When the service saw people first. Those whom it knows already are no longer new."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    with op.batch_alter_table("people") as batch:
        batch.add_column(
            sa.Column("first_seen", sa.BigInteger(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    # Before, only people with groups or without the right to build were kept.
    op.execute("delete from people where can_build and cast(groups as text) = '[]'")
    with op.batch_alter_table("people") as batch:
        batch.drop_column("first_seen")
