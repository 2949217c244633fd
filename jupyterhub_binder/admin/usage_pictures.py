"""Draws the charts of the report as SVG, because a report is written without a browser. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from jupyterhub_binder.admin.columns import Unit
from jupyterhub_binder.admin.usage_charts import Chart, Series, chart_of
from jupyterhub_binder.admin.usage_tables import UsageTable, Words, cell_text
from jupyterhub_binder.utils.terminal import duration, plain

COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#767676",
)  # fmt: skip
"""Told apart by most people with a colour vision deficiency (after Okabe and Ito)."""

_WIDTH, _HEIGHT = 760, 260
_RIGHT, _TOP, _BOTTOM = _WIDTH - 8, 12, 28
_DIGIT = 7
"""The width of a digit, at most."""
_MAX_TICKS = 5
_STEPS = (1, 2, 5, 10)
_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""Steps of an axis with durations; above these, `_STEPS` of hours."""
_WORDS = Words()


def draw(table: UsageTable) -> str:
    """Return a table's chart as SVG; empty if it has none."""
    chart = chart_of(table)
    if chart is None:
        return ""
    scale = _Scale.of(chart)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" aria-label="{_shown(table.title)}">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        *_axis(scale),
        *_labels(table, scale),
        *(_bars(chart.series, scale) if chart.stacked else _lines(chart.series, scale)),
        "</svg>",
    ]
    return "".join(parts)


def _shown(text: str) -> str:
    """Escape a text; XML allows no control characters."""
    return escape(plain(text))


@dataclass(frozen=True, slots=True)
class _Scale:
    count: int
    left: float
    ticks: tuple[tuple[float, str], ...]
    """Values of the axis with their texts, from 0 to the top."""

    @classmethod
    def of(cls, chart: Chart) -> _Scale:
        columns = list(zip(*(each.values for each in chart.series), strict=True))
        totals = [[value or 0 for value in column] for column in columns]
        largest = max(sum(each) if chart.stacked else max(each) for each in totals)
        step = _round_up(max(largest, 1) / _MAX_TICKS, chart.unit)
        values = [step * number for number in range(max(1, math.ceil(largest / step)) + 1)]
        ticks = tuple(
            (each, duration(each) if chart.unit is Unit.SECONDS else f"{round(each):,}")
            for each in values
        )
        return cls(len(columns), 14 + _DIGIT * max(len(text) for _, text in ticks), ticks)

    @property
    def slot(self) -> float:
        return (_RIGHT - self.left) / self.count

    def middle(self, place: int) -> float:
        return self.left + self.slot * (place + 0.5)

    def y(self, value: float) -> float:
        top, _ = self.ticks[-1]
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _round_up(value: float, unit: Unit) -> float:
    """Return the next of 1, 2, 5, 10, 20 and so on, or of the durations that people round to."""
    if unit is Unit.SECONDS:
        if value <= _SECONDS[-1]:
            return next(each for each in _SECONDS if each >= value)
        return 3600 * _round_up(value / 3600, Unit.COUNT)
    if value <= 1:
        return 1
    size = 10 ** math.floor(math.log10(value))
    return next(each * size for each in _STEPS if each * size >= value)


def _axis(scale: _Scale) -> list[str]:
    return [
        f'<path stroke="#ddd" d="M{scale.left:.1f} {scale.y(value):.1f}H{_RIGHT}"/>'
        f'<text fill="#444" text-anchor="end" x="{scale.left - 6:.1f}" '
        f'y="{scale.y(value) + 4:.1f}">{_shown(text)}</text>'
        for value, text in scale.ticks
    ]


def _labels(table: UsageTable, scale: _Scale) -> list[str]:
    """Name as many columns as have room, among them one of the last."""
    texts = [cell_text(table.columns[0], row[0], _WORDS) for row in table.rows]
    room = _DIGIT * (1 + max(map(len, texts)))
    every = math.ceil(room / scale.slot)
    last = scale.count - 1
    while last > 0 and scale.middle(last) + room / 2 > _WIDTH:
        last -= 1
    return [
        f'<text fill="#444" text-anchor="middle" x="{scale.middle(place):.1f}" '
        f'y="{_HEIGHT - 8}">{_shown(texts[place])}</text>'
        for place in range(last % every, last + 1, every)
    ]


def _bars(series: Sequence[Series], scale: _Scale) -> list[str]:
    found: list[str] = []
    width = min(scale.slot * 0.82, 64)
    below = [0.0] * scale.count
    for each in series:
        path: list[str] = []
        for place, value in enumerate(each.values):
            if not value:
                continue
            top, bottom = scale.y(below[place] + value), scale.y(below[place])
            left = scale.middle(place) - width / 2
            path.append(f"M{left:.1f} {bottom:.1f}V{top:.1f}h{width:.1f}V{bottom:.1f}z")
            below[place] += value
        if path:
            found.append(
                f'<path fill="{COLOURS[each.colour - 1]}" stroke="#fff" stroke-width="0.75" '
                f'd="{"".join(path)}"/>'
            )
    return found


def _lines(series: Sequence[Series], scale: _Scale) -> list[str]:
    found: list[str] = []
    for each in series:
        path, pen = [], "M"
        for place, value in enumerate(each.values):
            if value is None:
                pen = "M"
                continue
            # A point without neighbours is seen, too.
            path.append(f"{pen}{scale.middle(place):.1f} {scale.y(value):.1f}h0.01")
            pen = "L"
        found.append(
            f'<path fill="none" stroke="{COLOURS[each.colour - 1]}" stroke-width="2.5" '
            f'stroke-linecap="round" stroke-linejoin="round" d="{"".join(path)}"/>'
        )
    return found
