import asyncio
from pathlib import Path
from unittest import mock

import pytest

from jupyterhub_binder.backends.fake import HOSTILE_LINES
from jupyterhub_binder.errors import LimitReached, NotFound, StoreUnavailable
from jupyterhub_binder.model import Build, BuildState, EnvironmentState, Phase
from jupyterhub_binder.utils import trees
from tests.kit.deep_trees import nest
from tests.kit.parts import ADMIN, ALICE, BOB, open_service
from tests.kit.waiting import until


async def test_a_build_ends_with_an_image_and_a_whole_log(service):
    environment = await service.create(fake={"lines": 30})
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.BUILT
    assert build.image == f"fake:{build.key}"
    lines = await service.lines(build.id)
    assert [line.seq for line in lines] == list(range(1, build.lines + 1))
    assert lines[-1].phase is Phase.BUILT
    ready = await service.environments.get(ALICE, environment.id)
    assert ready.state is EnvironmentState.READY
    assert ready.current.build.id == build.id


async def test_second_request_joins_running_build(service):
    first = await service.create(fake={"gate": "g"})
    await service.backend.gate("g").reached.wait()
    second = await service.create(BOB, fake={"gate": "g"})
    assert second.latest.build.id == first.latest.build.id
    service.backend.gate("g").open()
    await service.finished(first.latest.build.id)
    assert len(service.backend.begun) == 1
    for user, environment in ((ALICE, first), (BOB, second)):
        assert (await service.environments.get(user, environment.id)).state == "ready"


async def test_whoever_comes_while_a_build_ends_sees_all_of_it(service):
    environment = await service.create(fake={"lines": 30, "gate": "g"})
    build_id = environment.latest.build.id
    await service.backend.gate("g").reached.wait()

    async def watch() -> tuple[list[int], Build]:
        items = [item async for item in service.builds.watch(build_id)]
        batches = [item for item in items if not isinstance(item, Build)]
        return [event.seq for batch in batches for event in batch.events], items[-1]

    service.backend.gate("g").open()
    watching = []
    while not (await service.store.fetch_build(build_id)).state.finished:
        watching.append(asyncio.create_task(watch()))
    for seqs, last in await asyncio.gather(*watching, watch()):
        assert last.state is BuildState.BUILT
        assert seqs == list(range(1, last.lines + 1))


async def test_ten_at_once_make_one_build(service):
    environments = await asyncio.gather(*(service.create(fake={"gate": "g"}) for _ in range(10)))
    assert len({environment.latest.build.id for environment in environments}) == 1
    service.backend.gate("g").open()
    await service.finished(environments[0].latest.build.id)
    assert len(service.backend.begun) == 1


async def test_what_is_built_is_there_at_once(service):
    first = await service.create()
    await service.finished(first.latest.build.id)
    second = await service.create(BOB)
    assert second.state is EnvironmentState.READY
    assert second.current.build.id == first.latest.build.id


async def test_an_image_that_is_gone_is_made_again(service):
    first = await service.create()
    built = await service.finished(first.latest.build.id)
    await service.backend.delete_image(built.image)
    second = await service.create(BOB)
    assert second.latest.build.id != built.id
    assert (await service.finished(second.latest.build.id)).state is BuildState.BUILT


async def test_force_makes_a_second_image_and_leaves_the_first(service):
    environment = await service.create()
    first = await service.finished(environment.latest.build.id)
    forced = await service.environments.build(ALICE, environment.id, force=True)
    second = await service.finished(forced.latest.build.id)
    assert second.image not in (None, first.image)
    assert await service.backend.find_image(first.key) == first.image
    again = await service.create(BOB)
    assert again.current.build.id == second.id


async def test_a_rollback_starts_from_the_earlier_build(service):
    environment = await service.create()
    first = await service.finished(environment.latest.build.id)
    forced = await service.environments.build(ALICE, environment.id, force=True)
    await service.finished(forced.latest.build.id)
    chosen = await service.environments.requests.choose(ALICE, environment.id, 1)
    assert chosen.current.build.id == first.id
    assert chosen.latest.number == 2


