"""What the usage page and a report say of a quarter or a year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from jupyterhub_binder.model.usage import (
    BuildOutcome,
    FailedPart,
    LaunchOutcome,
    Period,
    RepositoryLaunches,
    Timed,
    Times,
)

OTHERS = "\0others"
"""Stands for the origins or causes that are too many to show."""


class Cause(NamedTuple):
    """What a failure was."""

    what: FailedPart
    code: str
    """As in `DayFailures`."""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class WeekUsage:
    """A complete week."""

    week: Period
    launches: Mapping[str, int]
    """Sessions by origin; `OTHERS` has the rest."""
    people: int | None
    """None if too few to tell."""
    builds: Mapping[BuildOutcome, int]
    times: Mapping[Timed, Times]
    failures: Mapping[Cause | str, int]
    """By cause; `OTHERS` has the rest."""

    @property
    def total(self) -> int:
        """All sessions."""
        return sum(self.launches.values())


@dataclass(frozen=True, slots=True)
class QuarterUsage:
    """A quarter; the present one until today."""

    quarter: Period
    launches: int
    people: int | None
    """None if too few to tell."""
    before: int | None
    """Sessions of the quarter before; None if the hub did not count then, or this one goes on."""

    @property
    def change(self) -> float | None:
        """The change to the quarter before: 0.5 for half more. None if there is nothing to compare."""
        return self.launches / self.before - 1 if self.before else None


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """The usage of a period, with the weeks and quarters around it."""

    period: Period
    today: date
    origins: tuple[str, ...]
    """In the order in which charts stack them, the largest first."""
    weeks: tuple[WeekUsage, ...]
    """Complete weeks, oldest first."""
    quarters: tuple[QuarterUsage, ...]
    """Oldest first."""
    outcomes: Mapping[LaunchOutcome, int]
    by_origin: Mapping[str, int]
    """Sessions of the period; largest first, `OTHERS` last."""
    providers: tuple[tuple[str, int], ...]
    """Prefixes with their sessions, the largest first."""
    repositories: tuple[RepositoryLaunches, ...]
    repositories_total: int
    """How many have a public name."""
    unnamed_launches: int
    people: int | None
    """None if too few to tell."""
    min_people: int
    builds: Mapping[BuildOutcome, int]
    times: Mapping[Timed, Times]
    causes: tuple[Cause | str, ...]
    """In the order in which charts stack them; may end with `OTHERS`."""
    failures: tuple[tuple[Cause, int], ...]
    """Of the period, the most frequent first."""
    before: int | None
    """Sessions of the period before; None if the hub did not count then."""

    @property
    def launches(self) -> int:
        """Sessions in the period."""
        return self.outcomes.get(LaunchOutcome.READY, 0)

    @property
    def change(self) -> float | None:
        """As in `QuarterUsage`, for the period."""
        return self.launches / self.before - 1 if self.before else None

    @property
    def complete(self) -> bool:
        """Whether the period is over."""
        return self.period.end <= self.today

    @property
    def build_success(self) -> float | None:
        """The share of builds that made or found an image; None without any that ended by itself."""
        good = self.builds.get(BuildOutcome.BUILT, 0) + self.builds.get(BuildOutcome.REUSED, 0)
        ended = good + self.builds.get(BuildOutcome.FAILED, 0)
        return good / ended if ended else None
