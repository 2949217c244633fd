"""The template and the values of a reason, so that it can be shown in the reader's language."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = {"builds": ["reason_template"], "launches": ["message_template", "reason_template"]}


def upgrade() -> None:
    for table, names in _COLUMNS.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.add_column(sa.Column(name, sa.JSON(), nullable=True))


def downgrade() -> None:
    for table, names in _COLUMNS.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
