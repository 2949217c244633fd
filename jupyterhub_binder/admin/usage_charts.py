"""Which tables of usage have a chart, and what it shows: for the page and the report alike. Pure.

A browser draws the page's charts; `usage_pictures` draws those of the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jupyterhub_binder.admin.columns import Unit
from jupyterhub_binder.admin.usage_tables import UsageTable
from jupyterhub_binder.model.text import Message

_BARS = ("launches", "quarters", "builds", "failures")
_LINES = ("people", "durations", "times", "timeswithbuild")
CHARTS: Sequence[str] = (*_BARS, *_LINES)
"""The tables that have a chart."""

COLOURS = 8
_COLOUR_OF = {"built": 1, "reused": 3, "failed": 6, "cancelled": 8}
"""Colours that say what a column is; others go by their order."""
_LEFT_OUT = {"total", "change", "people"}


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart."""

    title: Message
    column: int
    """The index of its column in the table."""
    colour: int
    """From 1 to `COLOURS`."""
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn of a table."""

    stacked: bool
    """Bars on top of each other; otherwise lines."""
    unit: Unit
    """Of all values."""
    series: tuple[Series, ...]


def chart_of(table: UsageTable) -> Chart | None:
    """Return a table's chart; None if it has none, or shows nothing but zeros."""
    if table.name not in CHARTS:
        return None
    series = tuple(_series(table))
    if not any(value for each in series for value in each.values):
        return None
    return Chart(table.name in _BARS, table.columns[series[0].column].unit, series)


def _series(table: UsageTable) -> list[Series]:
    drawn = [
        index
        for index, column in enumerate(table.columns)
        if index and (column.name not in _LEFT_OUT or table.name == "people")
    ]
    return [
        Series(
            table.columns[index].title,
            index,
            _COLOUR_OF.get(table.columns[index].name, number % COLOURS + 1),
            tuple(_number(row[index]) for row in table.rows),
        )
        for number, index in enumerate(drawn)
    ]


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
