"""Featured environments; each record belongs to a share."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "featured",
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("written", sa.Text(), nullable=False),
        sa.Column("link", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("gave", sa.Boolean(), nullable=False),
        sa.Column("read_ref", sa.Text(), nullable=False),
        sa.Column("paragraph", sa.Text(), nullable=False),
        sa.Column("checksum", sa.String(length=20), nullable=False),
        sa.Column("media_type", sa.String(length=16), nullable=False),
        sa.Column("picture", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("pk_featured")),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_featured_environment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["environment_id", "kind", "subject"],
            ["shares.environment_id", "shares.kind", "shares.subject"],
            name=op.f("fk_featured_share"),
            ondelete="CASCADE",
        ),
    )


def downgrade() -> None:
    op.drop_table("featured")
