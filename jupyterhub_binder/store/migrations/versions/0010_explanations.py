"""What the rules say about a failed build."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_COLUMNS = {
    "reason_rule": sa.String(48),
    "reason_fingerprint": sa.String(16),
    "reason_explanation": sa.JSON(),
}


def upgrade() -> None:
    with op.batch_alter_table("builds") as batch:
        for name, kind in _COLUMNS.items():
            batch.add_column(sa.Column(name, kind, nullable=True))
        batch.create_index("ix_builds_rule", ["reason_rule", "finished"])
        batch.create_index("ix_builds_fingerprint", ["reason_fingerprint", "finished"])


def downgrade() -> None:
    with op.batch_alter_table("builds") as batch:
        batch.drop_index("ix_builds_fingerprint")
        batch.drop_index("ix_builds_rule")
        for name in _COLUMNS:
            batch.drop_column(name)
