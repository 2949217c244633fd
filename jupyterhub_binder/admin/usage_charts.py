"""Draws tables of usage as SVG: stacked bars for counts, lines for times and people. Pure.

The pictures stand alone in a report, and take a page's colours where its style names their classes.
The service draws them itself, because a report needs the same pictures without a browser, and so
the page works without scripts and ships no third-party code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from jupyterhub_binder.admin.columns import Column, Unit
from jupyterhub_binder.admin.usage_tables import UsageTable
from jupyterhub_binder.utils.terminal import duration, plain

COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#767676",
)  # fmt: skip
"""Told apart by most people with a colour vision deficiency (after Okabe and Ito)."""

BARS = ("launches", "quarters", "builds", "failures")
LINES = ("people", "durations", "times", "timeswithbuild")
CHARTS: Sequence[str] = (*BARS, *LINES)
"""The tables that are drawn."""

MAX_FEW = 12
"""Columns of a narrow chart, which fits a phone."""
_NARROW, _WIDE, _HEIGHT = 440, 760, 260
_RIGHT, _TOP, _BOTTOM = 8, 12, 28
_MIN_LEFT = 52
_CHARACTER = 9.5
"""Width of a digit; pages write larger on phones."""
_MAX_TICKS = 5
_STEPS = (1, 2, 5, 10)
_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
"""Steps of an axis with durations; above these, `_STEPS` of hours."""
_LEFT_OUT = {"total", "change", "people"}
_COLOUR_OF = {"built": 1, "reused": 3, "failed": 6, "cancelled": 8}
"""Colours that say what a column is; others go by their order."""


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


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart."""

    title: str
    colour: int
    """The number of its colour and class, from 1."""
    values: tuple[float | None, ...]


def draw(table: UsageTable, words: Words = Words()) -> str:
    """Return a table's chart as SVG; empty if there is nothing but zeros."""
    series = series_of(table, words)
    if not any(value for each in series for value in each.values):
        return ""
    stacked = table.name in BARS
    unit = next(column.unit for column in _drawn(table))
    scale = _Scale.of(series, unit, words, stacked=stacked, count=len(table.rows))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {scale.width} {_HEIGHT}" role="img" '
        f'class="b-chart" font-family="sans-serif" font-size="12" '
        f'aria-label="{_shown(words.say(table.title))}">',
        f'<rect class="b-paper" width="{scale.width}" height="{_HEIGHT}" fill="#fff"/>',
        *_grid(scale),
        *_labels(table, scale, words),
        *(_bars(series, scale) if stacked else _lines(series, scale)),
        *_axis(scale),
        *_columns(table, scale, words),
        "</svg>",
    ]
    return "".join(parts)


def series_of(table: UsageTable, words: Words = Words()) -> list[Series]:
    """Return what is drawn of a table."""
    places = {column.name: place for place, column in enumerate(table.columns)}
    return [
        Series(
            words.say(column.title),
            _COLOUR_OF.get(column.name, number % len(COLOURS) + 1),
            tuple(_number(row[places[column.name]]) for row in table.rows),
        )
        for number, column in enumerate(_drawn(table))
    ]


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


def _drawn(table: UsageTable) -> list[Column]:
    _, *columns = table.columns
    if table.name == "people":
        return columns
    return [column for column in columns if column.name not in _LEFT_OUT]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _shown(text: str) -> str:
    """Escape a text; XML allows no control characters."""
    return escape(plain(text))


@dataclass(frozen=True, slots=True)
class _Scale:
    count: int
    width: int
    left: float
    ticks: tuple[tuple[float, str], ...]
    """Values of the axis with their texts, from 0 to the top."""

    @classmethod
    def of(
        cls, series: Sequence[Series], unit: Unit, words: Words, *, stacked: bool, count: int
    ) -> _Scale:
        columns = zip(*(each.values for each in series), strict=True)
        totals = [[value or 0 for value in column] for column in columns]
        largest = max(sum(each) if stacked else max(each) for each in totals)
        step = _round_up(max(largest, 1) / _MAX_TICKS, unit)
        values = [step * number for number in range(max(1, math.ceil(largest / step)) + 1)]
        ticks = tuple(
            (each, words.duration(each) if unit is Unit.SECONDS else words.number(round(each)))
            for each in values
        )
        left = 8 + _CHARACTER * max(len(text) for _, text in ticks)
        width = _NARROW if count <= MAX_FEW else _WIDE
        return cls(count, width, max(_MIN_LEFT, left), ticks)

    @property
    def right(self) -> int:
        return self.width - _RIGHT

    @property
    def slot(self) -> float:
        return (self.right - self.left) / self.count

    def x(self, place: float) -> float:
        return self.left + self.slot * place

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


