"""Hooks, what they received, and the looks at repositories that wait."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hooks")),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_hooks_environment_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_hooks_environment_id", "hooks", ["environment_id", "created"])
    op.create_table(
        "hook_deliveries",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("hook_id", sa.String(length=40), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("message", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_deliveries")),
        sa.ForeignKeyConstraint(
            ["hook_id"],
            ["hooks.id"],
            name=op.f("fk_hook_deliveries_hook_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_hook_deliveries_hook_id", "hook_deliveries", ["hook_id", "id"])
    op.create_table(
        "prebuilds",
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.Column("cron", sa.Text(), server_default="", nullable=False),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.Column("pending", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.String(length=16), server_default="hook", nullable=False),
        sa.Column("delivery", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("last", sa.BigInteger(), nullable=True),
        sa.Column("last_cause", sa.String(length=16), server_default="hook", nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("message", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("pk_prebuilds")),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_prebuilds_environment_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_prebuilds_due", "prebuilds", ["due"])
    op.create_index("ix_prebuilds_pending", "prebuilds", ["pending"])
    op.create_table(
        "seen_deliveries",
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("delivery", sa.String(length=64), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "delivery", name=op.f("pk_seen_deliveries")),
    )
    op.create_index("ix_seen_deliveries_seen", "seen_deliveries", ["scope", "seen"])


def downgrade() -> None:
    for table in ("seen_deliveries", "prebuilds", "hook_deliveries", "hooks"):
        op.drop_table(table)
