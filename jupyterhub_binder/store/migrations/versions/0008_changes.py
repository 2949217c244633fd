"""The changes of the current build, and why a build was requested."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("build_requests") as batch:
        batch.add_column(sa.Column("cause", sa.String(16), nullable=False, server_default="asked"))
        batch.add_column(sa.Column("reason", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "changes",
        sa.Column("environment_id", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("environment_id", "number", name="pk_changes"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name="fk_changes_environment_id",
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    op.drop_table("changes")
    with op.batch_alter_table("build_requests") as batch:
        batch.drop_column("reason")
        batch.drop_column("cause")