async def test_a_failure_has_a_reason_and_the_line_that_decided(service):
    environment = await service.create(fake={"fail_at": "building", "reason": "no numpy"})
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.message) == (BuildState.FAILED, "no numpy")
    lines = await service.lines(build.id)
    assert lines[build.reason.seq - 1].message == "ERROR: no numpy"


async def test_a_failed_update_leaves_the_earlier_build_current(service):
    environment = await service.create()
    first = await service.finished(environment.latest.build.id)
    service.backend.script = {"fail_at": "building"}
    forced = await service.environments.build(ALICE, environment.id, force=True)
    await service.finished(forced.latest.build.id)
    now = await service.environments.get(ALICE, environment.id)
    assert now.state is EnvironmentState.FAILED
    assert now.current.build.id == first.id


async def test_cancel_ends_a_running_build(service):
    environment = await service.create(fake={"hang_at": "building"})
    build_id = environment.latest.build.id
    await until(lambda: service.backend.begun)
    cancelled = await service.builds.cancel(build_id, user=ALICE)
    assert cancelled.state is BuildState.CANCELLED
    assert (await service.lines(build_id))[-1].message == "Cancelled."
    now = await service.environments.get(ALICE, environment.id)
    assert now.state is EnvironmentState.CANCELLED
    assert await service.builds.cancel(build_id, user=ALICE) == cancelled


async def test_cancel_ends_a_waiting_build(make_service):
    service = await make_service(max_running=1)
    await service.create(repo="org/first", fake={"hang_at": "building"})
    second = await service.create(repo="org/second")
    cancelled = await service.builds.cancel(second.latest.build.id, user=ALICE)
    assert cancelled.state is BuildState.CANCELLED
    assert len(service.backend.begun) <= 1


async def test_a_build_that_others_want_goes_on_without_the_one_who_cancelled(service):
    mine = await service.create(fake={"gate": "g"})
    theirs = await service.create(BOB, fake={"gate": "g"})
    build = await service.builds.cancel(mine.latest.build.id, user=ALICE)
    assert build.state is BuildState.RUNNING
    service.backend.gate("g").open()
    await service.finished(build.id)
    assert (await service.environments.get(BOB, theirs.id)).state == "ready"
    withdrawn = await service.environments.get(ALICE, mine.id)
    assert (withdrawn.state, withdrawn.current) == (EnvironmentState.CANCELLED, None)


async def test_an_admin_ends_a_build_for_everybody(service):
    environment = await service.create(fake={"hang_at": "building"})
    build = await service.builds.cancel(environment.latest.build.id, user=ADMIN)
    assert build.state is BuildState.CANCELLED


async def test_a_new_request_after_a_cancel_begins_afresh(service):
    first = await service.create(fake={"hang_at": "building"})
    await until(lambda: service.backend.begun)
    await service.builds.cancel(first.latest.build.id, user=ALICE)
    second = await service.create(fake={"hang_at": "building"})
    assert second.latest.build.id != first.latest.build.id
    await until(lambda: len(service.backend.begun) == 2)


async def test_limits_hold_and_positions_are_told(make_service):
    service = await make_service(max_running=1)
    first = await service.create(repo="org/a", fake={"gate": "g"})
    second = await service.create(repo="org/b")
    third = await service.create(BOB, repo="org/c")
    places = [
        (await service.builds.progress(environment.latest.build)).queue_position
        for environment in (first, second, third)
    ]
    assert places == [None, 2, 1]  # bob has nothing yet, so he is next
    service.backend.gate("g").open()
    for environment in (second, third):
        assert (await service.finished(environment.latest.build.id)).state is BuildState.BUILT


async def test_a_watcher_is_told_when_its_place_changes(make_service):
    service = await make_service(max_running=1)
    await service.create(repo="org/a", fake={"gate": "g"})
    waiting = await service.create(repo="org/b")
    places: list[int | None] = []
    async for item in service.builds.watch(waiting.latest.build.id):
        if isinstance(item, Build):
            places.append((await service.builds.progress(item)).queue_position)
            service.backend.gate("g").open()
    assert places[0] == 1
    assert places[-1] is None


