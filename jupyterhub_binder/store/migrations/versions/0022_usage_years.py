"""Sessions of repositories by year, added up from their quarters."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute(
        """
        insert into usage_repositories (period, repository_key, label, launches)
        select substr(period, 1, 4), repository_key, min(label), sum(launches)
        from usage_repositories
        where substr(period, 5, 1) = 'Q'
        group by substr(period, 1, 4), repository_key
        """
    )


def downgrade() -> None:
    op.execute("delete from usage_repositories where length(period) = 4")
