"""Usage of the hub: periods, counts, and what a report says. Days are UTC's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

_WEEK = timedelta(days=7)
_NAME = re.compile(r"(\d{4})(?:-?(Q[1-4]|W\d\d))?")


class PeriodKind(StrEnum):
    """How long a period is."""

    WEEK = "week"
    """Monday to Sunday."""
    QUARTER = "quarter"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Period:
    """A week, a quarter or a year."""

    kind: PeriodKind
    first: date

    @property
    def end(self) -> date:
        """The day after the last one."""
        if self.kind is PeriodKind.WEEK:
            return self.first + _WEEK
        if self.kind is PeriodKind.YEAR:
            return date(self.first.year + 1, 1, 1)
        month = self.first.month + 3
        return date(self.first.year + month // 13, (month - 1) % 12 + 1, 1)

    @property
    def name(self) -> str:
        """``2026-W31``, ``2026Q3`` or ``2026``."""
        if self.kind is PeriodKind.WEEK:
            year, week, _ = self.first.isocalendar()
            return f"{year}-W{week:02}"
        if self.kind is PeriodKind.YEAR:
            return f"{self.first.year}"
        return f"{self.first.year}Q{(self.first.month + 2) // 3}"

    @property
    def before(self) -> Period:
        """The period before."""
        return period_of(self.kind, self.first - timedelta(days=1))


def period_of(kind: PeriodKind, day: date) -> Period:
    """Return the period with a day."""
    if kind is PeriodKind.WEEK:
        return Period(kind, day - timedelta(days=day.weekday()))
    if kind is PeriodKind.YEAR:
        return Period(kind, date(day.year, 1, 1))
    return Period(kind, date(day.year, (day.month - 1) // 3 * 3 + 1, 1))


def periods_of(day: date) -> tuple[Period, ...]:
    """Return the week, the quarter and the year of a day."""
    return tuple(period_of(kind, day) for kind in PeriodKind)


def periods_between(kind: PeriodKind, first: date, end: date) -> Iterator[Period]:
    """Yield the periods with the days from `first` to the day before `end`, oldest first."""
    period = period_of(kind, first)
    while period.first < end:
        yield period
        period = Period(kind, period.end)


def read_period(name: str) -> Period:
    """Read what `Period.name` writes; lower case is fine. Raises ValueError."""
    found = _NAME.fullmatch(name.strip().upper())
    if found is None or not 1970 <= int(found[1]) < 9999:
        raise ValueError(name)
    year, part = int(found[1]), found[2] or ""
    if part.startswith("W"):
        return Period(PeriodKind.WEEK, date.fromisocalendar(year, int(part[1:]), 1))
    if part:
        return Period(PeriodKind.QUARTER, date(year, int(part[1:]) * 3 - 2, 1))
    return Period(PeriodKind.YEAR, date(year, 1, 1))


class LaunchOutcome(StrEnum):
    """What became of a request to start a server."""

    READY = "ready"
    """A server was started: a session."""
    OPENED = "opened"
    """The server ran already."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class BuildOutcome(StrEnum):
    """What became of a build."""

    BUILT = "built"
    REUSED = "reused"
    """An earlier build had made the image from the same recipe."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class Timed(StrEnum):
    """What is timed."""

    LAUNCH = "launch"
    """From a request to the ready server, without a build."""
    LAUNCH_WITH_BUILD = "launch_with_build"
    """The same, for requests that waited for a build."""
    BUILD = "build"
    """A build that made an image, from its begin to its end."""


class FailedPart(StrEnum):
    """What failed."""

    LAUNCH = "launch"
    BUILD = "build"


@dataclass(frozen=True, slots=True)
class DayLaunches:
    """The launches of a day."""

    day: date
    origin: str
    """The BinderHub that built the environment, else the backend; empty if unknown."""
    outcome: LaunchOutcome
    launches: int


@dataclass(frozen=True, slots=True)
class DayBuilds:
    """The builds of a day."""

    day: date
    outcome: BuildOutcome
    builds: int


@dataclass(frozen=True, slots=True)
class DayFailures:
    """The failures of a day that have one cause."""

    day: date
    what: FailedPart
    code: str
    """The id of the rule that explains it, else the error's code."""
    owner: str
    """As `model.failures.Owner`; empty if nobody knows."""
    failures: int


@dataclass(frozen=True, slots=True)
class RepositoryLaunches:
    """The sessions of a repository in a period."""

    key: str
    """As `repository_key`; empty for all that have no public name."""
    label: str
    launches: int


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took in a period, from a histogram."""

    count: int
    median_seconds: float
    p95_seconds: float
