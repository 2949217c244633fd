"""Clean-up: which images go, in which order, and that nobody is left without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.errors import HubError, UpstreamUnavailable
from jupyterhub_binder.maintenance import images as cleanup
from jupyterhub_binder.maintenance.images import Candidate, Cleanup, choose
from jupyterhub_binder.model import BuildState, EnvironmentState
from jupyterhub_binder.model.admin import Action
from tests.kit.parts import ADMIN, ALICE, BOB

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def image(name: str, *, days: float = 100, size: int = 10, **more: bool) -> Candidate:
    given = {"needed": False, "in_use": False, **more}
    return Candidate(name, size, NOW - timedelta(days=days), **given)


def chosen(*candidates: Candidate, budget: int = 0, days: float = 30) -> list[str]:
    found = choose(candidates, now=NOW, budget_bytes=budget, unused_days=days)
    return [one.image for one in found]


# --- The decision ------------------------------------------------------------------------------


def test_longest_unused_go_first():
    assert chosen(image("b", days=40), image("a", days=90), image("c", days=50)) == ["a", "c", "b"]


def test_unneeded_go_before_needed_ones_that_are_older():
    assert chosen(image("needed", days=300, needed=True), image("other")) == ["other", "needed"]


def test_only_as_many_go_as_the_budget_asks():
    assert chosen(image("a", days=90), image("b", days=80), image("c"), budget=20) == ["c"]
    assert chosen(image("a"), budget=10) == []


def test_lately_used_and_running_ones_stay_however_full_it_is():
    assert chosen(image("new", days=29), image("runs", in_use=True)) == []
    assert chosen(image("new", days=0), days=0) == ["new"]


candidates = st.lists(
    st.builds(
        Candidate,
        image=st.uuids().map(str),
        size_bytes=st.integers(0, 100),
        last_used=st.integers(0, 100).map(lambda days: NOW - timedelta(days=days)),
        needed=st.booleans(),
        in_use=st.booleans(),
    ),
    max_size=12,
)


@given(candidates, st.integers(0, 500))
def test_what_is_chosen_keeps_the_promises(images, budget):
    gone = choose(images, now=NOW, budget_bytes=budget, unused_days=30)
    kept = [one for one in images if one not in gone]
    assert not any(one.in_use or one.last_used > NOW - timedelta(days=30) for one in gone)
    total = sum(one.size_bytes for one in kept)
    removable = [o for o in kept if not o.in_use and o.last_used <= NOW - timedelta(days=30)]
    assert total <= budget or not removable
    if gone:
        assert total + gone[-1].size_bytes > budget
    if any(one.needed for one in gone):
        assert not any(not one.needed for one in removable)


# --- With people -------------------------------------------------------------------------------


@pytest.fixture
def later(monkeypatch):
    """Let clean-up believe that days have passed."""

    def later(days: float) -> None:
        now = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr(cleanup, "utc_now", lambda: now)

    return later


def make_cleanup(service, **more) -> Cleanup:
    given = {"budget_bytes": 1, "unused_days": 30, **more}
    return Cleanup(store=service.store, backend=service.backend, **given)


async def built(service, user=ALICE, **kwargs):
    environment = await service.create(user, **kwargs)
    await service.finished(environment.latest.build.id)
    return await service.environments.get(user, environment.id)


async def rebuilt(service, environment, ref: str):
    resolved = await service.providers.resolve(replace(environment.spec, ref=ref))
    new = await service.builds.prepare(resolved, environment.options, user=ALICE, force=False)
    environment, request = await service.store.request_build(environment.id, new)
    service.builds.accept(request.build)
    await service.finished(request.build.id)
    return await service.environments.get(ALICE, environment.id)


async def images_of(service, environment) -> dict[int, str]:
    page = await service.environments.requests.list(ALICE, environment.id)
    return {request.number: request.build.image for request in page.items}


async def test_current_and_previous_builds_are_needed_and_older_ones_are_not(service):
    environment = await built(service, ref="v1")
    for ref in ("v2", "v3"):
        environment = await rebuilt(service, environment, ref)
    images = await images_of(service, environment)
    uses = {use.image: use.needed for use in await service.store.list_image_uses("fake")}
    assert uses == {images[1]: False, images[2]: True, images[3]: True}


async def test_failed_build_does_not_count_as_the_previous_one(service):
    environment = await built(service, ref="v1")
    environment = await rebuilt(service, environment, "fake-fail")
    environment = await rebuilt(service, environment, "v3")
    uses = await service.store.list_image_uses("fake")
    assert [use.needed for use in uses] == [True, True]


async def test_one_persons_old_build_is_anothers_current_one(service):
    environment = await built(service, ref="v1")
    for ref in ("v2", "v3"):
        environment = await rebuilt(service, environment, ref)
    await built(service, BOB, ref="v1")
    assert all(use.needed for use in await service.store.list_image_uses("fake"))


async def test_unneeded_image_goes_and_the_needed_stay_within_the_budget(service, later):
    environment = await built(service, ref="v1")
    for ref in ("v2", "v3"):
        environment = await rebuilt(service, environment, ref)
    images = await images_of(service, environment)
    size = environment.current.build.size_bytes
    later(31)
    report = await make_cleanup(service, budget_bytes=2 * size).run()
    assert report.removed == (images[1],)
    assert (report.freed_bytes, report.kept_bytes, report.over_bytes) == (size, 2 * size, 0)
    assert {one.name for one in await service.backend.list_images()} == {images[2], images[3]}


async def test_nothing_goes_before_its_days_are_over(service, later):
    await built(service)
    later(29)
    report = await make_cleanup(service).run()
    assert report.removed == ()
    assert report.over_bytes > 0


async def test_cache_goes_before_images_do(service, later, monkeypatch):
    environment = await built(service)
    size = environment.current.build.size_bytes
    later(31)

    async def cache() -> int:
        return 100

    async def trim(wanted_bytes: int) -> int:
        return min(wanted_bytes, 60)

    monkeypatch.setattr(service.backend, "fetch_cache_bytes", cache)
    monkeypatch.setattr(service.backend, "trim_cache", trim)
    report = await make_cleanup(service, budget_bytes=size + 40).run()
    assert (report.removed, report.kept_bytes) == ((), size + 40)
    report = await make_cleanup(service, budget_bytes=size + 39).run()
    assert len(report.removed) == 1


async def test_rebuild_on_demand_brings_an_image_back(service, later):
    environment = await built(service)
    later(31)
    assert (await make_cleanup(service).run()).removed == (environment.current.build.image,)
    again = await built(service, BOB)
    assert again.current.build.state is BuildState.BUILT
    assert await service.backend.find_image(again.current.build.key) == again.current.build.image


async def test_removed_image_is_no_launch_and_comes_back_at_the_same_commit(service, later):
    environment = await built(service, ref="v1")
    later(31)
    await make_cleanup(service).run()
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    assert (spec.image, spec.state) == (None, EnvironmentState.UNBUILT)
    asked = await service.launch_specs.bring_back(ALICE, environment.id)
    build = await service.finished(asked.latest.build.id)
    assert build.resolved_ref == environment.current.build.resolved_ref
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    assert (spec.image, spec.state) == (build.image, EnvironmentState.READY)
    again = await service.launch_specs.bring_back(ALICE, environment.id)
    assert again.latest.build.id == build.id


async def test_launch_goes_on_when_nobody_knows_whether_the_image_is_there(service, monkeypatch):
    environment = await built(service)

    async def no_answer(key: str):
        raise UpstreamUnavailable("The registry does not answer.")

    monkeypatch.setattr(service.backend, "find_image", no_answer)
    spec = await service.launch_specs.launch_spec(ALICE, environment.id)
    assert spec.image == environment.current.build.image


async def test_image_of_a_running_server_stays(service, later):
    environment = await built(service)
    later(400)

    async def in_use():
        return {environment.current.build.image}

    cleaner = Cleanup(
        store=service.store, backend=service.backend, in_use=in_use, budget_bytes=1, unused_days=30
    )
    assert (await cleaner.run()).removed == ()


async def test_image_that_the_backend_will_not_remove_stays_and_the_others_go(
    service, later, monkeypatch
):
    one, other = await built(service, ref="v1"), await built(service, ref="v2")
    delete = service.backend.delete_image

    async def refuse_one(image: str) -> None:
        if image == one.current.build.image:
            raise UpstreamUnavailable("A container uses it.")
        await delete(image)

    monkeypatch.setattr(service.backend, "delete_image", refuse_one)
    later(31)
    assert (await make_cleanup(service).run()).removed == (other.current.build.image,)


async def test_image_whose_content_is_being_built_again_stays(service, later):
    environment = await built(service)
    service.backend.script = {"hang_at": "building"}
    forced = await service.environments.build(ALICE, environment.id, force=True)
    later(31)
    assert (await make_cleanup(service).run()).removed == ()
    await service.builds.cancel(forced.latest.build.id, user=ALICE)


async def test_image_asked_for_meanwhile_stays(service, later, monkeypatch):
    environment = await built(service)
    later(31)
    listed = service.store.list_image_uses

    async def then_somebody_asks(backend: str):
        uses = await listed(backend)
        await built(service, BOB)
        return uses

    monkeypatch.setattr(service.store, "list_image_uses", then_somebody_asks)
    assert (await make_cleanup(service).run()).removed == ()
    assert await service.backend.find_image(environment.current.build.key)


async def test_image_that_no_build_knows_goes_first(service, later):
    environment = await built(service)
    service.backend._images["x"] = "fake:x"
    (service.backend._image_file("x")).write_text('{"image": "fake:x"}')
    later(31)
    size = environment.current.build.size_bytes
    assert (await make_cleanup(service, budget_bytes=size - 1).run()).removed[0] == "fake:x"


async def test_without_budget_nothing_is_ever_removed(service, later):
    await built(service)
    later(1000)
    cleaner = make_cleanup(service, budget_bytes=0)
    await cleaner.start()
    assert len(cleaner._tasks) == 0
    await cleaner.stop()
    await cleaner.stop()


# --- What administrators see and do ----------------------------------------------------------------


async def test_disk_use_says_what_could_go_and_removes_nothing(service, later):
    environment = await built(service)
    size = environment.current.build.size_bytes
    tidy = make_cleanup(service, budget_bytes=0)
    await tidy.look()
    assert (tidy.disk_use.images, tidy.disk_use.removable) == (1, 0)
    later(31)
    await tidy.look()
    assert (tidy.disk_use.image_bytes, tidy.disk_use.removable_bytes) == (size, size)
    assert len(await service.backend.list_images()) == 1


async def test_an_administrator_frees_what_no_budget_asks_for(service, later):
    await built(service)
    later(31)
    tidy = make_cleanup(service, budget_bytes=0, audit=service.admin.audit)
    tidy.free(ADMIN)
    tidy.free(ADMIN)  # twice is once
    await tidy._freeing
    assert not tidy.freeing
    assert (tidy.disk_use.images, tidy.disk_use.removable) == (0, 0)
    assert await service.backend.list_images() == ()
    (entry,) = (await service.admin.audit.list(action=Action.CLEANUP_IMAGES)).items
    assert (entry.actor, entry.detail["removed"]) == (ADMIN.name, 1)


async def test_a_hub_that_is_away_is_said_and_nothing_goes(service, later):
    async def in_use():
        raise HubError("The hub does not answer.")

    await built(service)
    later(31)
    tidy = make_cleanup(service, in_use=in_use)
    tidy.free(ADMIN)
    await tidy._freeing
    assert tidy.problem == "The hub does not answer."
    assert len(await service.backend.list_images()) == 1
