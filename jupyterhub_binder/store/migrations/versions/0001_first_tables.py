"""The first tables: environments, builds, their logs and requests, launches."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "builds",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("base_key", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("repo", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("repository_key", sa.Text(), nullable=False),
        sa.Column("resolved_ref", sa.Text(), nullable=False),
        sa.Column("clone_url", sa.Text(), nullable=False),
        sa.Column("backend", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=True),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.Column("reason_seq", sa.Integer(), nullable=True),
        sa.Column("checkpoint", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_builds")),
    )
    op.create_index("ix_builds_base_key", "builds", ["base_key", "generation"], unique=False)
    op.create_index(
        "ix_builds_repository_key", "builds", ["repository_key", "finished"], unique=False
    )
    op.create_index("ix_builds_state", "builds", ["state", "finished"], unique=False)
    op.create_index(
        "ux_builds_active",
        "builds",
        ["base_key", "generation"],
        unique=True,
        sqlite_where=sa.text("state in ('pending', 'running')"),
        postgresql_where=sa.text("state in ('pending', 'running')"),
    )
    op.create_table(
        "environments",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("repo", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("repo_url", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("repository_key", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.String(length=16), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("touched", sa.BigInteger(), nullable=False),
        sa.Column("launched", sa.BigInteger(), nullable=True),
        sa.Column("deleted", sa.BigInteger(), nullable=True),
        sa.Column("current_number", sa.Integer(), nullable=True),
        sa.Column("latest_number", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
    )
    op.create_index(
        "ix_environments_directory", "environments", ["owner", "directory"], unique=False
    )
    op.create_index("ix_environments_owner", "environments", ["owner", "touched"], unique=False)
    op.create_index(
        "ix_environments_repository_key", "environments", ["owner", "repository_key"], unique=False
    )
    op.create_index("ix_environments_touched", "environments", ["touched"], unique=False)
    op.create_table(
        "build_events",
        sa.Column("build_id", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_build_events_build_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("build_id", "seq", name=op.f("pk_build_events")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "build_requests",
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("build_id", sa.String(length=16), nullable=False),
        sa.Column("requested", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["build_id"], ["builds.id"], name=op.f("fk_build_requests_build_id")
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_build_requests_environment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("environment_id", "number", name=op.f("pk_build_requests")),
    )
    op.create_index("ix_build_requests_build_id", "build_requests", ["build_id"], unique=False)
    op.create_table(
        "launches",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("environment_id", sa.String(length=16), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("build_id", sa.String(length=16), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("reason_code", sa.String(length=64), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_launches_environment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_launches")),
    )
    op.create_index("ix_launches_environment_id", "launches", ["environment_id"], unique=False)
    op.create_index("ix_launches_state", "launches", ["state"], unique=False)
    op.create_index("ix_launches_user", "launches", ["user", "created"], unique=False)


def downgrade() -> None:
    op.drop_table("launches")
    op.drop_table("build_requests")
    op.drop_table("build_events")
    op.drop_table("environments")
    op.drop_table("builds")
