"""Summaries of usage: who may read them, what is left out, and how long answers are kept."""

from __future__ import annotations

import asyncio
import time
from datetime import date, timedelta
from typing import Any

from traitlets import Bool, Float, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.usage_summary import Counted, Scope, summarise
from jupyterhub_binder.errors import InvalidInput, NotAllowed
from jupyterhub_binder.model import User
from jupyterhub_binder.model.usage import (
    Period,
    PeriodKind,
    period_of,
    periods_between,
    read_period,
)
from jupyterhub_binder.model.usage_summary import UsageSummary
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.concurrency import SingleFlight
from jupyterhub_binder.utils.time import utc_now

MAX_REPOSITORIES = 50
_MAX_CHOICES = 40
"""Quarters and years to choose from."""


class UsageReports(LoggingConfigurable):
    """Summaries for administrators, and for everyone if an administrator says so."""

    public = Bool(
        False,
        help="""
        Whether anybody can read the usage page and its data, without logging in. It names no
        person, and no repository that may be private (see `Providers.public_hosts`). Default: False.
        """,
    ).tag(config=True)
    min_people = Integer(
        5,
        min=1,
        help="""
        Smaller numbers of people are not shown: the page says "fewer than 5". Default: 5.
        """,
    ).tag(config=True)
    public_cache_seconds = Float(
        300,
        min=0,
        help="""
        How long people who are not administrators get the same answer, in seconds, so that many
        readers cost no more than one. Default: 300.
        """,
    ).tag(config=True)

    def __init__(self, *, store: Store, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._kept: dict[Period, tuple[float, UsageSummary]] = {}
        self._flights: SingleFlight[Period, UsageSummary] = SingleFlight()

    def require(self, user: User | None) -> None:
        """Raise NotAllowed for a person who may not read usage."""
        if not self.public and (user is None or not user.admin):
            raise NotAllowed("Only administrators may see the usage of this hub.")

    async def choices(self) -> tuple[Period, ...]:
        """Return the quarters and years with usage, newest first."""
        today = utc_now().date()
        first = await self._store.fetch_first_usage_day() or today
        found = [
            period
            for kind in (PeriodKind.QUARTER, PeriodKind.YEAR)
            for period in periods_between(kind, min(first, today), today + timedelta(days=1))
        ]
        newest = sorted(found, key=lambda period: (period.end, period.first), reverse=True)
        return tuple(newest[:_MAX_CHOICES])

    async def choose(self, name: str) -> Period:
        """Read a period's name; empty is the present quarter. Raises InvalidInput."""
        if not name:
            return period_of(PeriodKind.QUARTER, utc_now().date())
        try:
            period = read_period(name)
        except ValueError:
            raise InvalidInput(
                "“%(period)s” is neither a quarter, such as 2026Q3, nor a year, such as 2026.",
                period=name[:20],
                detail={"field": "period"},
            ) from None
        choices = await self.choices()
        if period not in choices:
            quarters = [each.name for each in choices if each.kind is PeriodKind.QUARTER]
            raise InvalidInput(
                "This hub has no usage in %(period)s. It has usage from %(first)s to %(last)s.",
                period=period.name,
                first=quarters[-1],
                last=quarters[0],
                detail={"field": "period"},
            )
        return period

    async def fetch(self, period: Period, user: User | None) -> UsageSummary:
        """Return a summary; to others than administrators, perhaps an earlier one."""
        if user is not None and user.admin:
            return await self._fetch(period)
        expires, summary = self._kept.get(period, (0.0, None))
        if summary is not None and time.monotonic() < expires:
            return summary
        summary = await self._flights.do(period, lambda: self._fetch(period))
        if len(self._kept) >= _MAX_CHOICES:
            self._kept.clear()
        self._kept[period] = (time.monotonic() + self.public_cache_seconds, summary)
        return summary

    async def _fetch(self, period: Period) -> UsageSummary:
        today = utc_now().date()
        store = self._store
        scope = await self._scope(period, today)
        launches, providers, builds, failures = await asyncio.gather(
            store.list_launches_by_day(scope.first, scope.end),
            store.count_by_provider(period.first, period.end),
            store.list_builds_by_day(scope.first, scope.end),
            store.list_failures_by_day(scope.first, scope.end),
        )
        people, times, top = await asyncio.gather(
            store.count_people_by_period((*scope.weeks, *scope.quarters, period)),
            store.list_times((*scope.weeks, period)),
            store.list_top_repositories(period, limit=MAX_REPOSITORIES),
        )
        counted = Counted(launches, providers, builds, failures, people, times, top)
        return summarise(scope, counted, min_people=self.min_people)

    async def _scope(self, period: Period, today: date) -> Scope:
        return Scope.around(period, today, await self._store.fetch_first_usage_day() or today)
