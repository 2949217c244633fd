"""Usage: every launch and build is counted once, and nobody's name is kept."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from jupyterhub_binder.model import (
    Build,
    BuildEvent,
    BuildState,
    ContentMode,
    Environment,
    Launch,
    LaunchState,
    Phase,
    Reason,
    Spec,
)
from jupyterhub_binder.model.failures import Explanation, Owner
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.usage import (
    BuildOutcome,
    DayFailures,
    FailedPart,
    LaunchOutcome,
    PeriodKind,
    Timed,
    period_of,
    periods_between,
    periods_of,
    read_period,
)
from jupyterhub_binder.store import Store, migrations
from jupyterhub_binder.store.builds import NewBuildRequest
from jupyterhub_binder.store.usage import TopRepositories
from jupyterhub_binder.store.usage_counting import bucket_of, seconds_of
from jupyterhub_binder.utils.names import new_id

DAY = date(2026, 7, 8)
NOON = datetime(2026, 7, 8, 12, tzinfo=UTC)
QUARTER = period_of(PeriodKind.QUARTER, DAY)
YEAR = period_of(PeriodKind.YEAR, DAY)


@pytest_asyncio.fixture
async def store(database_url):
    store = await Store.open(database_url)
    store.may_name = lambda urls: not any("secret/" in url for url in urls)
    yield store
    await store.close()


async def insert_environment(store: Store, repo: str = "org/one", owner: str = "ada") -> str:
    environment = Environment(
        id=new_id(),
        owner=owner,
        name=repo,
        spec=Spec("gh", repo, "main"),
        label=f"github.com/{repo}",
        repo_url=f"https://github.com/{repo}",
        path="",
        content=ContentMode.COPY,
        directory=new_id(),
        options={},
        created=NOON,
        updated=NOON,
    )
    await store.insert_environment(environment, directories=[environment.directory], limit=100)
    return environment.id


def make_launch(environment: str, user: str = "ada", at: datetime = NOON) -> Launch:
    return Launch(new_id(), environment, user, "", "", LaunchState.PENDING, at)


def ended(launch: Launch, state: LaunchState = LaunchState.READY, seconds: float = 6) -> Launch:
    finished = launch.created + timedelta(seconds=seconds)
    failed = state is LaunchState.FAILED
    reason = Reason("start_failed", Message("It did not start.")) if failed else None
    return replace(launch, state=state, finished=finished, reason=reason)


async def start(store: Store, environment: str, **options) -> None:
    launch = make_launch(environment, **options)
    await store.insert_launch(launch)
    await store.update_launch(ended(launch))


async def outcomes(store: Store) -> dict[LaunchOutcome, int]:
    found = await store.list_launches_by_day(DAY, DAY + timedelta(days=1))
    return {each.outcome: each.launches for each in found}


def make_build() -> Build:
    return Build(
        id="",
        base_key="k" * 16,
        generation=0,
        spec=Spec("gh", "org/one", "main"),
        resolved_ref="a" * 40,
        label="github.com/org/one",
        repo_url="https://github.com/org/one",
        clone_url="https://github.com/org/one",
        options={},
        backend="federation",
        state=BuildState.PENDING,
        phase=Phase.WAITING,
        created=NOON,
        created_by="ada",
        started=NOON,
        checkpoint={"host": "binder-a"},
    )


async def request_build(store: Store, environment: str) -> Build:
    new = NewBuildRequest(make_build(), "ada", NOON)
    _, request = await store.request_build(environment, new)
    return request.build


async def finish(store: Store, build: Build, state: BuildState, reason: Reason | None = None):
    last = BuildEvent(1, NOON, Phase.BUILT, "The end.")
    at = NOON + timedelta(seconds=90)
    image = "image" if state is BuildState.BUILT else None
    return await store.finish_build(build.id, last, state=state, at=at, image=image, reason=reason)


# --- Periods -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "end"),
    [
        ("2026Q3", date(2026, 7, 1), date(2026, 10, 1)),
        ("2026Q4", date(2026, 10, 1), date(2027, 1, 1)),
        ("2026-W01", date(2025, 12, 29), date(2026, 1, 5)),
        ("2020-W53", date(2020, 12, 28), date(2021, 1, 4)),
        ("2026", date(2026, 1, 1), date(2027, 1, 1)),
    ],
)
def test_a_period_can_be_read_from_its_name(name, first, end):
    period = read_period(name)
    assert (period.first, period.end, period.name) == (first, end, name)
    assert period in periods_of(first)
    assert period.before.end == first


@pytest.mark.parametrize("text", ["", "2026Q5", "2026-W54", "0001Q1", "2026Q3; drop"])
def test_other_text_is_no_period(text):
    with pytest.raises(ValueError):
        read_period(text)


def test_a_bucket_is_at_most_three_percent_off():
    for tenths in range(1, 20_000, 7):
        seconds = tenths / 10
        assert seconds_of(bucket_of(seconds)) == pytest.approx(seconds, rel=0.03)


# --- Launches ------------------------------------------------------------------------------------


async def test_a_launch_is_counted_once_at_its_end(store):
    environment = await insert_environment(store)
    launch = make_launch(environment)
    await store.insert_launch(launch)
    await store.update_launch(replace(launch, state=LaunchState.STARTING))
    assert await outcomes(store) == {}
    await store.update_launch(ended(launch))
    await store.update_launch(ended(launch))  # as after a commit whose answer was lost
    assert await outcomes(store) == {LaunchOutcome.READY: 1}


async def test_only_a_started_server_is_a_session(store):
    environment = await insert_environment(store)
    await store.insert_launch(ended(make_launch(environment)))
    for state in (LaunchState.FAILED, LaunchState.CANCELLED):
        launch = make_launch(environment)
        await store.insert_launch(launch)
        await store.update_launch(ended(launch, state))
    assert await outcomes(store) == {
        LaunchOutcome.OPENED: 1,
        LaunchOutcome.FAILED: 1,
        LaunchOutcome.CANCELLED: 1,
    }
    assert await store.count_people_by_period([QUARTER]) == {}
    failures = await store.list_failures_by_day(DAY, DAY + timedelta(days=1))
    assert failures == (DayFailures(DAY, FailedPart.LAUNCH, "start_failed", "", 1),)


async def test_counts_stay_when_launches_are_removed(store):
    await start(store, await insert_environment(store))
    assert await store.prune_launches(finished_before=NOON + timedelta(days=1)) == 1
    assert await outcomes(store) == {LaunchOutcome.READY: 1}
    assert (await store.list_top_repositories(QUARTER, limit=5)).items[0].launches == 1
    assert await store.fetch_first_usage_day() == DAY


async def test_a_launch_counts_for_the_host_that_built(store):
    environment = await insert_environment(store)
    await finish(store, await request_build(store, environment), BuildState.BUILT)
    await start(store, environment)
    (found,) = await store.list_launches_by_day(DAY, DAY + timedelta(days=1))
    assert found.origin == "binder-a"
    assert await store.count_by_provider(DAY, DAY + timedelta(days=1)) == {"gh": 1}


async def test_times_are_kept_apart_by_what_was_waited_for(store):
    environment = await insert_environment(store)
    for seconds in (2, 2, 60):
        launch = make_launch(environment)
        await store.insert_launch(launch)
        await store.update_launch(ended(launch, seconds=seconds))
    launch = replace(make_launch(environment), build_id="b")
    await store.insert_launch(launch)
    await store.update_launch(ended(launch, seconds=300))
    times = await store.list_times([QUARTER])
    quick, built = times[QUARTER, Timed.LAUNCH], times[QUARTER, Timed.LAUNCH_WITH_BUILD]
    assert (quick.count, built.count) == (3, 1)
    assert quick.median_seconds == pytest.approx(2, rel=0.03)
    assert quick.p95_seconds == pytest.approx(60, rel=0.03)
    assert built.median_seconds == pytest.approx(300, rel=0.03)


async def test_private_repositories_are_counted_and_not_named(store, database_url):
    for repo in ("org/one", "org/one", "org/two", "secret/three"):
        await start(store, await insert_environment(store, repo))
    top = await store.list_top_repositories(QUARTER, limit=1)
    assert [(each.label, each.launches) for each in top.items] == [("github.com/org/one", 2)]
    assert (top.total, top.unnamed_launches) == (2, 1)
    assert (await store.list_top_repositories(YEAR, limit=1)).items == top.items


# --- People --------------------------------------------------------------------------------------


async def test_people_are_distinct_and_counted_when_the_period_is_closed(store):
    environment = await insert_environment(store)
    for user in ("ada", "ada", "grace"):
        await start(store, environment, user=user)
    week, quarter, year = periods_of(DAY)
    before = await store.count_people_by_period([week, quarter, year])
    assert before == {week: 2, quarter: 2, year: 2}
    assert await store.close_usage_periods(quarter.end + timedelta(days=7)) == 2
    assert await store.close_usage_periods(quarter.end + timedelta(days=7)) == 0
    await start(store, environment, user="late")
    after = await store.count_people_by_period([week, quarter, year])
    assert after == {week: 2, quarter: 2, year: 3}


async def test_no_table_of_usage_has_a_name(tmp_path):
    store = await Store.open(f"sqlite:///{tmp_path}/binder.sqlite")
    await start(store, await insert_environment(store, "secret/thesis"), user="ada-lovelace")
    await store.close()
    with closing(sqlite3.connect(tmp_path / "binder.sqlite")) as connection:
        dump = [line for line in connection.iterdump() if "usage_" in line]
    assert any("2026Q3" in line for line in dump)
    # Not "ada": hashes and salts have hexadecimal digits.
    assert not [line for line in dump if "lovelace" in line or "thesis" in line]


def test_what_was_there_before_the_upgrade_is_counted(tmp_path):
    """Counting at an upgrade gives what counting one by one had given, but for names."""
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    before = asyncio.run(_count_some(url))
    upgrade_again(url, since="0016")
    assert asyncio.run(_read_counts(url)) == before


def test_years_of_repositories_are_added_up_at_an_upgrade(tmp_path):
    url = f"sqlite:///{tmp_path}/binder.sqlite"
    before = asyncio.run(_count_repositories(url))
    upgrade_again(url, since="0021")
    assert asyncio.run(_read_top(url)) == before
    year = before[-1]
    assert [(each.label, each.launches) for each in year.items] == [
        ("github.com/org/one", 4),
        ("github.com/org/two", 2),
    ]
    assert (year.total, year.unnamed_launches) == (2, 2)


def upgrade_again(url: str, *, since: str) -> None:
    """Undo the migrations after a revision, and make them again."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", migrations.__path__[0])
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, since)
        command.upgrade(config, "head")
    engine.dispose()


