"""Counts launches and builds in the transaction that ends them: each exactly once.

The counts stay when retention removes a launch, or when its environment or person is deleted.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from jupyterhub_binder.model import Build, BuildState, Launch
from jupyterhub_binder.model.usage import (
    BuildOutcome,
    FailedPart,
    LaunchOutcome,
    Timed,
    periods_of,
)
from jupyterhub_binder.store.tables import build_requests, builds, environments
from jupyterhub_binder.store.usage_tables import (
    usage_builds,
    usage_failures,
    usage_launches,
    usage_people,
    usage_periods,
    usage_repositories,
    usage_times,
)

MayName = Callable[[Sequence[str]], bool]
"""Whether anybody may know of the repository with these URLs. Pure."""

_GROWTH = math.log(1.05)
_MIN_SECONDS = 0.05
_MAX_BUCKET = 400
_BATCH = 1000


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket for a duration: each is 5 % wider than the one before."""
    if seconds <= _MIN_SECONDS:
        return 0
    return min(_MAX_BUCKET, 1 + int(math.log(seconds / _MIN_SECONDS) / _GROWTH))


def seconds_of(bucket: int) -> float:
    """Return the middle of a bucket, at most 2.5 % from what was counted above 50 ms."""
    return _MIN_SECONDS * math.exp((bucket - 0.5) * _GROWTH) if bucket else 0.0


@dataclass(frozen=True, slots=True)
class EndedLaunch:
    """What is counted of a launch."""

    at: datetime
    user: str
    outcome: LaunchOutcome
    origin: str = ""
    provider: str = ""
    repository_key: str = ""
    """Empty unless anybody may know of it."""
    label: str = ""
    seconds: float | None = None
    with_build: bool = False
    code: str = ""
    """Of a failure."""


class Tally:
    """Adds up launches and builds in memory, so that many cost as many statements as one."""

    def __init__(self) -> None:
        self._launches: Counter[tuple[date, str, str, LaunchOutcome]] = Counter()
        self._builds: Counter[tuple[date, BuildOutcome]] = Counter()
        self._failures: Counter[tuple[date, FailedPart, str, str]] = Counter()
        self._times: Counter[tuple[str, Timed, int]] = Counter()
        self._repositories: Counter[tuple[str, str]] = Counter()
        self._labels: dict[str, str] = {}
        self._people: dict[str, set[str]] = {}

    def add_launch(self, launch: EndedLaunch) -> None:
        """Count a launch; only a started server counts for people, repositories and times."""
        day = launch.at.date()
        self._launches[day, launch.origin, launch.provider, launch.outcome] += 1
        if launch.outcome is LaunchOutcome.FAILED:
            self._failures[day, FailedPart.LAUNCH, launch.code[:64] or "error", ""] += 1
        if launch.outcome is not LaunchOutcome.READY:
            return
        self._labels[launch.repository_key] = launch.label
        for period in _names_of(day):
            self._people.setdefault(period, set()).add(launch.user)
        for period in _names_of(day)[1:]:
            self._repositories[period, launch.repository_key] += 1
        if launch.seconds is not None:
            what = Timed.LAUNCH_WITH_BUILD if launch.with_build else Timed.LAUNCH
            self._add_time(day, what, launch.seconds)

    def add_build(self, build: Build) -> None:
        """Count a finished build."""
        day = (build.finished or build.created).date()
        outcome = _outcome_of_build(build)
        self._builds[day, outcome] += 1
        if outcome is BuildOutcome.FAILED:
            told = build.reason.explanation if build.reason else None
            code = (told and told.rule) or (build.reason.code if build.reason else "error")
            owner = str(told.owner) if told and told.owner else ""
            self._failures[day, FailedPart.BUILD, code[:64], owner] += 1
        if outcome is BuildOutcome.BUILT and build.duration_seconds is not None:
            self._add_time(day, Timed.BUILD, build.duration_seconds)

    def _add_time(self, day: date, what: Timed, seconds: float) -> None:
        bucket = bucket_of(seconds)
        for period in _names_of(day):
            self._times[period, what, bucket] += 1

    def store(self, connection: sa.Connection) -> None:
        """Add to what is stored."""
        _add(connection, usage_launches, self._launches)
        _add(connection, usage_builds, self._builds)
        _add(connection, usage_failures, self._failures)
        _add(connection, usage_times, self._times)
        repositories = {
            (period, key, self._labels[key]): count
            for (period, key), count in self._repositories.items()
        }
        _add(connection, usage_repositories, repositories)
        for period, people in self._people.items():
            _add_people(connection, period, people)


