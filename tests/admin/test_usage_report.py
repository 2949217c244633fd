"""The report's numbers are those of the sessions that were counted, and its texts are harmless."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from jupyterhub_binder.admin.columns import Column, Unit
from jupyterhub_binder.admin.usage_pictures import draw
from jupyterhub_binder.admin.usage_report import REPORT, write_report
from jupyterhub_binder.admin.usage_reports import UsageReports
from jupyterhub_binder.admin.usage_summary import Counted, Scope, summarise
from jupyterhub_binder.admin.usage_tables import UsageTable, usage_table
from jupyterhub_binder.model import User
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.usage import DayLaunches, LaunchOutcome, read_period
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.usage import TopRepositories
from tests.kit.usage import QUARTERS, fill

ADMIN = User("root", admin=True)
NASTY = "<b>\x1b]0;owned\x07\u202e|`*"


@pytest.mark.thorough
@pytest.mark.timeout(300)
async def test_a_report_of_784_881_sessions_has_exactly_these(tmp_path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/binder.sqlite")
    await fill(store, QUARTERS)
    reports = UsageReports(store=store)
    for name, sessions in QUARTERS.items():
        summary = await reports.fetch(read_period(name), ADMIN)
        assert f"people started **{sessions:,} sessions**" in write_report(summary, {})[REPORT]
        for table in ("repositories", "providers"):
            rows = usage_table(table, summary, {}).rows
            assert sum(int(row[1] or 0) for row in rows) == sessions
        assert sum(summary.by_origin.values()) == sessions
    year = await reports.fetch(read_period("2026"), ADMIN)
    await store.close()
    assert year.launches == 784_881
    text = write_report(year, {})[REPORT]
    assert [line[:19] for line in text.splitlines() if line.startswith("| 2026Q")][:3] == [
        "| 2026Q1 | 118,083 ",
        "| 2026Q2 | 249,750 ",
        "| 2026Q3 | 417,048 ",
    ]
    assert (
        "**417,048 sessions**, +67.0% against 2026Q2 (249,750)" in write_report(summary, {})[REPORT]
    )
    weeks = [each.total for each in year.weeks if each.week.first >= date(2026, 1, 5)]
    assert sum(weeks) < year.launches


def make_table(
    *values: float | None, unit: Unit = Unit.COUNT, name: str = "launches"
) -> UsageTable:
    columns = (
        Column("week", Message("Week"), Unit.DAY),
        Column("x", Message.verbatim(NASTY), unit),
    )
    rows = tuple((f"2026-07-{day:02}", value) for day, value in enumerate(values, 1))
    return UsageTable(name, Message.verbatim(NASTY), columns, rows)


def axis_of(table: UsageTable) -> list[str]:
    """Return the texts at the left of a chart."""
    texts = ElementTree.fromstring(draw(table)).iter("{http://www.w3.org/2000/svg}text")
    return [str(each.text) for each in texts if each.get("text-anchor") == "end"]


def test_a_chart_is_xml_whatever_names_say() -> None:
    picture = draw(make_table(1, None, 3))
    ElementTree.fromstring(picture)
    assert not {"\x1b", "\u202e", "<b>"} & {
        picture[i : i + n] for n in (1, 3) for i in range(len(picture))
    }


@pytest.mark.parametrize("values", [(), (0, 0), (None,)])
def test_nothing_is_not_drawn(values) -> None:
    assert draw(make_table(*values)) == ""


def test_axes_have_round_numbers() -> None:
    assert axis_of(make_table(1)) == ["0", "1"]
    assert axis_of(make_table(417_048))[-1] == "500,000"
    hours = make_table(5 * 3600.0, unit=Unit.SECONDS, name="times")
    assert axis_of(hours) == ["0 s", *(f"{hour}:00:00" for hour in range(1, 6))]
    seconds = make_table(0.4, 200.0, unit=Unit.SECONDS, name="times")
    assert axis_of(seconds) == ["0 s", "1:00", "2:00", "3:00", "4:00"]


@pytest.mark.parametrize("columns", [1, 8, 65])
def test_names_of_columns_fit_and_do_not_overlap(columns: int) -> None:
    picture = ElementTree.fromstring(draw(make_table(*[7] * columns)))
    assert picture.get("viewBox") == "0 0 760 260"
    texts = picture.iter("{http://www.w3.org/2000/svg}text")
    middles = [float(str(each.get("x"))) for each in texts if each.get("text-anchor") == "middle"]
    room = 7 * len("2026-07-01")
    assert middles[0] >= room / 2
    assert columns == 1 or middles[-1] <= 760 - room / 2
    assert all(after - before >= room for before, after in pairwise(middles))


def test_a_quarter_that_goes_on_is_not_compared() -> None:
    days = [date(2026, month, 15) for month in range(1, 9)]
    launches = [DayLaunches(day, "venv", LaunchOutcome.READY, 10) for day in days]
    counted = Counted(launches, {}, [], [], {}, {}, TopRepositories((), 0, 0))
    scope = Scope.around(read_period("2026Q3"), date(2026, 8, 20), date(2026, 1, 15))
    summary = summarise(scope, counted, min_people=5)
    assert [each.launches for each in summary.quarters] == [30, 30, 20]
    assert [each.change for each in summary.quarters] == [None, 0.0, None]


def test_a_report_of_one_session_is_in_the_singular() -> None:
    launches = [DayLaunches(date(2026, 8, 15), "venv", LaunchOutcome.READY, 1)]
    counted = Counted(launches, {}, [], [], {}, {}, TopRepositories((), 0, 0))
    scope = Scope.around(read_period("2026Q3"), date(2026, 8, 20), date(2026, 8, 15))
    text = write_report(summarise(scope, counted, min_people=5), {})[REPORT]
    assert "people started **1 session**." in text