async def _count_repositories(url: str) -> list[TopRepositories]:
    store = await Store.open(url)
    store.may_name = lambda urls: not any("secret/" in url for url in urls)
    for repo in ("org/one", "org/one", "org/two", "secret/three"):
        environment = await insert_environment(store, repo)
        for at in (NOON, NOON + timedelta(days=90)):
            await start(store, environment, at=at)
    await store.close()
    return await _read_top(url)


async def _read_top(url: str) -> list[TopRepositories]:
    store = await Store.open(url)
    periods = read_period("2026Q3"), read_period("2026Q4"), read_period("2026")
    found = [await store.list_top_repositories(period, limit=5) for period in periods]
    await store.close()
    return found


async def _count_some(url: str) -> list[object]:
    store = await Store.open(url)
    environment = await insert_environment(store)
    build = replace(await request_build(store, environment), checkpoint={})
    await store.update_build(build.id, {"checkpoint": {}})
    await finish(store, build, BuildState.BUILT)
    now = datetime.now(UTC)
    for at in (NOON, NOON + timedelta(days=90), now - timedelta(minutes=5)):
        for user in ("ada", "grace", "ada"):
            await start(store, environment, user=user, at=at)
    failing = make_launch(environment)
    await store.insert_launch(failing)
    await store.update_launch(ended(failing, LaunchState.FAILED))
    await store.close_usage_periods(now.date())
    await store.close()
    return await _read_counts(url)


