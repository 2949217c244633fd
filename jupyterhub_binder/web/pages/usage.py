"""The usage page: charts with their tables, for admins, and for everyone if the admin says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from jupyterhub_binder.admin.columns import Unit
from jupyterhub_binder.admin.usage_charts import CHARTS, Chart, chart_of
from jupyterhub_binder.admin.usage_tables import UsageTable, Words, cell_text, usage_tables
from jupyterhub_binder.model.usage import Timed
from jupyterhub_binder.model.usage_summary import UsageSummary
from jupyterhub_binder.web.api.parse import read_query
from jupyterhub_binder.web.api.shapes.usage import UsageQuery
from jupyterhub_binder.web.api.usage import UsageAccess, fetch_usage, provider_names
from jupyterhub_binder.web.i18n.language import N_, day, number, percent, say
from jupyterhub_binder.web.i18n.language import gettext as _
from jupyterhub_binder.web.pages.base import PageHandler

_WORDS = Words(
    say=say,
    number=number,
    share=percent,
    change=lambda change: percent(change, signed=True),
    day=lambda text: day(date.fromisoformat(text)),
)
_TIMED = {
    Timed.LAUNCH: N_("Time to a ready server"),
    Timed.LAUNCH_WITH_BUILD: N_("Time to a ready server, with a build"),
    Timed.BUILD: N_("Duration of a build"),
}


_MAX_FEW = 12
"""Columns of a narrow chart."""


@dataclass(frozen=True, slots=True)
class UsageView:
    """A table, and its chart if it has one."""

    table: UsageTable
    chart: Chart | None
    rows: list[list[str]]

    @classmethod
    def of(cls, table: UsageTable) -> UsageView:
        """Write a table's cells in the page's language."""
        rows = [
            [
                cell_text(column, value, _WORDS)
                for column, value in zip(table.columns, row, strict=True)
            ]
            for row in table.rows
        ]
        return cls(table, chart_of(table), rows)

    @property
    def drawn(self) -> dict[str, Any]:
        """What the script draws; it reads the texts from the table."""
        assert self.chart is not None
        return {
            "stacked": self.chart.stacked,
            "seconds": self.chart.unit is Unit.SECONDS,
            "series": [
                {"column": each.column, "colour": each.colour, "values": each.values}
                for each in self.chart.series
            ],
        }

    @property
    def few(self) -> bool:
        """Whether the chart is narrow, so that its table fits beside it."""
        return self.chart is not None and len(self.rows) <= _MAX_FEW

    @property
    def folded(self) -> bool:
        """Whether the table is shown on request, because the chart says the same."""
        return self.table.name in CHARTS and self.table.name != "quarters"


async def usage_values(handler: PageHandler) -> dict[str, Any]:
    """Return what the template shows of the period in the handler's query."""
    summary = await fetch_usage(handler, read_query(handler, UsageQuery, form=True))
    tables = usage_tables(summary, provider_names(handler.services.providers))
    return {
        "summary": summary,
        "choices": await handler.services.usage_reports.choices(),
        "views": [UsageView.of(table) for table in tables] if _are_filled(tables) else [],
        "times": _times(summary),
        "words": _WORDS,
    }


def _are_filled(tables: Iterable[UsageTable]) -> bool:
    return any(
        isinstance(cell, int | float) and cell
        for table in tables
        for row in table.rows
        for cell in row
    )


def _times(summary: UsageSummary) -> list[tuple[str, Any]]:
    return [
        (_(label), summary.times[what]) for what, label in _TIMED.items() if what in summary.times
    ]


class PublicUsagePage(UsageAccess, PageHandler):
    """``/usage``."""

    async def get(self) -> None:
        """Show the usage of a period."""
        self.render_page(
            "usage.html",
            page_title=_("Usage"),
            here=f"{self.prefix}usage",
            nav="usage",
            **await usage_values(self),
        )
