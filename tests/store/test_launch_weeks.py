"""Launches counted by week, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest_asyncio

from jupyterhub_binder.model import ContentMode, Environment, Launch, LaunchState, Spec
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.names import new_id

SUNDAY = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)


@pytest_asyncio.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


async def keep_launches(store: Store, *times: datetime) -> None:
    environment = Environment(
        id=new_id(),
        owner="ada",
        name="one",
        spec=Spec("gh", "org/one", "main"),
        label="github.com/org/one",
        repo_url="https://github.com/org/one",
        path="",
        content=ContentMode.COPY,
        directory="one",
        options={},
        created=times[0],
        updated=times[0],
    )
    await store.insert_environment(environment, directories=["one"], limit=1)
    for time in times:
        launch = Launch(new_id(), environment.id, "ada", "", "", LaunchState.READY, time)
        await store.insert_launch(launch)


async def test_weeks_begin_on_monday_and_empty_ones_count_too(store):
    monday = SUNDAY + timedelta(seconds=1)
    await keep_launches(store, SUNDAY, monday, monday, monday + timedelta(days=14))
    weeks = await store.count_launches_by_week(
        since=SUNDAY - timedelta(days=2), until=monday + timedelta(days=15)
    )
    assert [(week.monday, week.launches) for week in weeks] == [
        (date(2026, 2, 23), 1),
        (date(2026, 3, 2), 2),
        (date(2026, 3, 9), 0),
        (date(2026, 3, 16), 1),
    ]


async def test_the_end_is_left_out(store):
    await keep_launches(store, SUNDAY)
    assert (await store.count_launches_by_week(since=SUNDAY, until=SUNDAY)) == ()
    (week,) = await store.count_launches_by_week(
        since=SUNDAY, until=SUNDAY + timedelta(microseconds=1)
    )
    assert week.launches == 1
