"""Everybody's builds with filters, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from jupyterhub_binder.model import BuildState, Phase, Reason
from jupyterhub_binder.model.failures import Explanation
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.build_lists import BuildFilter
from jupyterhub_binder.store.tables import build_row
from tests.kit.parts import build_named
from tests.store.test_overview import NOON, keep


@pytest_asyncio.fixture
async def store(database_url):
    store = await Store.open(database_url)
    yield store
    await store.close()


def made(number: int, state: BuildState, by: str, label: str, **told: str) -> dict[str, Any]:
    code = "" if state is BuildState.BUILT else "failed"
    explained = Explanation(**told) if told else None
    reason = Reason(code, Message("It failed."), explanation=explained) if code else None
    build = build_named(f"b{number}", by, state=state, phase=Phase.BUILT, label=label)
    at = NOON + timedelta(hours=number)
    return build_row(replace(build, created=at, finished=at, reason=reason))


@pytest_asyncio.fixture
async def five(store: Store) -> Store:
    await keep(
        store,
        made(1, BuildState.BUILT, "ada", "github.com/org/one"),
        made(2, BuildState.FAILED, "bob", "github.com/org/One_more", rule="no-such-package"),
        made(3, BuildState.FAILED, "ada", "gitlab.com/org/two", fingerprint="5d1c8a90e2f7"),
        made(4, BuildState.FAILED, "bob", "gitlab.com/org/100%"),
        made(5, BuildState.BUILT, "ada", "gitlab.com/org/three"),
    )
    return store


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (BuildFilter(), ["b5", "b4", "b3", "b2", "b1"]),
        (BuildFilter(state=BuildState.BUILT), ["b5", "b1"]),
        (BuildFilter(state=BuildState.RUNNING), []),
        (BuildFilter(person="ada"), ["b5", "b3", "b1"]),
        (BuildFilter(repository="ORG/one"), ["b2", "b1"]),
        (BuildFilter(repository="e_m"), ["b2"]),
        (BuildFilter(repository="0%"), ["b4"]),
        (BuildFilter(reason="no-such-package"), ["b2"]),
        (BuildFilter(reason="5d1c8a90e2f7"), ["b3"]),
        (BuildFilter(reason="failed"), ["b4", "b3", "b2"]),
        (BuildFilter(reason="failed", person="ada"), ["b3"]),
        (BuildFilter(since=NOON + timedelta(hours=3)), ["b5", "b4", "b3"]),
        (BuildFilter(until=NOON + timedelta(hours=3)), ["b2", "b1"]),
    ],
)
async def test_filters(five: Store, wanted: BuildFilter, ids: list[str]) -> None:
    assert [build.id for build in (await five.list_builds(wanted)).items] == ids


async def test_parts_join_without_gap_even_if_newer_builds_come_between(five: Store) -> None:
    first = await five.list_builds(BuildFilter(), limit=2)
    assert (first.older, first.newer) == ("b4", False)
    await keep(
        five,
        made(6, BuildState.BUILT, "ada", "github.com/org/new"),
        # At the same moment as another one.
        {**made(3, BuildState.BUILT, "ada", "github.com/org/same"), "id": "b0", "base_key": "b0"},
    )
    ids, after = [], first.older
    while after:
        part = await five.list_builds(BuildFilter(), after=after, limit=2)
        assert part.newer
        ids += [build.id for build in part.items]
        after = part.older
    assert ids == ["b3", "b0", "b2", "b1"]
