"""Builds, environments and clean-up of a hub with several backends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jupyterhub_binder.errors import ConfigurationError, HubError, InvalidInput
from jupyterhub_binder.maintenance import images as cleanup
from jupyterhub_binder.maintenance.health import Health
from jupyterhub_binder.maintenance.images import Cleanup
from jupyterhub_binder.model import Build, BuildState, Link, Spec
from tests.kit.backends import make_auto
from tests.kit.checkouts import DictFetcher
from tests.kit.parts import ADMIN, ALICE, MakeService, Service
from tests.kit.waiting import until

PYTHON = {"requirements.txt": "numpy==2.0.0\n"}
APT = {**PYTHON, "apt.txt": "gdal-bin\n"}


@pytest.fixture
async def both(make_service: MakeService, tmp_path) -> Service:
    """A service that makes folders where it can, otherwise images."""
    return await open_both(make_service, tmp_path)


async def open_both(make_service: MakeService, tmp_path) -> Service:
    fetcher = DictFetcher(
        {
            "org/python@main": PYTHON,
            "org/apt@main": APT,
            "org/docker@main": {"Dockerfile": "FROM scratch\n"},
        }
    )
    backend = make_auto(tmp_path)
    backend.makers[0].needs_checkout = True
    return await make_service(fetcher=fetcher, backend=backend)


async def build(service: Service, repo: str, **options: str) -> Build:
    environment = await service.environments.create(
        ALICE, link=Link(Spec("gh", repo, "main")), options=options
    )
    return await service.finished(environment.latest.build.id)


async def said(service: Service, build: Build) -> list[str]:
    return [line.message for line in await service.lines(build.id)]


@pytest.mark.parametrize(
    ("repo", "backend", "line"),
    [
        ("org/python", "folders", "Python packages only: made as a folder."),
        ("org/apt", "images", "apt.txt: made as a container image."),
        ("org/docker", "images", "Dockerfile: made as a container image."),
    ],
)
async def test_recipe_chooses_the_backend_of_a_build(both, repo, backend, line):
    done = await build(both, repo)
    assert (done.state, done.backend) == (BuildState.BUILT, backend)
    assert done.image == f"{backend}:{done.key}"
    assert line in await said(both, done)


async def test_log_has_the_warnings_of_a_backend_that_fetches_by_itself(make_service, tmp_path):
    files = {**APT, "requirements.TXT": "numpy\n"}
    service = await make_service(
        fetcher=DictFetcher({"org/apt@main": files}), backend=make_auto(tmp_path)
    )
    warning = "Warning: requirements.TXT is ignored. It must be called requirements.txt."
    done = await build(service, "org/apt")
    assert done.state is BuildState.BUILT
    assert warning in await said(service, done)


async def test_only_a_backend_that_needs_it_gets_a_checkout(both):
    await build(both, "org/apt")
    assert both.builds._fetcher.fetched == ["org/apt@main"]  # to read the recipe
    await build(both, "org/python")
    assert both.builds._fetcher.fetched.count("org/python@main") == 2


async def test_choice_is_kept_for_later_builds(both):
    first = await build(both, "org/python", backend="images")
    assert first.backend == "images"
    (environment,) = (await both.environments.list(ALICE)).items
    again = await both.environments.build(ALICE, environment.id, force=True)
    assert (await both.finished(again.latest.build.id)).backend == "images"
    freed = await both.environments.update(ALICE, environment.id, backend="")
    assert freed.options == {}
    again = await both.environments.build(ALICE, environment.id)
    assert (await both.finished(again.latest.build.id)).backend == "folders"


async def test_choice_that_cannot_serve_is_refused(both):
    await build(both, "org/apt")
    (environment,) = (await both.environments.list(ALICE)).items
    with pytest.raises(InvalidInput, match="Choose another way in its settings"):
        await both.environments.update(ALICE, environment.id, backend="folders")
    failed = await build(both, "org/apt", backend="folders")
    assert failed.state is BuildState.FAILED
    assert "made as a folder" in failed.reason.message


async def test_preview_says_what_makes_it_and_how_long_that_takes(both):
    link = Link(Spec("gh", "org/python", "main"))
    preview = await both.previews.preview(ALICE, link)
    assert (preview.choice.backend.name, preview.choice.why) == ("folders", "Python packages only")
    assert [(way.backend.name, way.expected_seconds) for way in preview.ways] == [
        ("folders", None),
        ("images", None),
    ]
    await build(both, "org/python")
    folder, image = (await both.previews.preview(ALICE, link)).ways
    assert folder.expected_seconds is not None
    assert image.expected_seconds is None


async def test_restart_continues_with_the_same_backend(make_service, tmp_path):
    service = await open_both(make_service, tmp_path)
    hanging = {"fake": {"hang_at": "building", "checkpoints": 3}}
    environment = await service.environments.create(
        ALICE, link=Link(Spec("gh", "org/apt", "main")), options=hanging
    )
    build_id = environment.latest.build.id
    images = service.backend.makers[1]
    await until(lambda: images.begun == [build_id])
    await service.stop()

    again = await open_both(make_service, tmp_path)
    # The order is another one now, but what has begun goes on where it is.
    again.backend._makers = again.backend.makers[::-1]
    (active,) = await again.store.list_active_builds()
    assert active.backend == "images"
    images = next(each for each in again.backend.makers if each.name == "images")
    await until(lambda: images.begun == [build_id])
    assert again.builds._fetcher.fetched == []
    assert (await again.builds.cancel(build_id, user=ADMIN)).state is BuildState.CANCELLED


async def test_backend_that_is_down_stops_only_its_own_builds(both, monkeypatch):
    made = await build(both, "org/python")

    async def down(*_: object) -> None:
        raise HubError("The engine is down.")

    async def ill() -> str:
        return "The engine is down."

    images = both.backend.makers[1]
    monkeypatch.setattr(images, "find_image", down)
    monkeypatch.setattr(images, "health", ill)
    assert (await build(both, "org/apt")).state is BuildState.FAILED
    assert await both.launch_specs.is_there(made)
    health = Health(
        store=both.store, backend=both.backend, hub=None, state_dir="/", min_free_bytes=0
    )
    assert await health._ask_backends() == {
        "backend": None,
        "backend folders": None,
        "backend images": "The engine is down.",
    }


@pytest.mark.parametrize("kind", ["folders", "images"])
async def test_each_kind_has_a_budget_of_its_own(both, monkeypatch, kind):
    made = {
        one.backend: one for one in [await build(both, "org/python"), await build(both, "org/apt")]
    }
    now = datetime.now(UTC) + timedelta(days=100)
    monkeypatch.setattr(cleanup, "utc_now", lambda: now)
    cleaner = Cleanup(store=both.store, backend=both.backend, budgets={kind: 1}, unused_days=30)
    assert (await cleaner.run()).removed == (made[kind].image,)
    (left,) = await both.backend.list_images()
    assert left.name != made[kind].image


async def test_kinds_share_a_budget_and_the_longest_unused_goes(both, monkeypatch):
    first, second = await build(both, "org/apt"), await build(both, "org/python")
    now = datetime.now(UTC) + timedelta(days=100)
    monkeypatch.setattr(cleanup, "utc_now", lambda: now)
    both_sizes = first.size_bytes + second.size_bytes
    cleaner = Cleanup(
        store=both.store, backend=both.backend, budget_bytes=both_sizes - 1, unused_days=30
    )
    assert (await cleaner.run()).removed == (first.image,)
    assert await both.launch_specs.is_there(second)
    assert not await both.launch_specs.is_there(first)


async def test_budget_of_an_unknown_backend_is_refused(both):
    cleaner = Cleanup(store=both.store, backend=both.backend, budgets={"vnev": 1})
    with pytest.raises(ConfigurationError, match="names vnev"):
        await cleaner.start()
