"""Counts of launches, builds and people that outlive them, from what is still there.

No repository is named for launches before this revision: nothing tells which were public.
"""

import hashlib
import hmac
import math
import secrets
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_DAY = 86_400_000_000
_GROWTH = math.log(1.05)


def upgrade() -> None:
    op.add_column("builds", sa.Column("host", sa.Text(), nullable=True))
    _create_tables()
    connection = op.get_bind()
    for statement in (_LAUNCHES, _BUILDS, _BUILD_FAILURES, _LAUNCH_FAILURES):
        connection.execute(sa.text(statement))
    _fill_times(connection)
    _fill_periods(connection)


def downgrade() -> None:
    for name in ("people", "periods", "repositories", "times", "failures", "builds", "launches"):
        op.drop_table(f"usage_{name}")
    with op.batch_alter_table("builds") as batch:
        batch.drop_column("host")


def _create_tables() -> None:
    def key(name: str, kind: Any) -> sa.Column:
        return sa.Column(name, kind, nullable=False, autoincrement=False)

    def table(name: str, *columns: sa.Column, keys: int, rowid: bool = False) -> None:
        names = [column.name for column in columns[:keys]]
        primary = sa.PrimaryKeyConstraint(*names, name=op.f(f"pk_{name}"))
        op.create_table(name, *columns, primary, sqlite_with_rowid=rowid)

    def count(name: str) -> sa.Column:
        return sa.Column(name, sa.Integer(), nullable=False)

    day, period = sa.Integer(), sa.String(8)
    table(
        "usage_launches",
        key("day", day),
        key("origin", sa.Text()),
        key("provider", sa.String(32)),
        key("outcome", sa.String(16)),
        count("launches"),
        keys=4,
    )
    table("usage_builds", key("day", day), key("outcome", sa.String(16)), count("builds"), keys=2)
    table(
        "usage_failures",
        key("day", day),
        key("what", sa.String(16)),
        key("code", sa.String(64)),
        key("owner", sa.String(16)),
        count("failures"),
        keys=4,
    )
    table(
        "usage_times",
        key("period", period),
        key("what", sa.String(20)),
        key("bucket", sa.Integer()),
        count("times"),
        keys=3,
    )
    table(
        "usage_repositories",
        key("period", period),
        key("repository_key", sa.Text()),
        sa.Column("label", sa.Text(), nullable=False),
        count("launches"),
        keys=2,
    )
    op.create_index("ix_usage_repositories_top", "usage_repositories", ["period", "launches"])
    table(
        "usage_periods",
        key("period", period),
        sa.Column("salt", sa.String(32), nullable=True),
        sa.Column("people", sa.Integer(), nullable=True),
        keys=1,
        rowid=True,
    )
    table("usage_people", key("period", period), key("digest", sa.String(32)), keys=2)


_LAUNCHES = f"""
insert into usage_launches (day, origin, provider, outcome, launches)
select coalesce(l.finished, l.created) / {_DAY}, coalesce(b.backend, ''), e.provider, l.state,
       count(*)
from launches l
join environments e on e.id = l.environment_id
left join build_requests r
  on r.environment_id = e.id and r.number = coalesce(e.current_number, e.latest_number)
left join builds b on b.id = r.build_id
where l.state in ('ready', 'failed', 'cancelled')
group by 1, 2, 3, 4
"""
_BUILDS = f"""
insert into usage_builds (day, outcome, builds)
select coalesce(finished, created) / {_DAY},
       case when state = 'built' and reused_key is not null then 'reused' else state end, count(*)
from builds
where state in ('built', 'failed', 'cancelled')
group by 1, 2
"""
_BUILD_FAILURES = f"""
insert into usage_failures (day, what, code, owner, failures)
select coalesce(finished, created) / {_DAY}, 'build', coalesce(reason_rule, reason_code, 'error'),
       '', count(*)
from builds where state = 'failed' group by 1, 3
"""
_LAUNCH_FAILURES = f"""
insert into usage_failures (day, what, code, owner, failures)
select coalesce(finished, created) / {_DAY}, 'launch', coalesce(reason_code, 'error'), '', count(*)
from launches where state = 'failed' group by 1, 3
"""
_TIMES = f"""
select finished / {_DAY}, case when build_id is null then 'launch' else 'launch_with_build' end,
       (finished - created) / 50000, count(*)
from launches where state = 'ready' and finished is not null group by 1, 2, 3
union all
select finished / {_DAY}, 'build', (finished - started) / 50000, count(*)
from builds
where state = 'built' and reused_key is null and finished is not null and started is not null
group by 1, 2, 3
"""


