"""The tables of usage, for the page, CSV and the report alike. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jupyterhub_binder.admin.columns import Column, Unit
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.usage import BuildOutcome, FailedPart, Timed, Times
from jupyterhub_binder.model.usage_summary import OTHERS, Cause, UsageSummary
from jupyterhub_binder.utils.terminal import duration

Cell = str | int | float | None

_OUTCOMES: Mapping[BuildOutcome, Message] = {
    BuildOutcome.BUILT: Message("Built"),
    BuildOutcome.REUSED: Message("Image reused"),
    BuildOutcome.FAILED: Message("Failed"),
    BuildOutcome.CANCELLED: Message("Cancelled"),
}
_PARTS: Mapping[FailedPart, Message] = {
    FailedPart.BUILD: Message("Build"),
    FailedPart.LAUNCH: Message("Launch"),
}
_OWNERS: Mapping[str, Message] = {
    "repository": Message("the repository"),
    "hub": Message("this hub"),
    "network": Message("the network"),
}


@dataclass(frozen=True, slots=True)
class UsageTable:
    """A table; `rows` have a cell for each column, None where nothing is told."""

    name: str
    title: Message
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


Providers = Mapping[str, str]
"""Names for people by prefix."""


@dataclass(frozen=True, slots=True)
class Words:
    """How texts and numbers are said."""

    say: Callable[[str], str] = str
    number: Callable[[int], str] = "{:,}".format
    duration: Callable[[float], str] = duration
    share: Callable[[float], str] = "{:.1%}".format
    change: Callable[[float], str] = "{:+.1%}".format
    day: Callable[[str], str] = str
    """From ISO 8601."""


def cell_text(column: Column, value: object, words: Words) -> str:
    """Write a cell for people; empty if it is not told."""
    if value is None:
        return ""
    if isinstance(value, str):
        return words.day(value) if column.unit is Unit.DAY else words.say(value)
    if not isinstance(value, int | float):
        return str(value)
    if column.unit is Unit.SECONDS:
        return words.duration(value)
    if column.unit is Unit.SHARE:
        return words.share(value)
    if column.unit is Unit.CHANGE:
        return words.change(value)
    return words.number(int(value))


def name_origin(origin: str) -> str:
    """Return an origin's name for people."""
    if origin == OTHERS:
        return Message("others")
    return Message.verbatim(origin) if origin else Message("unknown")


def name_cause(cause: Cause | str) -> str:
    """Return a cause's name for people."""
    if not isinstance(cause, Cause):
        return Message("others")
    if cause.what is FailedPart.LAUNCH:
        return Message("launch: %(code)s", code=cause.code)
    return Message("build: %(code)s", code=cause.code)


def _launches(summary: UsageSummary, _: Providers) -> UsageTable:
    origins = [
        Column(f"origin_{number}", Message.verbatim(name_origin(origin)), Unit.COUNT)
        for number, origin in enumerate(summary.origins, 1)
    ]
    return UsageTable(
        "launches",
        Message("Sessions by week"),
        (_WEEK, *origins, Column("total", Message("All"), Unit.COUNT)),
        tuple(
            (each.week.first.isoformat(), *each.launches.values(), each.total)
            for each in summary.weeks
        ),
    )


def _quarters(summary: UsageSummary, _: Providers) -> UsageTable:
    return UsageTable(
        "quarters",
        Message("Sessions by quarter"),
        (
            Column("quarter", Message("Quarter")),
            Column("launches", Message("Sessions"), Unit.COUNT),
            Column("change", Message("Change"), Unit.CHANGE),
            Column("people", Message("People"), Unit.COUNT),
        ),
        tuple(
            (each.quarter.name, each.launches, each.change, each.people)
            for each in summary.quarters
        ),
    )


def _repositories(summary: UsageSummary, _: Providers) -> UsageTable:
    columns = (
        Column("repository", Message("Repository")),
        Column("launches", Message("Sessions"), Unit.COUNT),
    )
    rows: list[tuple[Cell, ...]] = [(each.label, each.launches) for each in summary.repositories]
    rest = summary.launches - summary.unnamed_launches - sum(int(row[1] or 0) for row in rows)
    if rest > 0:
        rows.append((Message("all other repositories"), rest))
    if summary.unnamed_launches:
        rows.append((Message("repositories that are not named"), summary.unnamed_launches))
    return UsageTable("repositories", Message("Top repositories"), columns, tuple(rows))


