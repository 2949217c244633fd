"""How builds end when something is in the way: no text, no store, somebody who comes just then."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from jupyterhub_binder.builds import log as buildlog
from jupyterhub_binder.errors import BuildFailed, StoreUnavailable
from jupyterhub_binder.model import BuildState, EnvironmentState, Line, Phase
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import ADMIN, ALICE, BOB
from tests.kit.waiting import until


def failing_as(said: str):
    async def build(job):
        yield Line(Phase.BUILDING, said)
        raise BuildFailed(said)

    return build


@pytest.mark.parametrize("said", ["half a \ud800 character", "a \0 in it"])
async def test_a_failure_in_words_that_no_database_takes_ends_the_build(service, monkeypatch, said):
    monkeypatch.setattr(service.backend, "build", failing_as(said))
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.FAILED
    kept = said.replace("\ud800", "\ufffd").replace("\0", "\u2400")
    assert build.reason.message == kept
    assert kept in [line.message for line in await service.lines(build.id)]


async def test_an_end_that_cannot_be_kept_is_an_end_all_the_same(service, monkeypatch):
    finish, refusals = service.store.finish_build, iter([True])

    async def refuse_once(*args, **kwargs):
        if next(refusals, False):
            raise ValueError("nothing that a store takes")
        return await finish(*args, **kwargs)

    monkeypatch.setattr(service.store, "finish_build", refuse_once)
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.code) == (BuildState.FAILED, "internal_error")
    assert service.builds.queue().running == ()


async def test_lines_that_cannot_be_kept_do_not_stop_those_after_them(service, monkeypatch):
    append = service.store.append_events

    async def append_or_fail(build_id, events):
        if any(event.message == "line 3" for event in events):
            raise ValueError("nothing that a store takes")
        await append(build_id, events)

    async def build(job):
        for number in range(5):
            yield Line(Phase.BUILDING, f"line {number}")
        raise BuildFailed("the end")

    monkeypatch.setattr(service.store, "append_events", append_or_fail)
    monkeypatch.setattr(service.backend, "build", build)
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    assert build.reason.message == "the end"
    said = await service.lines(build.id)
    assert [line.seq for line in said] == list(range(1, build.lines + 1))
    assert "This line could not be saved." in [line.message for line in said]


@pytest.mark.parametrize("turns", range(12))
async def test_who_comes_while_somebody_cancels_is_not_cancelled(service, turns):
    mine = await service.create(fake={"hang_at": "building"})
    await until(lambda: service.backend.begun)
    cancelling = asyncio.create_task(service.builds.cancel(mine.latest.build.id, user=ALICE))
    for _ in range(turns):
        await asyncio.sleep(0)
    theirs = await service.create(BOB, fake={"hang_at": "building"})
    await cancelling
    now = await service.environments.get(BOB, theirs.id)
    assert now.state in (EnvironmentState.QUEUED, EnvironmentState.BUILDING)
    assert (await service.environments.get(ALICE, mine.id)).state is EnvironmentState.CANCELLED
    await until(lambda: theirs.latest.build.id in [b.id for b in service.builds.queue().running])


async def test_who_comes_when_a_cancel_is_kept_and_not_yet_done_begins_afresh(service, monkeypatch):
    mine = await service.create(fake={"hang_at": "building"})
    build_id = mine.latest.build.id
    await until(lambda: service.backend.begun)
    finish, may_end = service.store.finish_build, asyncio.Event()

    async def finish_later(*args, **kwargs):
        await may_end.wait()
        return await finish(*args, **kwargs)

    monkeypatch.setattr(service.store, "finish_build", finish_later)
    cancelling = asyncio.create_task(service.builds.cancel(build_id, user=ALICE))

    async def is_cancelled() -> bool:
        return (await service.store.fetch_build(build_id)).state is BuildState.CANCELLED

    while not await is_cancelled():
        await asyncio.sleep(0)
    theirs = await service.create(BOB, fake={"hang_at": "building"})
    may_end.set()
    cancelled = await cancelling
    assert cancelled.reason.message == "Cancelled."
    lines = await service.lines(build_id)
    assert lines[cancelled.reason.seq - 1].message == "Cancelled."
    assert theirs.latest.build.id != build_id
    await until(lambda: len(service.backend.begun) == 2)


async def test_an_image_that_is_made_while_its_build_is_cancelled_gives_a_cancelled_build(
    service, monkeypatch
):
    mine = await service.create(fake={"gate": "g"})
    build_id = mine.latest.build.id
    await service.backend.gate("g").reached.wait()
    withdraw = service.store.withdraw_requests

    async def withdraw_first(*args, **kwargs):
        withdrawn = await withdraw(*args, **kwargs)
        service.backend.gate("g").open()
        await service.finished(build_id)
        return withdrawn

    monkeypatch.setattr(service.store, "withdraw_requests", withdraw_first)
    build = await service.builds.cancel(build_id, user=ALICE)
    assert build.state is BuildState.CANCELLED
    lines = await service.lines(build_id)
    assert (lines[-1].phase, lines[-1].message) == (Phase.FAILED, "Cancelled.")
    assert (await service.environments.get(ALICE, mine.id)).state is EnvironmentState.CANCELLED


async def test_a_store_that_is_away_when_a_build_begins_or_goes_on_fails_no_build(
    service, monkeypatch
):
    update, refusals = service.store.update_build, iter([True, False, True])

    async def update_or_fail(build_id, changes):
        if next(refusals, False):
            raise StoreUnavailable("The disk is full.")
        return await update(build_id, changes)

    monkeypatch.setattr(service.store, "update_build", update_or_fail)
    environment = await service.create()
    assert (await service.finished(environment.latest.build.id)).state is BuildState.BUILT


async def test_the_service_stops_though_its_store_takes_nothing(make_service, monkeypatch):
    monkeypatch.setattr(buildlog, "_LEAVE_SECONDS", 0.1)
    service = await make_service()
    environment = await service.create(fake={"gate": "g"})
    await service.backend.gate("g").reached.wait()
    with monkeypatch.context() as patched:

        async def refuse(build_id, events):
            raise StoreUnavailable("The disk is full.")

        patched.setattr(service.store, "append_events", refuse)
        service.builds._running[environment.latest.build.id]._add(Phase.BUILDING, "unseen")
        async with asyncio.timeout(30):
            await service.builds.stop()
    kept = await service.store.fetch_build(environment.latest.build.id)
    assert kept.state is BuildState.RUNNING  # the next start takes it up


@pytest.mark.parametrize("how", ["cancels", "deletes"])
async def test_who_left_a_build_to_others_may_have_another_one(make_service, how):
    service = await make_service(max_active_per_user=1)
    mine = await service.create(fake={"hang_at": "building"})
    await service.create(BOB, fake={"hang_at": "building"})
    build_id = mine.latest.build.id
    if how == "cancels":
        await service.builds.cancel(build_id, user=ALICE)
    else:
        await service.environments.delete(ALICE, mine.id)
        await service.environments.purge(deleted_before=utc_now() + timedelta(seconds=1))
    assert (await service.builds.fetch_build(build_id)).created_by == BOB.name
    other = await service.create(repo="org/other", fake={"hang_at": "building"})
    await service.builds.cancel(other.latest.build.id, user=ADMIN)
