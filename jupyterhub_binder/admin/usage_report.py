"""The report of a period as files: Markdown for people, SVG pictures, JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from jupyterhub_binder.admin.columns import Unit
from jupyterhub_binder.admin.usage_charts import CHARTS, chart_of
from jupyterhub_binder.admin.usage_pictures import draw
from jupyterhub_binder.admin.usage_tables import (
    Providers,
    UsageTable,
    Words,
    cell_text,
    usage_tables,
)
from jupyterhub_binder.model.usage import LaunchOutcome, Timed
from jupyterhub_binder.model.usage_summary import UsageSummary
from jupyterhub_binder.utils.terminal import plain

REPORT = "report.md"
_WORDS = Words()
_WEEKLY = frozenset(CHARTS) - {"quarters"}
"""In pictures, and as CSV on the page: 65 rows are no reading."""
_IN_WORDS: Mapping[Timed, str] = {
    Timed.LAUNCH: "A server without a build was ready in",
    Timed.LAUNCH_WITH_BUILD: "A server that first needed a build was ready in",
    Timed.BUILD: "A build took",
}


def write_report(summary: UsageSummary, providers: Providers) -> dict[str, str]:
    """Return the text of each file by its name."""
    tables = usage_tables(summary, providers)
    pictures = {f"{each.name}.svg": draw(each) for each in tables}
    pictures = {name: picture for name, picture in pictures.items() if picture}
    parts = [
        f"# Usage in {summary.period.name}",
        *_in_words(summary),
        *(part for table in tables for part in _section(table, pictures)),
        _notes(summary),
    ]
    return {REPORT: "\n\n".join(parts) + "\n", **pictures}


def _in_words(summary: UsageSummary) -> Iterable[str]:
    last = summary.period.end - timedelta(days=1)
    until = min(last, summary.today)
    yield (
        f"From {summary.period.first} to {until}"
        f"{'' if summary.complete else f' (the period ends on {last})'}, people started "
        f"**{_count(summary.launches, 'session')}**{_change(summary)}."
    )
    people = summary.people
    told = f"Fewer than {summary.min_people} people" if people is None else _count(people, "person")
    yield f"{told} started a session."
    if (success := summary.build_success) is not None:
        yield f"{success:.1%} of builds succeeded, cancelled ones not counted."
    for what, text in _IN_WORDS.items():
        if times := summary.times.get(what):
            yield (
                f"{text} {_seconds(times.median_seconds)} (median), and "
                f"{_seconds(times.p95_seconds)} or less in 95 of 100 cases."
            )


def _count(number: int, noun: str) -> str:
    nouns = {"person": "people"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else nouns}"


def _change(summary: UsageSummary) -> str:
    if summary.change is None or not summary.complete:
        return ""
    return f", {summary.change:+.1%} against {summary.period.before.name} ({summary.before:,})"


def _seconds(seconds: float) -> str:
    return _WORDS.duration(seconds)


def _section(table: UsageTable, pictures: Mapping[str, str]) -> Iterable[str]:
    if not table.rows:
        return
    yield f"## {table.title}"
    if f"{table.name}.svg" in pictures:
        yield f"![{table.title}]({table.name}.svg)"
        yield _legend(table)
    if table.name not in _WEEKLY:
        yield _markdown(table)


def _legend(table: UsageTable) -> str:
    chart = chart_of(table)
    assert chart is not None
    told = [f"{_COLOURS[each.colour - 1]}: {_escape(each.title)}" for each in chart.series]
    return "; ".join(told) + "."


_COLOURS = ("blue", "orange", "green", "pink", "light blue", "red", "brown", "grey")
"""What people call the pictures' colours."""


def _markdown(table: UsageTable) -> str:
    right = [column.unit not in (Unit.TEXT, Unit.DAY) for column in table.columns]
    lines = [
        [_escape(column.title) for column in table.columns],
        ["---:" if each else "---" for each in right],
        *(
            [
                _escape(cell_text(column, value, _WORDS))
                for column, value in zip(table.columns, row, strict=True)
            ]
            for row in table.rows
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Write text that Markdown does not read as markup or as a table's edge."""
    text = " ".join(plain(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in text)


def _notes(summary: UsageSummary) -> str:
    opened = summary.outcomes.get(LaunchOutcome.OPENED, 0)
    return (
        "## How this was counted\n\n"
        "A session is a server that was started. It counts on the day, in UTC, on which the server "
        f"became ready. Requests for a server that was already running are not sessions; there were "
        f"{opened:,}. Weeks begin on Monday, and charts show only complete weeks. Times are accurate "
        f"to 2.5%. Numbers of people below {summary.min_people} are not shown. Sessions of deleted "
        "people and of private repositories are counted. No person and no private repository is "
        "named."
    )
