"""The registry's client against Debian's docker-registry; images are pushed by a real engine."""

from __future__ import annotations

import re
import tarfile

import pytest

from jupyterhub_binder.backends.repo2docker.engine import Engine as EngineClient
from jupyterhub_binder.backends.repo2docker.registry import Registry
from jupyterhub_binder.errors import NotAllowed, UpstreamUnavailable
from tests.kit.registries import run_registry

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module", params=["open", "password"])
def running(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    with run_registry(folder, password=request.param == "password") as running:
        yield running


@pytest.fixture(scope="module")
def push(docker_engine, tmp_path_factory):
    """Push a small image under a name."""
    archive = tmp_path_factory.mktemp("small") / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(__file__, "file")

    def push(running, path: str) -> str:
        name = f"{running.host}/{path}"
        docker_engine.run("import", str(archive), name)
        docker_engine.run("--config", str(running.docker_config), "push", name)
        return name

    return push


@pytest.fixture(scope="module")
def image(running, push):
    return push(running, "binder/small:v1")


@pytest.fixture(scope="module")
async def registry(running):
    client = Registry(
        image_prefix=f"{running.host}/binder/", docker_config=str(running.docker_config)
    )
    await client.start()
    yield client
    await client.stop()


async def test_registry_is_healthy(registry):
    assert await registry.health() is None


async def test_image_is_there_with_its_digest(registry, image):
    digest = await registry.fetch_digest(image)
    assert re.fullmatch("sha256:[0-9a-f]{64}", digest)


async def test_tags_and_repositories_are_listed(registry, image):
    assert await registry.list_tags(image.rpartition(":")[0]) == ("v1",)
    assert "binder/small" in await registry.list_repositories()


async def test_image_that_is_not_there_is_none(registry, running):
    assert await registry.fetch_digest(f"{running.host}/binder/none:v1") is None
    assert await registry.list_tags(f"{running.host}/binder/none") == ()


async def test_deleted_image_is_gone_and_deleting_it_again_is_success(
    registry, running, image, push
):
    name = push(running, "binder/doomed:v1")
    await registry.delete(name)
    assert await registry.fetch_digest(name) is None
    await registry.delete(name)
    assert await registry.fetch_digest(image)


async def test_wrong_password_is_refused_with_what_to_look_at(tmp_path):
    with run_registry(tmp_path / "registry", password=True) as running:
        config = running.wrong_config(tmp_path / "wrong")
        wrong = Registry(image_prefix=f"{running.host}/binder/", docker_config=str(config))
        await wrong.start()
        with pytest.raises(NotAllowed, match="docker_config"):
            await wrong.fetch_digest(f"{running.host}/binder/small:v1")
        assert "refused access" in (await wrong.health() or "")
        await wrong.stop()


async def test_registry_that_does_not_delete_says_so(tmp_path, push):
    with run_registry(tmp_path / "registry", delete=False) as running:
        name = push(running, "binder/kept:v1")
        client = Registry(image_prefix=f"{running.host}/binder/")
        await client.start()
        with pytest.raises(NotAllowed, match=r"delete\.enabled"):
            await client.delete(name)
        await client.stop()


async def test_registry_that_is_down_is_unavailable(tmp_path):
    with run_registry(tmp_path / "registry") as running:
        pass
    client = Registry(image_prefix=f"{running.host}/binder/", docker_config=str(tmp_path))
    await client.start()
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        await client.fetch_digest(f"{running.host}/binder/x:v1")
    assert "does not answer" in (await client.health() or "")
    await client.stop()


async def test_engine_that_is_down_is_named(docker_engine, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(UpstreamUnavailable, match="container engine"):
        await EngineClient.find("docker")
