"""The JSON objects of usage. See `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from jupyterhub_binder.model.usage import FailedPart
from jupyterhub_binder.web.api.shapes import Count, Number, Seconds, TextLine, shape

PeriodName = Annotated[str, TextLine(10)]


@shape
class UsageQuery:
    """Which period."""

    period: PeriodName = ""
    """A quarter such as 2026Q3, or a year such as 2026; the present quarter if it is empty"""


@shape
class TimesJSON:
    """How long something took; at most 2.5 % off."""

    count: Number
    median_seconds: Seconds
    p95_seconds: Seconds
    """95 of 100 took less"""


@shape
class CauseJSON:
    """Failures of one cause."""

    what: FailedPart | None
    """What failed; null for all other causes together"""
    code: str
    """The id of the rule that explains it, else the error's code"""
    owner: str
    """Who can remove the cause: repository, hub or network; empty if unknown"""
    failures: Count


@shape
class UsageWeekJSON:
    """A complete week, from Monday to Sunday in UTC."""

    week: str
    """Such as 2026-W31"""
    monday: str
    launches: Count
    by_origin: Mapping[str, int]
    people: int | None
    """Who started a server; null if fewer than `min_people`"""
    builds: Mapping[str, int]
    """By how they ended"""
    times: Mapping[str, TimesJSON]
    """`launch` and `launch_with_build`: from the request to the ready server; `build`"""
    failures: tuple[CauseJSON, ...]


@shape
class UsageQuarterJSON:
    """A quarter; the present one until today."""

    quarter: str
    launches: Count
    change: float | None
    """To the quarter before: 0.5 is half more; null if there is nothing to compare"""
    people: int | None


@shape
class UsageProviderJSON:
    """A provider of repositories."""

    provider: str
    """Its prefix"""
    name: str
    launches: Count


@shape
class UsageRepositoryJSON:
    """A repository that anybody can read."""

    label: str
    launches: Count


@shape
class UsageJSON:
    """The usage of a quarter or a year, with the 15 months and quarters until its end.

    A launch that started a server is a session, and counts on the day on which the server was
    ready, in UTC. An origin is the BinderHub that built the environment, else the backend.
    """

    period: str
    first_day: str
    last_day: str
    complete: bool
    """Whether it is over"""
    made: datetime
    launches: Count
    """Sessions"""
    change: float | None
    """To the period before"""
    people: int | None
    """Who started a server; null if fewer than `min_people`"""
    min_people: Number
    outcomes: Mapping[str, int]
    """Launches by how they ended; `opened` found their server running"""
    by_origin: Mapping[str, int]
    providers: tuple[UsageProviderJSON, ...]
    repositories: tuple[UsageRepositoryJSON, ...]
    """The most used ones"""
    repositories_total: Count
    """How many can be named"""
    unnamed_launches: Count
    """Sessions of repositories that may be private"""
    builds: Mapping[str, int]
    build_success: float | None
    """The share of builds that gave an image, without cancelled ones"""
    times: Mapping[str, TimesJSON]
    failures: tuple[CauseJSON, ...]
    """The most frequent ones"""
    weeks: tuple[UsageWeekJSON, ...]
    quarters: tuple[UsageQuarterJSON, ...]


@shape
class UsageReportJSON:
    """A report as files."""

    period: str
    files: Mapping[str, str]
    """The text of each file by its name: `report.md`, its SVG pictures, and `report.json`"""