def _fill_times(connection: sa.Connection) -> None:
    counts: Counter[tuple[str, str, int]] = Counter()
    for day, what, twentieths, count in connection.execute(sa.text(_TIMES)):
        at = date(1970, 1, 1) + timedelta(days=day)
        for name, _, _ in _periods_of(at):
            counts[name, what, _bucket(twentieths)] += count
    rows = [
        {"period": name, "what": what, "bucket": bucket, "times": count}
        for (name, what, bucket), count in counts.items()
    ]
    if rows:
        connection.execute(
            sa.text("insert into usage_times values (:period, :what, :bucket, :times)"), rows
        )


def _bucket(twentieths: int) -> int:
    """As `usage_counting.bucket_of` when this revision was made."""
    return min(400, 1 + int(math.log(twentieths) / _GROWTH)) if twentieths > 1 else 0


def _periods_of(day: date) -> list[tuple[str, date, date]]:
    """Return the name, the first day and the end of the week, quarter and year."""
    monday = day - timedelta(days=day.weekday())
    year, week, _ = day.isocalendar()
    quarter = (day.month + 2) // 3
    after = date(day.year + quarter // 4, quarter % 4 * 3 + 1, 1)
    return [
        (f"{year}-W{week:02}", monday, monday + timedelta(days=7)),
        (f"{day.year}Q{quarter}", date(day.year, quarter * 3 - 2, 1), after),
        (f"{day.year}", date(day.year, 1, 1), date(day.year + 1, 1, 1)),
    ]


_READY = "from launches where state = 'ready' and coalesce(finished, created) >= :first"
_DAYS = f"""
select min(coalesce(finished, created)) / {_DAY}, max(coalesce(finished, created)) / {_DAY}
from launches where state = 'ready'
"""


def _fill_periods(connection: sa.Connection) -> None:
    """Count people; keep hashes of those of the periods that go on."""
    first, last = connection.execute(sa.text(_DAYS)).one()
    if first is None:
        return
    days = range(first, last + 1)
    periods = {
        period for day in days for period in _periods_of(date(1970, 1, 1) + timedelta(days=day))
    }
    today = datetime.now(UTC).date()
    _name_unnamed(connection, {period for period in periods if "Q" in period[0]})
    for name, begin, end in sorted(periods):
        people = _count(connection, 'count(distinct "user")', begin, end)
        over = end + timedelta(days=7) <= today
        row = {"period": name, "salt": None, "people": people}
        if people and not over:
            row |= {"salt": secrets.token_hex(16), "people": None}
            _keep_hashes(connection, name, row["salt"], begin, end)
        if people:
            connection.execute(
                sa.text("insert into usage_periods values (:period, :salt, :people)"), row
            )


def _name_unnamed(connection: sa.Connection, quarters: set[tuple[str, date, date]]) -> None:
    for name, begin, end in sorted(quarters):
        if launches := _count(connection, "count(*)", begin, end):
            connection.execute(
                sa.text("insert into usage_repositories values (:period, '', '', :launches)"),
                {"period": name, "launches": launches},
            )


def _times(begin: date, end: date) -> dict[str, int]:
    epoch = date(1970, 1, 1)
    return {"first": (begin - epoch).days * _DAY, "end": (end - epoch).days * _DAY}


def _count(connection: sa.Connection, what: str, begin: date, end: date) -> int:
    query = f"select {what} {_READY} and coalesce(finished, created) < :end"
    return connection.scalar(sa.text(query), _times(begin, end)) or 0


def _keep_hashes(connection: sa.Connection, name: str, salt: str, begin: date, end: date) -> None:
    query = f'select distinct "user" {_READY} and coalesce(finished, created) < :end'
    rows = [
        {
            "period": name,
            "digest": hmac.new(
                salt.encode(), user.encode(errors="replace"), hashlib.sha256
            ).hexdigest()[:32],
        }
        for user in connection.scalars(sa.text(query), _times(begin, end))
    ]
    if rows:
        connection.execute(sa.text("insert into usage_people values (:period, :digest)"), rows)