async def test_too_many_builds_of_one_person_are_refused_in_words(make_service):
    service = await make_service(max_running=1, max_active_per_user=2)
    for repo in ("org/a", "org/b"):
        await service.create(repo=repo, fake={"hang_at": "building"})
    with pytest.raises(LimitReached, match="2 of 2"):
        await service.create(repo="org/c")
    joined = await service.create(repo="org/a", fake={"hang_at": "building"})
    assert joined.state is not EnvironmentState.UNBUILT


async def test_limit_of_one_person_holds_against_requests_at_once(make_service):
    service = await make_service(max_running=1, max_active_per_user=2)
    asked = [service.create(ref=f"v{number}", fake={"hang_at": "building"}) for number in range(6)]
    made = await asyncio.gather(*asked, service.create(BOB), return_exceptions=True)
    assert sum(isinstance(each, LimitReached) for each in made) == 4
    assert service.builds.count_active("alice") == 2


async def test_a_build_that_takes_too_long_is_ended(make_service):
    service = await make_service(time_limit_seconds=1)
    environment = await service.create(fake={"lines": 10**6, "lines_per_second": 50.0})
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.code) == (BuildState.FAILED, "time_limit")


async def test_a_silent_build_is_ended(make_service):
    service = await make_service(silence_limit_seconds=1)
    environment = await service.create(fake={"hang_at": "building"})
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.code) == (BuildState.FAILED, "silence_limit")


async def test_expected_time_comes_from_earlier_builds(service):
    environment = await service.create(fake={"lines": 3})
    await service.finished(environment.latest.build.id)
    next_one = await service.create(fake={"gate": "g"})
    progress = await service.builds.progress(next_one.latest.build)
    assert progress.expected_seconds is not None
    assert 0 < progress.expected_seconds < 5


async def test_expected_time_of_a_build_stays_when_another_one_ends(service):
    environment = await service.create(fake={"lines": 3})
    await service.finished(environment.latest.build.id)
    gated = await service.create(fake={"gate": "g"})
    told = (await service.builds.progress(gated.latest.build)).expected_seconds
    another = await service.create(fake={"lines": 4})
    await service.finished(another.latest.build.id)
    assert (await service.builds.progress(gated.latest.build)).expected_seconds == told


async def test_progress_says_what_the_backend_does_while_it_builds(service):
    environment = await service.create(fake={"lines": 3, "gate": "g"})
    await service.backend.gate("g").reached.wait()
    build = await service.builds.fetch_build(environment.latest.build.id)
    assert (await service.builds.progress(build)).step == "installing packages"
    service.backend.gate("g").open()
    ended = await service.finished(build.id)
    assert (await service.builds.progress(ended)).step == ""


async def test_watchers_get_every_line_in_order_from_wherever_they_begin(service):
    environment = await service.create(fake={"lines": 500, "gate": "g"})
    build_id = environment.latest.build.id
    early = [asyncio.create_task(service.lines(build_id, after=n)) for n in (0, 0, 100)]
    await service.backend.gate("g").reached.wait()
    late = asyncio.create_task(service.lines(build_id, after=250))
    service.backend.gate("g").open()
    full, same, part = await asyncio.gather(*early)
    assert [line.seq for line in full] == list(range(1, len(full) + 1))
    assert full == same
    assert part == full[100:]
    assert await late == full[250:]
    assert await service.lines(build_id) == full


async def test_a_slow_watcher_gets_all_and_holds_nobody_up(service):
    environment = await service.create(fake={"lines": 20_000})
    build_id = environment.latest.build.id
    slow = service.builds.watch(build_id)
    await anext(slow)
    await service.finished(build_id)
    seqs = [
        event.seq async for item in slow if not isinstance(item, Build) for event in item.events
    ]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= 20_000


async def test_hostile_lines_come_out_as_they_went_in_but_for_control_characters(service):
    environment = await service.create(fake={"hostile": True})
    await service.finished(environment.latest.build.id)
    messages = [line.message for line in await service.lines(environment.latest.build.id)]
    assert HOSTILE_LINES[0] in messages
    assert not any("\x00" in message or "\x07" in message for message in messages)