def _providers(summary: UsageSummary, names: Providers) -> UsageTable:
    columns = (
        Column("provider", Message("Provider")),
        Column("launches", Message("Sessions"), Unit.COUNT),
        Column("share", Message("Share of sessions"), Unit.SHARE),
    )
    rows = tuple(
        (names.get(prefix, prefix), count, count / summary.launches)
        for prefix, count in summary.providers
    )
    return UsageTable("providers", Message("Providers"), columns, rows)


def _people(summary: UsageSummary, _: Providers) -> UsageTable:
    return UsageTable(
        "people",
        Message("People by week"),
        (_WEEK, Column("people", Message("People"), Unit.COUNT)),
        tuple((each.week.first.isoformat(), each.people) for each in summary.weeks),
    )


def _builds(summary: UsageSummary, _: Providers) -> UsageTable:
    outcomes = [Column(str(each), title, Unit.COUNT) for each, title in _OUTCOMES.items()]
    return UsageTable(
        "builds",
        Message("Builds by week"),
        (_WEEK, *outcomes),
        tuple(
            (each.week.first.isoformat(), *(each.builds.get(what, 0) for what in _OUTCOMES))
            for each in summary.weeks
        ),
    )


def _times(summary: UsageSummary, _: Providers) -> UsageTable:
    title = Message("Time to a ready server without a build, by week")
    return _percentiles("times", title, summary, Timed.LAUNCH)


def _times_with_build(summary: UsageSummary, _: Providers) -> UsageTable:
    title = Message("Time to a ready server with a build, by week")
    return _percentiles("timeswithbuild", title, summary, Timed.LAUNCH_WITH_BUILD)


def _durations(summary: UsageSummary, _: Providers) -> UsageTable:
    title = Message("Duration of builds, by week")
    return _percentiles("durations", title, summary, Timed.BUILD)


def _percentiles(name: str, title: Message, summary: UsageSummary, what: Timed) -> UsageTable:
    return UsageTable(
        name,
        title,
        (
            _WEEK,
            Column("median", Message("Median"), Unit.SECONDS),
            Column("p95", Message("95th percentile"), Unit.SECONDS),
        ),
        tuple(
            (each.week.first.isoformat(), *_pair(each.times.get(what))) for each in summary.weeks
        ),
    )


def _failures(summary: UsageSummary, _: Providers) -> UsageTable:
    causes = [
        Column(f"cause_{number}", Message.verbatim(name_cause(cause)), Unit.COUNT)
        for number, cause in enumerate(summary.causes, 1)
    ]
    return UsageTable(
        "failures",
        Message("Failures by week"),
        (_WEEK, *causes),
        tuple((each.week.first.isoformat(), *each.failures.values()) for each in summary.weeks),
    )


def _causes(summary: UsageSummary, _: Providers) -> UsageTable:
    columns = (
        Column("cause", Message("Cause")),
        Column("failures", Message("Failures"), Unit.COUNT),
        Column("what", Message("What failed")),
        Column("owner", Message("Where the cause is")),
    )
    rows = tuple(
        (cause.code, count, _PARTS[cause.what], _OWNERS.get(cause.owner, ""))
        for cause, count in summary.failures
    )
    return UsageTable("causes", Message("Most frequent failures"), columns, rows)


_WEEK = Column("week", Message("Week from"), Unit.DAY)
_TABLES: Mapping[str, Callable[[UsageSummary, Providers], UsageTable]] = {
    "launches": _launches,
    "quarters": _quarters,
    "repositories": _repositories,
    "providers": _providers,
    "people": _people,
    "builds": _builds,
    "durations": _durations,
    "times": _times,
    "timeswithbuild": _times_with_build,
    "failures": _failures,
    "causes": _causes,
}
TABLE_NAMES: Sequence[str] = tuple(_TABLES)


def usage_table(name: str, summary: UsageSummary, providers: Providers) -> UsageTable:
    """Return one of `TABLE_NAMES`; `providers` are names by prefix."""
    return _TABLES[name](summary, providers)


def usage_tables(summary: UsageSummary, providers: Providers) -> Sequence[UsageTable]:
    """Return all tables."""
    return [usage_table(name, summary, providers) for name in TABLE_NAMES]


def _pair(times: Times | None) -> tuple[float | None, float | None]:
    if times is None:
        return None, None
    return round(times.median_seconds, 2), round(times.p95_seconds, 2)