async def _read_counts(url: str) -> list[object]:
    store = await Store.open(url)
    days = DAY, datetime.now(UTC).date() + timedelta(days=1)
    periods = [each for kind in PeriodKind for each in periods_between(kind, *days)]
    found = [
        await store.list_launches_by_day(*days),
        await store.list_builds_by_day(*days),
        await store.list_failures_by_day(*days),
        await store.list_times(periods),
        await store.count_people_by_period(periods),
        (await store.list_top_repositories(QUARTER, limit=5)).unnamed_launches,
        (await store.list_top_repositories(YEAR, limit=5)).unnamed_launches,
    ]
    await store.close()
    return found


# --- Builds --------------------------------------------------------------------------------------


async def test_a_build_is_counted_once(store):
    environment = await insert_environment(store)
    build = await request_build(store, environment)
    await finish(store, build, BuildState.BUILT)
    await finish(store, build, BuildState.BUILT)
    (found,) = await store.list_builds_by_day(DAY, DAY + timedelta(days=1))
    assert (found.outcome, found.builds) == (BuildOutcome.BUILT, 1)
    times = await store.list_times([QUARTER])
    assert times[QUARTER, Timed.BUILD].median_seconds == pytest.approx(90, rel=0.03)


async def test_a_cancelled_build_is_counted_once(store):
    environment = await insert_environment(store)
    build = await request_build(store, environment)
    reason = Reason("cancelled", Message("Cancelled."))
    await store.withdraw_requests(build.id, owner="ada", at=NOON, end=lambda _: reason)
    await finish(store, build, BuildState.CANCELLED, reason)
    (found,) = await store.list_builds_by_day(DAY, DAY + timedelta(days=1))
    assert (found.outcome, found.builds) == (BuildOutcome.CANCELLED, 1)


async def test_a_failure_is_counted_by_the_rule_that_explains_it(store):
    build = await request_build(store, await insert_environment(store))
    told = Explanation(rule="pip-conflict", owner=Owner.REPOSITORY)
    reason = Reason("build_failed", Message("No."), explanation=told)
    await finish(store, build, BuildState.FAILED, reason)
    found = await store.list_failures_by_day(DAY, DAY + timedelta(days=1))
    assert found == (DayFailures(DAY, FailedPart.BUILD, "pip-conflict", "repository", 1),)
