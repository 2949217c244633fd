"""The tokens of hooks for commit statuses, and what hosts are told about commits."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    with op.batch_alter_table("hooks") as batch:
        batch.add_column(sa.Column("token", sa.Text(), nullable=True))
        batch.add_column(sa.Column("token_set", sa.BigInteger(), nullable=True))
    op.create_table(
        "commit_reports",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("hook_id", sa.String(length=40), nullable=False),
        sa.Column("sha", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("told", sa.String(length=16), nullable=True),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commit_reports")),
        sa.ForeignKeyConstraint(
            ["hook_id"],
            ["hooks.id"],
            name=op.f("fk_commit_reports_hook_id"),
            ondelete="CASCADE",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commit_reports_hook_id", "commit_reports", ["hook_id", "id"])


def downgrade() -> None:
    op.drop_table("commit_reports")
    with op.batch_alter_table("hooks") as batch:
        batch.drop_column("token_set")
        batch.drop_column("token")
