"""The archive: its format, and what is written when."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.maintenance.archive import files
from jupyterhub_binder.maintenance.retention import Retention
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.attention import of_archive
from tests.kit.databases import Databases
from tests.kit.launch_archive import DAY, MIDNIGHT, World, event
from tests.kit.waiting import until

# --- Format -----------------------------------------------------------------------------------------


def test_a_day_has_binderhubs_events_cut_to_the_minute_and_sorted() -> None:
    late = event(datetime(2026, 8, 5, 12, 34, 56, 789, tzinfo=UTC), "org/z")
    early = event(datetime(2026, 8, 5, 9, 1, 59, tzinfo=UTC), "https%3A%2F%2Fgit.example.org%2Fa")
    early = replace(early, provider="git")
    lines = [json.loads(line) for line in files.encode_day([late, early]).decode().splitlines()]
    assert [line["timestamp"] for line in lines] == [
        "2026-08-05T09:01:00+00:00",
        "2026-08-05T12:34:00+00:00",
    ]
    assert lines[1] == {
        "timestamp": "2026-08-05T12:34:00+00:00",
        "schema": "binderhub.jupyter.org/launch",
        "version": 6,
        "provider": "GitHub",
        "spec": "org/z/main",
        "ref": "0" * 40,
        "status": "success",
        "build_token": False,
        "origin": "hub.example.org",
        "request_origin": "same-origin",
    }


def test_a_days_file_is_ascii_because_readers_guess_its_encoding() -> None:
    (line,) = files.encode_day([event(MIDNIGHT, "org/r\u00fc\u2028x")]).splitlines()
    assert line.isascii()
    assert json.loads(line)["spec"] == "org/r\u00fc\u2028x/main"


class TableReader(HTMLParser):
    """The texts of a table's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data


def test_the_page_has_the_table_that_readers_expect() -> None:
    days = [files.ArchivedDay(date(2026, 8, number), number) for number in (5, 6)]
    page = files.encode_page(days, title="<b>& Co", now=utc_now()).decode()
    reader = TableReader()
    reader.feed(page.partition("</table>")[0])
    assert reader.rows == [
        ["Date", "Filename", "Number of Events"],
        ["2026-08-06", "events-2026-08-06.jsonl", "6"],
        ["2026-08-05", "events-2026-08-05.jsonl", "5"],
    ]
    assert "<b>" not in page


def test_the_index_counts_in_strings_and_survives_strange_lines() -> None:
    index = files.encode_index([files.ArchivedDay(date(2026, 8, 5), 17)])
    assert index == b'{"name": "events-2026-08-05.jsonl", "date": "2026-08-05", "count": "17"}'
    strange = b'\n[]\n{"name": "events-2026-99-99.jsonl"}\n{"name": 3, "count": "1"}\nno'
    assert files.read_index(index + strange) == {date(2026, 8, 5): 17}


# --- Which days -------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def world(database_url: str, tmp_path: Path):
    store = await Store.open(database_url)
    world = World(store, tmp_path / "archive")
    yield world
    await world.audit.stop()
    await store.close()


async def test_days_that_have_ended_are_written_once_with_empty_ones(world: World) -> None:
    await world.keep(
        event(MIDNIGHT - 3 * DAY), event(MIDNIGHT - DAY, "org/b"), event(MIDNIGHT, "org/today")
    )
    report = await world.archive.run()
    assert [each.events for each in report.days] == [1, 0, 1]
    assert world.specs(MIDNIGHT - DAY) == ["org/b/main"]
    assert not (world.folder / f"events-{MIDNIGHT.date()}.jsonl").exists()
    assert list(world.counts().values()) == ["1", "0", "1"]
    await world.keep(event(MIDNIGHT - DAY, "org/late"))
    assert (await world.new_archive().run()).days == ()
    assert world.specs(MIDNIGHT - DAY) == ["org/b/main"]
    page = await world.audit.list(action=Action.ARCHIVE_WRITE)
    assert page.total == 3


async def test_private_repositories_and_unknown_providers_never_appear(world: World) -> None:
    world.providers.private = {"org/private"}
    await world.keep(
        event(MIDNIGHT - DAY),
        event(MIDNIGHT - DAY),
        event(MIDNIGHT - DAY, "org/private"),
        event(MIDNIGHT - DAY, provider="docker", spec="quay.io/org/image:1", clone_url=""),
    )
    report = await world.archive.run()
    assert report.left_out == 2
    assert world.specs(MIDNIGHT - DAY) == ["org/repo/main"] * 2
    assert sorted(world.providers.asked) == ["org/private", "org/repo"]
    assert "private" not in (world.folder / "index.html").read_text()


async def test_a_day_waits_for_a_silent_host_but_not_forever(world: World) -> None:
    world.providers.silent = True
    await world.keep(event(MIDNIGHT - 5 * DAY, "org/old"), event(MIDNIGHT - DAY))
    with pytest.raises(UpstreamUnavailable):
        await world.archive.run()
    assert world.specs(MIDNIGHT - 5 * DAY) == []
    assert str((MIDNIGHT - DAY).date()) not in world.counts()
    world.providers.silent = False
    await world.archive.run()
    assert world.specs(MIDNIGHT - DAY) == ["org/repo/main"]


