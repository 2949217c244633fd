"""What the administrators' home page counts, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from jupyterhub_binder.model import BuildState, Launch, LaunchState, Phase, Reason
from jupyterhub_binder.model.failures import Explanation
from jupyterhub_binder.model.overview import Totals
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.tables import build_row, builds, launch_row, launches
from jupyterhub_binder.utils.names import new_id
from tests.kit.parts import build_named
from tests.store.test_launch_weeks import keep_launches

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest_asyncio.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


async def keep(store: Store, *rows: dict[str, Any], table: Any = builds) -> None:
    def insert(connection: Any) -> None:
        connection.execute(table.insert(), list(rows))

    await store._database.run(insert)


def ended(name: str, state: BuildState, hours: float, code: str = "", rule: str = "") -> dict:
    explained = Explanation(rule=rule) if rule else None
    reason = Reason(code, Message("It failed."), explanation=explained) if code else None
    build = build_named(name, state=state, phase=Phase.FAILED, created=NOON - 2 * hours * HOUR)
    return build_row(replace(build, finished=NOON - hours * HOUR, reason=reason))


async def test_totals_are_of_the_period_alone(store: Store) -> None:
    await keep_launches(store, NOON - HOUR, NOON - 30 * HOUR)
    environment = (await store.list_environments(owner="ada")).items[0].id
    failed = Launch(new_id(), environment, "bob", "", "", LaunchState.FAILED, NOON - 2 * HOUR)
    await keep(store, launch_row(failed), table=launches)
    await keep(
        store,
        ended("a", BuildState.BUILT, 1),
        ended("b", BuildState.BUILT, 30),
        ended("c", BuildState.FAILED, 2, "failed"),
        ended("d", BuildState.CANCELLED, 2),
        build_row(build_named("e", created=NOON - HOUR)),
    )
    found = await store.fetch_totals(since=NOON - 12 * HOUR, until=NOON)
    assert found == Totals(built=1, failed=1, launches=2, failed_launches=1, people=2)
    assert await store.fetch_totals(since=NOON, until=NOON + HOUR) == Totals()


async def test_reasons_are_sorted_by_how_often_and_have_their_newest_build(store: Store) -> None:
    await keep(
        store,
        ended("old", BuildState.FAILED, 200, "failed", "no-such-package"),
        ended("one", BuildState.FAILED, 5, "failed", "no-such-package"),
        ended("two", BuildState.FAILED, 3, "failed", "no-such-package"),
        ended("three", BuildState.FAILED, 1, "timeout"),
        ended("fine", BuildState.BUILT, 1),
    )
    found = await store.list_recent_failures(since=NOON - 100 * HOUR, limit=5)
    assert [(each.key, each.times, each.newest.id) for each in found] == [
        ("no-such-package", 2, "two"),
        ("timeout", 1, "three"),
    ]
    assert len(await store.list_recent_failures(since=NOON - 100 * HOUR, limit=1)) == 1


async def test_owners_are_those_with_enough_environments(store: Store) -> None:
    await keep_launches(store, NOON)
    assert await store.list_large_owners(least=1, limit=5) == (("ada", 1),)
    assert await store.list_large_owners(least=2, limit=5) == ()
