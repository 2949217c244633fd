"""Clean-up of container images: what the engine and the registry hold, and what runs stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jupyterhub_binder.backends.repo2docker.engine import ImageInUse
from jupyterhub_binder.maintenance import images as cleanup
from jupyterhub_binder.maintenance.images import Cleanup
from jupyterhub_binder.store import Store
from tests.kit.backend_repo2docker import SERVER
from tests.kit.jobs import collect, image_of, job_of
from tests.kit.registries import run_registry

pytestmark = pytest.mark.docker


@pytest.fixture
async def store(tmp_path):
    store = await Store.open(f"sqlite:///{tmp_path}/binder.sqlite")
    yield store
    await store.close()


async def make(backend, folder, name: str) -> str:
    dockerfile = f"{SERVER}RUN echo {name}\nUSER 1000\n"
    return image_of(await collect(backend, job_of(folder / name, {"Dockerfile": dockerfile}))).name


async def test_image_of_a_container_stays_and_the_other_goes(
    make_backend, docker_engine, store, tmp_path, monkeypatch
):
    backend = await make_backend()
    used, unused = await make(backend, tmp_path, "used"), await make(backend, tmp_path, "unused")
    container = docker_engine.run("create", used, "true").strip()
    try:
        kept = {image.name: image for image in await backend.list_images()}
        assert {name: image.in_use for name, image in kept.items()} == {used: True, unused: False}
        assert all(image.size_bytes > 2**20 for image in kept.values())
        monkeypatch.setattr(cleanup, "utc_now", lambda: datetime.now(UTC) + timedelta(days=31))
        report = await Cleanup(store=store, backend=backend, budget_bytes=1).run()
        assert report.removed == (unused,)
        assert [image.name for image in await backend.list_images()] == [used]
    finally:
        docker_engine.run("rm", container)


async def test_engine_keeps_an_image_that_a_container_runs_in(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend()
    image = await make(backend, tmp_path, "running")
    container = docker_engine.run("run", "--detach", image, "sleep", "1000").strip()
    try:
        with pytest.raises(ImageInUse):
            await backend.container_engine.remove(
                (await backend.container_engine.inspect(image)).id
            )
    finally:
        docker_engine.run("rm", "--force", container)


async def test_images_of_the_registry_are_listed_when_the_engine_has_none(
    make_backend, docker_engine, tmp_path
):
    with run_registry(tmp_path / "registry") as running:
        backend = await make_backend(
            image_prefix=f"{running.host}/binder/", push=True, smoke_test=False
        )
        job = job_of(tmp_path / "tiny", {"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "1"})
        image = image_of(await collect(backend, job)).name
        docker_engine.run("image", "rm", image)
        assert [kept.name for kept in await backend.list_images()] == [image]
        await backend.delete_image(image)
        assert await backend.list_images() == ()
