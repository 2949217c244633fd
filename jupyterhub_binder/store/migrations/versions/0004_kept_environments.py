"""An index of the environments that are kept, so that counting them looks at nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_index("ix_environments_owner", "environments")
    op.create_index(
        "ix_environments_kept",
        "environments",
        ["owner", "touched"],
        sqlite_where=sa.text("deleted IS NULL"),
        postgresql_where=sa.text("deleted IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_environments_kept", "environments")
    op.create_index("ix_environments_owner", "environments", ["owner", "touched"])