def _grid(scale: _Scale) -> list[str]:
    return [
        f'<path class="b-grid" stroke="#ddd" d="M{scale.left:.1f} {scale.y(value):.1f}'
        f'H{scale.right}"/>'
        for value, _ in scale.ticks
    ]


def _axis(scale: _Scale) -> list[str]:
    """Return the values of the axis; a page keeps them in sight when it scrolls a chart."""
    texts = [
        f'<text class="b-axis" fill="#444" text-anchor="end" x="{scale.left - 6:.1f}" '
        f'y="{scale.y(value) + 4:.1f}">{_shown(text)}</text>'
        for value, text in scale.ticks
    ]
    ground = f'<rect fill="none" width="{scale.left - 1:.1f}" height="{_HEIGHT - _BOTTOM + 4}"/>'
    return ['<g class="b-ticks">', ground, *texts, "</g>"]


def _labels(table: UsageTable, scale: _Scale, words: Words) -> list[str]:
    """Name as many columns as have room, among them one of the last."""
    texts = [cell_text(table.columns[0], row[0], words) for row in table.rows]
    room = _CHARACTER * max(map(len, texts))
    every = math.ceil(room / scale.slot)
    last = scale.count - 1
    while last > 0 and scale.x(last + 0.5) + room / 2 > scale.width:
        last -= 1
    return [
        f'<text class="b-axis" fill="#444" text-anchor="middle" '
        f'x="{scale.x(place + 0.5):.1f}" y="{_HEIGHT - 8}">{_shown(texts[place])}</text>'
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
            left = scale.x(place + 0.5) - width / 2
            path.append(f"M{left:.1f} {bottom:.1f}V{top:.1f}h{width:.1f}V{bottom:.1f}z")
            below[place] += value
        if path:
            colour = COLOURS[each.colour - 1]
            found.append(
                f'<path class="b-s{each.colour} b-bars" fill="{colour}" stroke="#fff" '
                f'stroke-width="0.75" d="{"".join(path)}"/>'
            )
    return found


def _lines(series: Sequence[Series], scale: _Scale) -> list[str]:
    found: list[str] = []
    for each in series:
        colour, path, pen = COLOURS[each.colour - 1], [], "M"
        for place, value in enumerate(each.values):
            if value is None:
                pen = "M"
                continue
            # A point without neighbours is seen, too.
            path.append(f"{pen}{scale.x(place + 0.5):.1f} {scale.y(value):.1f}h0.01")
            pen = "L"
        found.append(
            f'<path class="b-l{each.colour}" fill="none" stroke="{colour}" stroke-width="2.5" '
            f'stroke-linecap="round" stroke-linejoin="round" d="{"".join(path)}"/>'
        )
    return found


def _columns(table: UsageTable, scale: _Scale, words: Words) -> list[str]:
    """Return an unseen field for each row, which tells its values."""
    return [
        f'<rect class="b-column" fill="#000" fill-opacity="0" x="{scale.x(place):.1f}" '
        f'y="{_TOP}" width="{scale.slot:.1f}" height="{_HEIGHT - _TOP - _BOTTOM}">'
        f"<title>{_shown(_describe_row(table, place, words))}</title></rect>"
        for place in range(scale.count)
    ]


def _describe_row(table: UsageTable, place: int, words: Words) -> str:
    """Write a row in words: ``2026-07-06: binder-a 31, All 40``."""
    first, *others = (
        (column, cell_text(column, value, words))
        for column, value in zip(table.columns, table.rows[place], strict=True)
    )
    told = [f"{words.say(column.title)} {text}" for column, text in others if text]
    return f"{first[1]}: {', '.join(told)}"
