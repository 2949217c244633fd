"""Usage over REST: who may see it, what it says, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from jupyterhub_binder.admin.usage_charts import CHARTS
from jupyterhub_binder.admin.usage_tables import TABLE_NAMES
from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.cli import main
from tests.kit.api_client import Api
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


# --- The page and the report ---------------------------------------------------------------------


async def open_page(api: Api, path: str) -> tuple[int, str]:
    async with api.session.get(
        f"{api.url}{path}", headers=api.headers, allow_redirects=False
    ) as response:
        return response.status, await response.text()


async def test_the_page_is_for_admins(person: Person) -> None:
    status, page = await open_page(person("root"), "admin/usage?period=2026Q3")
    assert status == 200
    drawn = [json.loads(unescape(each)) for each in re.findall('data-chart="(.*?)"', page)]
    assert len(drawn) == len(CHARTS)
    launches = [each["values"] for each in drawn[0]["series"]]
    assert sum(map(sum, launches)) > 417
    assert (await open_page(person("ada"), "admin/usage"))[0] == 403
    assert (await open_page(person("ada"), "usage"))[0] == 403
    assert (await open_page(person(None), "usage"))[0] == 302


@pytest.mark.usefixtures("public")
async def test_admins_are_told_about_the_archive(
    service: JupyterHubBinder, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told(name: str, path: str) -> str:
        page = (await open_page(person(name), path))[1]
        return re.sub(r"<[^>]+>", "", unescape(page))

    assert "Archive.url turns that on" in await told("root", "admin/usage")
    archive = service.parts.archive
    monkeypatch.setattr(archive, "url", "s3://launches/hub")
    monkeypatch.setattr(archive, "problem", "The bucket is missing.")
    words = await told("root", "admin/usage")
    assert "archived in s3://launches/hub. It has not been written since" in words
    assert "The archive waits: The bucket is missing." in words
    monkeypatch.setattr(archive, "problem", "")
    monkeypatch.setattr(archive, "_written_until", datetime(2026, 11, 30, tzinfo=UTC))
    words = await told("root", "admin/usage")
    assert "The archive is complete up to 29 Nov 2026, in UTC." in words
    assert "waits" not in words
    assert "s3://" not in await told("ada", "usage")


@pytest.mark.usefixtures("public")
async def test_the_public_page_needs_no_login(person: Person) -> None:
    status, page = await open_page(person(None), "usage?period=2026Q3")
    assert status == 200
    assert "417" in page
    status, page = await open_page(person("root"), "admin/usage")
    assert 'binder/usage">' in page


async def test_a_report_has_its_numbers_and_pictures(person: Person) -> None:
    found = (await person("root")("GET", "api/v1/usage/report?period=2026Q3")).json
    files = found["files"]
    assert "**417 sessions**, +67.5% against 2026Q2 (249)" in files["report.md"]
    assert set(re.findall(r"\]\((\w+\.svg)\)", files["report.md"])) == {
        name for name in files if name.endswith(".svg")
    }
    for name in CHARTS:
        ElementTree.fromstring(files[f"{name}.svg"])
    assert json.loads(files["report.json"])["launches"] == 417


async def run_report(url: str, *options: str, name: str = "root") -> Result:
    """Run the command as somebody, beside the service."""
    environment = {"JUPYTERHUB_BINDER_HUB": url, "JUPYTERHUB_BINDER_TOKEN": f"{name}-token"}
    return await asyncio.to_thread(CliRunner().invoke, main, ["report", *options], env=environment)


async def test_the_command_writes_the_report_into_a_folder(
    service_url: str, person: Person, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "report"
    done = await run_report(service_url, "--quarter", "2026q3", "--output", str(folder))
    assert (done.exit_code, done.stdout) == (0, f"{folder}/report.md: 2026Q3, 10 files\n")
    files = (await person("root")("GET", "api/v1/usage/report?period=2026Q3")).json["files"]
    written = {file.name: file.read_text() for file in folder.iterdir()}
    assert written.keys() == files.keys()
    assert written["report.md"] == files["report.md"]


async def test_the_command_prints_text_or_numbers_and_says_what_is_wrong(service_url: str) -> None:
    text = await run_report(service_url, "--year", "2026")
    assert text.stdout.startswith("# Usage in 2026\n")
    numbers = await run_report(service_url, "--quarter", "2026Q3", "--json")
    assert json.loads(numbers.stdout)["launches"] == SESSIONS["2026Q3"]
    unknown = await run_report(service_url, "--quarter", "1999Q1")
    assert (
        unknown.exit_code,
        "no usage in 1999Q1. It has usage from 2026Q1" in unknown.stderr,
    ) == (1, True)
    refused = await run_report(service_url, "--quarter", "2026Q3", name="ada")
    assert (refused.exit_code, "Only administrators" in refused.stderr) == (4, True)
    both = await run_report(service_url, "--quarter", "2026Q3", "--year", "2026")
    assert (both.exit_code, "either --quarter or --year" in both.stderr) == (2, True)


async def test_the_command_does_not_write_over_a_file(service_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = await run_report(
        service_url, "--quarter", "2026Q3", "--output", str(tmp_path / "file/x")
    )
    assert (done.exit_code, "Can't write to" in done.stderr) == (1, True)