async def test_a_kill_before_the_index_is_mended_by_the_next_run(world: World) -> None:
    await world.keep(event(MIDNIGHT - 2 * DAY), event(MIDNIGHT - DAY))
    await world.archive.run()
    (world.folder / "index.jsonl").unlink()
    (world.folder / f"events-{(MIDNIGHT - 2 * DAY).date()}.jsonl").write_text('{"a": 1}\n' * 3)
    assert (await world.new_archive().run()).days == ()
    assert list(world.counts().values()) == ["3", "1"]


async def test_a_kill_in_the_middle_of_a_day_serves_no_half_file(tmp_path: Path) -> None:
    folder, url = tmp_path / "archive", Databases.url_for(tmp_path)
    store = await Store.open(url)
    await World(store, folder).keep(
        event(MIDNIGHT - 2 * DAY), *(event(MIDNIGHT - DAY, f"org/{n}") for n in range(9))
    )
    await store.close()
    command = [sys.executable, "-m", "tests.kit.killed_archive", str(folder), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    first, second = (f"events-{(MIDNIGHT - n * DAY).date()}.jsonl" for n in (2, 1))
    (unfinished,) = folder.glob(".*")
    assert unfinished.stat().st_size > 0
    assert {path.name for path in folder.iterdir()} == {first, unfinished.name}

    store = await Store.open(url)
    world = World(store, folder)
    await world.archive.start()
    await world.archive.run()
    await world.archive.stop()
    await world.audit.stop()
    await store.close()
    assert world.specs(MIDNIGHT - DAY) == [f"org/{n}/main" for n in range(9)]
    assert list(world.counts().values()) == ["1", "9"]
    names = {first, second, "index.html", "index.jsonl"}
    assert {path.name for path in folder.iterdir()} == names


async def test_the_last_day_is_known_once_it_is_complete(world: World) -> None:
    await world.keep(event(MIDNIGHT - 2 * DAY), event(MIDNIGHT - DAY, "org/asked"))
    world.archive.margin_seconds = 0
    assert world.archive.last_day is None
    world.providers.silent = True
    with pytest.raises(UpstreamUnavailable):
        await world.archive.run()
    assert world.archive.last_day is None
    world.providers.silent = False
    await world.archive.run()
    assert world.archive.last_day == (MIDNIGHT - DAY).date()


async def test_rows_stay_until_the_archive_has_them(world: World) -> None:
    await world.keep(event(MIDNIGHT - 9 * DAY), event(MIDNIGHT - DAY))
    retention = Retention(
        store=world.store,
        audit=world.audit,
        archived_until=lambda: world.archive.written_until,
        launch_days=5,
    )
    await retention.run()
    assert await world.count() == 2
    await world.archive.run()
    await retention.run()
    assert await world.count() == 1
    assert (await world.archive.run()).days == ()


async def test_a_new_storage_gets_what_the_service_still_knows(world: World, tmp_path) -> None:
    await world.keep(event(MIDNIGHT - DAY))
    await world.archive.run()
    report = await world.new_archive(tmp_path / "other").run()
    assert [each.events for each in report.days] == [1]


async def test_a_storage_that_fails_is_told_to_administrators_until_it_works(world: World) -> None:
    await world.keep(event(MIDNIGHT - DAY))
    world.folder.write_text("not a folder")
    await world.archive.start()
    await until(lambda: world.archive.problem)
    (concern,) = of_archive(world.archive.problem)
    assert concern.text.startswith("The archive's folder can't be used")
    await world.archive.stop()
    world.folder.unlink()
    await world.archive.start()
    await until(lambda: not world.archive.problem)
    assert world.specs(MIDNIGHT - DAY) == ["org/repo/main"]
    await world.archive.stop()


# --- Who is public ----------------------------------------------------------------------------------


class RecordingGit(Git):
    """Git that remembers what it was asked, and with which environment."""

    async def run(self, *args: str, url: str = "", anonymous: bool = False, **_: Any) -> str:
        self.seen = args, self.environment(url, anonymous=anonymous)
        return ""


async def test_a_repository_is_public_if_it_can_be_read_without_the_hubs_token() -> None:
    git = RecordingGit(private_hosts=["git.example.org"])
    providers = Providers(git=git)
    git.add_credential("github.com", "x", "s3cret")
    spec = providers.parse_spec("gh", "org/repo/main")
    url = "https://github.com/org/repo"
    assert "Authorization" in str(git.environment(url))
    assert await providers.fetch_is_public(spec, clone_url=url, repo_url=url)
    args, environment = git.seen
    assert args == ("ls-remote", "--", url, "HEAD")
    assert "Authorization" not in str(environment)
    inside = providers.parse_spec("git", "https%3A%2F%2Fgit.example.org%2Frepo/main")
    assert not await providers.fetch_is_public(
        inside, clone_url="https://git.example.org/repo", repo_url=""
    )


async def test_records_of_an_archive_with_a_token_count_as_private() -> None:
    from traitlets.config import Config

    config = Config({"ZenodoProvider": {"tokens": {"zenodo.org": "s3cret"}}})
    providers = Providers(git=Git(), config=config)
    spec = providers.parse_spec("zenodo", "10.5281/zenodo.3242074")
    assert not await providers.fetch_is_public(
        spec,
        clone_url="https://zenodo.org/records/3242074",
        repo_url="https://doi.org/10.5281/zenodo.3242074",
    )
