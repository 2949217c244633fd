"""Who may use an environment, how they use it, and to whom it is offered."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def _environment_id(table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:
    return (
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f(f"fk_{table}_environment_id"),
            ondelete="CASCADE",
        ),
    )


def upgrade() -> None:
    op.create_table(
        "shares",
        *_environment_id("shares"),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("right", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("environment_id", "kind", "subject", name=op.f("pk_shares")),
    )
    op.create_index("ix_shares_kind", "shares", ["kind", "subject", "environment_id", "right"])
    op.create_table(
        "environment_people",
        *_environment_id("environment_people"),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("launched", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("environment_id", "person", name=op.f("pk_environment_people")),
    )
    op.create_index("ix_environment_people_person", "environment_people", ["person", "directory"])
    op.create_table(
        "transfers",
        *_environment_id("transfers"),
        sa.Column("to", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("offered", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("pk_transfers")),
    )
    op.create_index("ix_transfers_to", "transfers", ["to"])


def downgrade() -> None:
    for table in ("transfers", "environment_people", "shares"):
        op.drop_table(table)
