"""The places of waiting builds: exact for who asks, told seldom to who watches."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from jupyterhub_binder.builds.positions import Positions
from jupyterhub_binder.model import Build
from jupyterhub_binder.model.admin import Holder, LimitName
from jupyterhub_binder.store import Store
from tests.kit.parts import ADMIN, ALICE, BOB, build_named
from tests.kit.waiting import until


async def test_positions_are_exact_at_once_and_told_once_a_second() -> None:
    queue = [build_named("a"), build_named("b"), build_named("c")]
    told: list[str] = []
    positions = Positions(lambda: queue, told.append)
    positions.change()
    assert positions.find("b") == 2
    await until(lambda: told == ["a", "b", "c"])
    began = asyncio.get_running_loop().time()
    for _ in range(2):
        queue.pop(0)
        positions.change()
    assert [positions.find(build) for build in "abc"] == [None, None, 1]
    await asyncio.sleep(0)
    assert told == ["a", "b", "c"]
    await until(lambda: len(told) > 3)
    assert told[3:] == ["c"]
    assert asyncio.get_running_loop().time() - began > 0.5


async def test_watchers_of_waiting_builds_ask_the_store_for_little(
    make_service, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()

    def count(name: str) -> None:
        ask = getattr(Store, name)

        async def counted(*args: Any, **kwargs: Any) -> Any:
            asked[name] += 1
            return await ask(*args, **kwargs)

        monkeypatch.setattr(Store, name, counted)

    count("list_durations")
    count("count_people")
    service = await make_service(max_running=1, max_active_per_user=100)
    await service.create(repo="org/first", fake={"gate": "g"})
    made = [await service.create(repo=f"org/{number}") for number in range(40)]

    async def watch(build_id: str) -> Build:
        last = None
        async for item in service.builds.watch(build_id):
            if isinstance(item, Build):
                last = item
                await service.builds.progress(item)
        assert last is not None
        return last

    watching = [asyncio.create_task(watch(each.latest.build.id)) for each in made]
    await until(lambda: asked["count_people"] >= 40)
    asked.clear()
    service.backend.gate("g").open()
    assert all(build.state.finished for build in await asyncio.gather(*watching))
    assert asked["list_durations"] <= 4 * 40
    assert asked["count_people"] <= 4 * 40


async def test_positions_follow_a_change_of_shares(make_service) -> None:
    service = await make_service(max_running=1)
    await service.create(repo="org/first", fake={"gate": "g"})
    mine = [await service.create(repo=f"org/{number}") for number in range(3)]
    for number in range(2):
        await service.create(BOB, repo=f"org/theirs-{number}")
    last = mine[-1].latest.build
    seen: dict[str, int | None] = {}

    async def watch() -> None:
        async for item in service.builds.watch(last.id):
            if isinstance(item, Build):
                seen["last"] = (await service.builds.progress(item)).queue_position

    watcher = asyncio.create_task(watch())
    await until(lambda: seen == {"last": 5})
    await service.admin.limits.set(ADMIN, Holder.PERSON, ALICE.name, {LimitName.SHARE: 9})
    assert (await service.builds.progress(last)).queue_position == 4
    await until(lambda: seen == {"last": 4})
    watcher.cancel()
