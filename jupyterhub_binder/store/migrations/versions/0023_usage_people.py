"""The number of people of a period that goes on, so that no page counts them."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        """
        update usage_periods set people = (
            select count(*) from usage_people where usage_people.period = usage_periods.period
        )
        where people is null
        """
    )
    with op.batch_alter_table("usage_periods") as batch:
        batch.alter_column("people", existing_type=sa.Integer(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("usage_periods") as batch:
        batch.alter_column("people", existing_type=sa.Integer(), nullable=True)
    op.execute("update usage_periods set people = null where salt is not null")