@lru_cache(maxsize=16)
def _names_of(day: date) -> tuple[str, ...]:
    """Return the names of the week, the quarter and the year."""
    return tuple(period.name for period in periods_of(day))


def count_launch(
    connection: sa.Connection, launch: Launch, may_name: MayName, *, opened: bool = False
) -> None:
    """Count a launch that has just ended; `opened` if its server ran already."""
    ended = _read_ended(connection, launch, may_name)
    if opened and ended.outcome is LaunchOutcome.READY:
        ended = replace(ended, outcome=LaunchOutcome.OPENED)
    tally = Tally()
    tally.add_launch(ended)
    tally.store(connection)


def count_build(connection: sa.Connection, build: Build) -> None:
    """Count a build that has just ended."""
    tally = Tally()
    tally.add_build(build)
    tally.store(connection)


def _outcome_of_build(build: Build) -> BuildOutcome:
    if build.state is BuildState.BUILT:
        return BuildOutcome.REUSED if build.reused_key else BuildOutcome.BUILT
    return BuildOutcome(build.state)


# --- What a launch started -----------------------------------------------------------------------

_USED = (
    sa.select(
        environments.c.provider,
        environments.c.repo_url,
        environments.c.label,
        environments.c.repository_key,
        builds.c.clone_url,
        builds.c.backend,
        builds.c.host,
    )
    .select_from(environments)
    .outerjoin(
        build_requests,
        sa.and_(
            build_requests.c.environment_id == environments.c.id,
            build_requests.c.number
            == sa.func.coalesce(environments.c.current_number, environments.c.latest_number),
        ),
    )
    .outerjoin(builds, builds.c.id == build_requests.c.build_id)
    .where(environments.c.id == sa.bindparam("id"))
)


def _read_ended(connection: sa.Connection, launch: Launch, may_name: MayName) -> EndedLaunch:
    used = connection.execute(_USED, {"id": launch.environment_id}).one()
    urls = [url for url in (used.repo_url, used.clone_url) if url]
    named = may_name(urls)
    return EndedLaunch(
        at=launch.finished or launch.created,
        user=launch.user,
        outcome=LaunchOutcome(launch.state),
        origin=used.host or used.backend or "",
        provider=used.provider,
        repository_key=used.repository_key if named else "",
        label=used.label if named else "",
        seconds=_seconds(launch),
        with_build=launch.build_id is not None,
        code=launch.reason.code if launch.reason else "",
    )


def _seconds(launch: Launch) -> float | None:
    if launch.finished is None:
        return None
    return max(0.0, (launch.finished - launch.created).total_seconds())


# --- Adding up -----------------------------------------------------------------------------------

_INSERT: Mapping[str, Callable[[sa.Table], Any]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def _add(connection: sa.Connection, table: sa.Table, counts: Mapping[tuple[Any, ...], int]) -> None:
    """Add to a table whose last column is the count; the columns before it are the keys."""
    if not counts:
        return
    *names, count = table.columns.keys()
    insert = _INSERT[connection.dialect.name](table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={count: table.c[count] + insert.excluded[count]},
    )
    rows = [{**dict(zip(names, key, strict=True)), count: n} for key, n in counts.items()]
    for first in range(0, len(rows), _BATCH):
        connection.execute(statement, rows[first : first + _BATCH])


def _add_people(connection: sa.Connection, period: str, people: set[str]) -> None:
    """Remember people by a hash whose key is forgotten with the period."""
    salt = _ensure_salt(connection, period)
    if salt is None:
        return
    rows = [{"period": period, "digest": _digest(salt, name)} for name in people]
    insert = _INSERT[connection.dialect.name](usage_people).on_conflict_do_nothing()
    statement = insert.execution_options(preserve_rowcount=True)
    new = sum(
        connection.execute(statement, rows[first : first + _BATCH]).rowcount
        for first in range(0, len(rows), _BATCH)
    )
    if new:
        connection.execute(
            usage_periods.update()
            .where(usage_periods.c.period == period)
            .values(people=usage_periods.c.people + new)
        )


def _ensure_salt(connection: sa.Connection, period: str) -> str | None:
    """Return the key of a period's hashes; None if the period is closed."""
    query = sa.select(usage_periods.c.salt).where(usage_periods.c.period == period)
    row = connection.execute(query).first()
    if row is not None:
        return row.salt
    salt = secrets.token_hex(16)
    connection.execute(usage_periods.insert(), {"period": period, "salt": salt, "people": 0})
    return salt


def _digest(salt: str, name: str) -> str:
    return hmac.new(salt.encode(), name.encode(errors="replace"), hashlib.sha256).hexdigest()[:32]
