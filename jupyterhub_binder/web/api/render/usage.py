"""Converts usage to JSON and CSV. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from jupyterhub_binder.admin.usage_tables import Providers, UsageTable
from jupyterhub_binder.model.usage import Timed, Times
from jupyterhub_binder.model.usage_summary import OTHERS, Cause, UsageSummary, WeekUsage
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.api.render.admin import write_csv
from jupyterhub_binder.web.api.shapes.usage import (
    CauseJSON,
    TimesJSON,
    UsageJSON,
    UsageProviderJSON,
    UsageQuarterJSON,
    UsageRepositoryJSON,
    UsageWeekJSON,
)


def render_usage(summary: UsageSummary, providers: Providers) -> UsageJSON:
    """Render a summary; `providers` are names by prefix."""
    period = summary.period
    return UsageJSON(
        period=period.name,
        first_day=period.first.isoformat(),
        last_day=(period.end - timedelta(days=1)).isoformat(),
        complete=summary.complete,
        made=utc_now(),
        launches=summary.launches,
        change=_rounded(summary.change),
        people=summary.people,
        min_people=summary.min_people,
        outcomes=_plain(summary.outcomes),
        by_origin=_origins(summary.by_origin),
        providers=tuple(
            UsageProviderJSON(provider=prefix, name=providers.get(prefix, prefix), launches=count)
            for prefix, count in summary.providers
        ),
        repositories=tuple(
            UsageRepositoryJSON(label=each.label, launches=each.launches)
            for each in summary.repositories
        ),
        repositories_total=summary.repositories_total,
        unnamed_launches=summary.unnamed_launches,
        builds=_plain(summary.builds),
        build_success=_rounded(summary.build_success),
        times=_times(summary.times),
        failures=tuple(_cause(cause, count) for cause, count in summary.failures),
        weeks=tuple(map(_week, summary.weeks)),
        quarters=tuple(
            UsageQuarterJSON(
                quarter=each.quarter.name,
                launches=each.launches,
                change=_rounded(each.change),
                people=each.people,
            )
            for each in summary.quarters
        ),
    )


def table_csv(table: UsageTable) -> str:
    """Render a table as CSV, safe from spreadsheet formulas. The titles are in English."""
    titles = [
        str(column.title) if column.name.partition("_")[2].isdigit() else column.name
        for column in table.columns
    ]
    return write_csv(titles, table.rows)


def _week(week: WeekUsage) -> UsageWeekJSON:
    return UsageWeekJSON(
        week=week.week.name,
        monday=week.week.first.isoformat(),
        launches=week.total,
        by_origin=_origins(week.launches),
        people=week.people,
        builds=_plain(week.builds),
        times=_times(week.times),
        failures=tuple(_cause(cause, count) for cause, count in week.failures.items() if count),
    )


def _origins(counts: Mapping[str, int]) -> dict[str, int]:
    names = {OTHERS: "(others)", "": "(unknown)"}
    return {names.get(origin, origin): count for origin, count in counts.items()}


def _times(times: Mapping[Timed, Times]) -> dict[str, TimesJSON]:
    return {
        str(what): TimesJSON(
            count=each.count,
            median_seconds=round(each.median_seconds, 3),
            p95_seconds=round(each.p95_seconds, 3),
        )
        for what, each in times.items()
    }


def _cause(cause: Cause | str, count: int) -> CauseJSON:
    if not isinstance(cause, Cause):
        return CauseJSON(what=None, code="", owner="", failures=count)
    return CauseJSON(what=cause.what, code=cause.code, owner=cause.owner, failures=count)


def _plain(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(key): count for key, count in counts.items()}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