async def test_a_log_that_is_full_says_so_and_the_build_goes_on(make_service):
    service = await make_service(max_log_characters=1000)
    environment = await service.create(fake={"lines": 500})
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.BUILT
    messages = [line.message for line in await service.lines(build.id)]
    assert len(messages) < 100
    assert "not saved" in messages[-2]


async def test_a_store_that_fails_for_a_while_loses_nothing(service, monkeypatch):
    failures = iter([True] * 3)
    append = service.store.append_events

    async def append_or_fail(build_id, events):
        if next(failures, False):
            raise StoreUnavailable("The disk is full.")
        await append(build_id, events)

    monkeypatch.setattr(service.store, "append_events", append_or_fail)
    environment = await service.create(fake={"lines": 50})
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.BUILT
    lines = await service.lines(build.id)
    assert [line.seq for line in lines] == list(range(1, build.lines + 1))
    assert len(lines) >= 50


async def test_a_bug_in_a_backend_ends_the_build_and_not_the_service(service, monkeypatch):
    async def broken(job):
        raise RuntimeError("/srv/secret/path")
        yield

    monkeypatch.setattr(service.backend, "build", broken)
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.code) == (BuildState.FAILED, "internal_error")
    assert "secret" not in build.reason.message


async def test_an_unknown_build_is_not_found(service):
    with pytest.raises(NotFound):
        await service.builds.fetch_build("nosuchbuild")


async def test_a_stop_and_a_start_take_up_what_was_running_and_waiting(make_service):
    service = await make_service(max_running=1)
    running = await service.create(repo="org/a", fake={"gate": "g", "lines": 5})
    waiting = await service.create(repo="org/b")
    await service.backend.gate("g").reached.wait()
    before = [e async for e in _kept(service, running.latest.build.id)]
    await service.stop()
    service = await make_service(max_running=1)
    service.backend.gate("g").open()
    for environment in (running, waiting):
        build = await service.finished(environment.latest.build.id)
        assert build.state is BuildState.BUILT
    lines = await service.lines(running.latest.build.id)
    assert lines[: len(before)] == before
    assert any("restarted" in line.message for line in lines)


async def test_a_start_gets_past_any_folder_that_an_earlier_one_left(make_service, monkeypatch):
    service = await make_service()
    await service.stop()
    deep = Path(service.builds.work_dir) / "left"
    deep.mkdir()
    nest(deep, ["d"] * 1100)
    service = await make_service()
    await service.stop()
    assert not deep.exists()
    await until(lambda: not list(deep.parent.glob(".deleted/*")))
    deep.mkdir()
    nest(deep, ["d"])
    monkeypatch.setattr(trees, "_empty", mock.Mock(side_effect=PermissionError(1, "no")))
    service = await make_service()
    environment = await service.create()
    build = await service.finished(environment.latest.build.id)
    assert build.state is BuildState.BUILT


async def _kept(service, build_id):
    for event in await service.builds.fetch_log(build_id):
        yield event


async def test_a_build_that_kills_the_service_again_and_again_is_given_up(make_service, tmp_path):
    service = await make_service()
    environment = await service.create(fake={"hang_at": "building"})
    for _ in range(3):
        await until(lambda: service.backend.begun)  # noqa: B023
        await service.stop()
        service = await make_service()
    build = await service.finished(environment.latest.build.id)
    assert (build.state, build.reason.code) == (BuildState.FAILED, "too_many_attempts")


@pytest.mark.postgres
async def test_a_build_goes_on_while_the_database_server_restarts(tmp_path, postgres_server):
    service = await open_service(tmp_path, database=postgres_server.new_url())
    try:
        environment = await service.create(fake={"lines": 2000})
        build_id = environment.latest.build.id
        watcher = asyncio.ensure_future(service.lines(build_id))
        await asyncio.to_thread(postgres_server.stop)
        await asyncio.to_thread(postgres_server.start)
        assert (await service.finished(build_id)).state is BuildState.BUILT
        seen = await watcher
        kept = await service.store.fetch_events(build_id)
        assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
        assert kept == tuple(seen)
    finally:
        await service.stop()
