"""Turns counts into what the usage page and a report say. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self, TypeVar

from jupyterhub_binder.model.usage import (
    BuildOutcome,
    DayBuilds,
    DayFailures,
    DayLaunches,
    LaunchOutcome,
    Period,
    PeriodKind,
    Timed,
    Times,
    period_of,
)
from jupyterhub_binder.model.usage_summary import (
    OTHERS,
    Cause,
    QuarterUsage,
    UsageSummary,
    WeekUsage,
)
from jupyterhub_binder.store.usage import TopRepositories

K = TypeVar("K")
D = TypeVar("D", DayLaunches, DayBuilds, DayFailures)

WEEKS = 65
"""15 months."""
QUARTERS = 8
_MAX_SERIES = 7
"""In a chart, besides the rest."""
_MAX_FAILURES = 30


@dataclass(frozen=True, slots=True)
class Scope:
    """Which days are read for a period."""

    period: Period
    today: date
    weeks: tuple[Period, ...]
    quarters: tuple[Period, ...]
    counted_from: date
    """The first day with usage."""

    @classmethod
    def around(cls, period: Period, today: date, counted_from: date) -> Self:
        """Choose the complete weeks and the quarters until a period's end."""
        last = min(period.end - timedelta(days=1), today)
        newest = period_of(PeriodKind.WEEK, last)
        if newest.end > today:
            newest = newest.before
        weeks = _until(newest, WEEKS, counted_from)
        quarters = _until(period_of(PeriodKind.QUARTER, last), QUARTERS, counted_from)
        return cls(period, today, weeks, quarters, counted_from)

    @property
    def first(self) -> date:
        """The first day to read."""
        begins = [self.period.before.first]
        begins += [each[0].before.first for each in (self.weeks, self.quarters) if each]
        return min(begins)

    @property
    def end(self) -> date:
        """The day after the last one to read."""
        return max([self.period.end, *(week.end for week in self.weeks[-1:])])


def _until(newest: Period, count: int, first: date) -> tuple[Period, ...]:
    found: list[Period] = []
    while len(found) < count and newest.end > first:
        found.append(newest)
        newest = newest.before
    return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Counted:
    """What the store has counted for a scope."""

    launches: Sequence[DayLaunches]
    providers: Mapping[str, int]
    builds: Sequence[DayBuilds]
    failures: Sequence[DayFailures]
    people: Mapping[Period, int]
    times: Mapping[tuple[Period, Timed], Times]
    top: TopRepositories


def summarise(scope: Scope, counted: Counted, *, min_people: int) -> UsageSummary:
    """Summarise a period."""
    sessions = [each for each in counted.launches if each.outcome is LaunchOutcome.READY]
    period = scope.period
    of_period = _within(counted.launches, period)
    started = [each for each in of_period if each.outcome is LaunchOutcome.READY]
    people = {key: n if n >= min_people else None for key, n in counted.people.items()}
    failures = _within(counted.failures, period)
    origins = _largest(_sum((each.origin, each.launches) for each in sessions))
    causes = _largest(_sum((_cause(each), each.failures) for each in counted.failures))
    return UsageSummary(
        period=period,
        today=scope.today,
        origins=origins,
        weeks=_weeks(scope, counted, sessions, origins, causes, people),
        quarters=_quarters(scope, sessions, people),
        outcomes=_sum((each.outcome, each.launches) for each in of_period),
        by_origin=_grouped(_sum((each.origin, each.launches) for each in started), origins),
        providers=tuple(counted.providers.items()),
        repositories=counted.top.items,
        repositories_total=counted.top.total,
        unnamed_launches=counted.top.unnamed_launches,
        people=people.get(period),
        min_people=min_people,
        builds=_sum((each.outcome, each.builds) for each in _within(counted.builds, period)),
        times=_times_of(counted.times, period),
        causes=causes,
        failures=tuple(
            _sum((_cause(each), each.failures) for each in failures).most_common(_MAX_FAILURES)
        ),
        before=_before(scope, sessions, period),
    )


def _weeks(
    scope: Scope,
    counted: Counted,
    sessions: Iterable[DayLaunches],
    origins: Sequence[str],
    causes: Sequence[Cause | str],
    people: Mapping[Period, int | None],
) -> tuple[WeekUsage, ...]:
    launches: defaultdict[date, Counter[str]] = defaultdict(Counter)
    builds: defaultdict[date, Counter[BuildOutcome]] = defaultdict(Counter)
    failures: defaultdict[date, Counter[Cause]] = defaultdict(Counter)
    for each in sessions:
        launches[_monday(each.day)][each.origin] += each.launches
    for each in counted.builds:
        builds[_monday(each.day)][each.outcome] += each.builds
    for each in counted.failures:
        failures[_monday(each.day)][_cause(each)] += each.failures
    return tuple(
        WeekUsage(
            week=week,
            launches=_grouped(launches[week.first], origins),
            people=people.get(week),
            builds=builds[week.first],
            times=_times_of(counted.times, week),
            failures=_grouped(failures[week.first], causes),
        )
        for week in scope.weeks
    )


def _quarters(
    scope: Scope, sessions: Sequence[DayLaunches], people: Mapping[Period, int | None]
) -> tuple[QuarterUsage, ...]:
    by_month = _sum((each.day.replace(day=1), each.launches) for each in sessions)
    totals = _sum((period_of(PeriodKind.QUARTER, month), n) for month, n in by_month.items())
    return tuple(
        QuarterUsage(
            quarter,
            totals[quarter],
            people.get(quarter),
            totals[quarter.before] if _is_comparable(scope, quarter) else None,
        )
        for quarter in scope.quarters
    )


def _is_comparable(scope: Scope, quarter: Period) -> bool:
    return scope.counted_from < quarter.first and quarter.end <= scope.today


def _before(scope: Scope, sessions: Iterable[DayLaunches], period: Period) -> int | None:
    if period.first <= scope.counted_from:
        return None
    before = period.before
    return sum(each.launches for each in sessions if before.first <= each.day < period.first)


def _times_of(times: Mapping[tuple[Period, Timed], Times], period: Period) -> dict[Timed, Times]:
    return {what: times[period, what] for what in Timed if (period, what) in times}


def _cause(failures: DayFailures) -> Cause:
    return Cause(failures.what, failures.code, failures.owner)


def _largest(totals: Counter[K]) -> tuple[K | str, ...]:
    """Return the keys with the largest totals; `OTHERS` at the end stands for further ones."""
    largest = [key for key, _ in totals.most_common(_MAX_SERIES)]
    return (*largest, OTHERS) if len(totals) > len(largest) else tuple(largest)


def _grouped(counts: Mapping[K, int], keys: Sequence[K | str]) -> dict[K | str, int]:
    """Return the counts of the keys in their order, and of all others together."""
    found: dict[K | str, int] = {key: counts.get(key, 0) for key in keys if key != OTHERS}  # type: ignore[arg-type]
    if OTHERS in keys:
        found[OTHERS] = sum(counts.values()) - sum(found.values())
    return found


def _sum(counts: Iterable[tuple[K, int]]) -> Counter[K]:
    total: Counter[K] = Counter()
    for key, count in counts:
        total[key] += count
    return total


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _within(counts: Sequence[D], period: Period) -> list[D]:
    """Return what is counted in a period."""
    first, end = period.first, period.end
    return [each for each in counts if first <= each.day < end]
