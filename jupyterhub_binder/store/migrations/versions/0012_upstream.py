"""The newest commits of followed repositories, and which environments are updated by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "upstreams",
        sa.Column("repository_key", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("repo", sa.Text(), nullable=False),
        sa.Column("resolved_ref", sa.Text(), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=True),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.Column("reason_template", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("repository_key", "ref", name="pk_upstreams"),
    )
    op.create_index("ix_upstreams_due", "upstreams", ["due"])
    op.create_table(
        "upstream_changes",
        sa.Column("from_key", sa.String(length=64), nullable=False),
        sa.Column("resolved_ref", sa.Text(), nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("needs_build", sa.Boolean(), nullable=False),
        sa.Column("comparison", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("from_key", "resolved_ref", name="pk_upstream_changes"),
    )
    op.create_index("ix_upstream_changes_made", "upstream_changes", ["made"])
    with op.batch_alter_table("environments") as batch:
        batch.add_column(
            sa.Column("updates", sa.String(length=16), nullable=False, server_default="ask")
        )
        batch.add_column(sa.Column("held", sa.String(length=16), nullable=True))
    with op.batch_alter_table("people") as batch:
        batch.add_column(
            sa.Column("can_build", sa.Boolean(), nullable=False, server_default=sa.true())
        )


def downgrade() -> None:
    with op.batch_alter_table("people") as batch:
        batch.drop_column("can_build")
    with op.batch_alter_table("environments") as batch:
        batch.drop_column("held")
        batch.drop_column("updates")
    op.drop_table("upstream_changes")
    op.drop_table("upstreams")
