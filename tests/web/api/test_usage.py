"""Usage over REST: who may see it, what it says, and what it keeps to itself."""

from __future__ import annotations

import csv
import io

import pytest
import pytest_asyncio

from jupyterhub_binder.admin.usage_tables import TABLE_NAMES
from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.service import Person
from tests.kit.usage import fill

SESSIONS = {"2026Q1": 118, "2026Q2": 249, "2026Q3": 417}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(service: JupyterHubBinder) -> None:
    """Have usage in three quarters."""
    await fill(service.parts.store, SESSIONS, repositories=90)


@pytest.fixture
def public(service: JupyterHubBinder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody see usage."""
    monkeypatch.setattr(service.parts.usage_reports, "public", True)


pytestmark = pytest.mark.usefixtures("counted")


async def test_admins_alone_see_usage(person: Person) -> None:
    for path in ("api/v1/usage", "api/v1/usage/launches.csv"):
        assert (await person("root")("GET", path)).status == 200
        assert (await person("ada")("GET", path)).status == 403
        assert (await person(None)("GET", path)).status == 401


@pytest.mark.usefixtures("public")
async def test_everybody_sees_public_usage(person: Person) -> None:
    for name in (None, "ada"):
        answer = await person(name)("GET", "api/v1/usage?period=2026Q3")
        assert (answer.status, answer.json["launches"]) == (200, 417)


@pytest.mark.usefixtures("public")
async def test_many_readers_cost_one_answer(
    service: JupyterHubBinder, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await person(None)("GET", "api/v1/usage?period=2026Q2")

    async def refuse(*_: object) -> None:
        raise AssertionError("it was counted again")

    monkeypatch.setattr(service.parts.store, "list_launches_by_day", refuse)
    again = await person(None)("GET", "api/v1/usage?period=2026Q2")
    assert again.json["weeks"] == first.json["weeks"]


async def test_quarters_have_their_totals_and_changes(person: Person) -> None:
    usage = (await person("root")("GET", "api/v1/usage?period=2026Q3")).json
    quarters = [(each["quarter"], each["launches"]) for each in usage["quarters"]]
    assert quarters == list(SESSIONS.items())
    first, *later = [each["change"] for each in usage["quarters"]]
    assert first is None
    assert later == [round(249 / 118 - 1, 4), round(417 / 249 - 1, 4)]
    assert (usage["complete"], usage["last_day"]) == (True, "2026-09-30")


async def test_parts_add_up(person: Person) -> None:
    usage = (await person("root")("GET", "api/v1/usage?period=2026Q3")).json
    assert sum(usage["by_origin"].values()) == 417
    assert sum(each["launches"] for each in usage["providers"]) == 417
    named = sum(each["launches"] for each in usage["repositories"])
    assert named + usage["unnamed_launches"] <= 417
    assert usage["unnamed_launches"] > 0
    weeks = [each for each in usage["weeks"] if "2026-07-01" < each["monday"] < "2026-09-24"]
    assert sum(each["launches"] for each in weeks) == round(417 * 84 / 92)
    for week in usage["weeks"]:
        assert sum(week["by_origin"].values()) == week["launches"]


async def test_a_year_has_its_quarters(person: Person) -> None:
    usage = (await person("root")("GET", "api/v1/usage?period=2026")).json
    assert usage["launches"] == sum(SESSIONS.values())


@pytest.mark.parametrize("period", ["2019Q1", "2026-W31", "9998", "soon", "2026Q3'--"])
async def test_other_periods_are_refused(person: Person, period: str) -> None:
    answer = await person("root")("GET", f"api/v1/usage?period={period}")
    assert answer.status == 400
    assert answer.json["error"]["detail"] == {"field": "period"}


@pytest.mark.parametrize("table", TABLE_NAMES)
async def test_each_table_is_there_as_csv(person: Person, table: str) -> None:
    answer = await person("root")("GET", f"api/v1/usage/{table}.csv?period=2026Q3")
    titles, *rows = csv.reader(io.StringIO(answer.text))
    assert rows
    assert {len(row) for row in rows} == {len(titles)}


async def test_an_unknown_table_is_named(person: Person) -> None:
    answer = await person("root")("GET", "api/v1/usage/people2.csv")
    assert answer.status == 404
    assert "durations" in answer.json["error"]["message"]


async def test_few_people_are_not_told(
    service: JupyterHubBinder, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.parts.usage_reports, "min_people", 100_000)
    usage = (await person("root")("GET", "api/v1/usage?period=2026Q3")).json
    told = [usage, *usage["weeks"], *usage["quarters"]]
    assert {each["people"] for each in told} == {None}
