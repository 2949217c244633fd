"""Images of the repo2docker backend in a real registry."""

from __future__ import annotations

import json

import pytest
from traitlets.config import Config

from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Line, Phase
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.kit.jobs import collect, collect_into, image_of, job_of, lines
from tests.kit.registries import run_registry

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with run_registry(tmp_path_factory.mktemp("registry"), password=True) as running:
        yield running


TINY = """FROM scratch
COPY {name} /{name}
"""


async def test_pushed_image_is_found_when_the_engine_has_forgotten_it(
    make_backend, docker_engine, registry, tmp_path
):
    backend = await make_backend(
        image_prefix=f"{registry.host}/binder/",
        push=True,
        docker_config=str(registry.docker_config),
        smoke_test=False,
    )
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="a"), "a": "1"})
    assert await backend.find_image(job.build.key) is None
    outputs = await collect(backend, job)
    image = image_of(outputs).name
    assert {o.phase for o in outputs if isinstance(o, Line)} == {Phase.BUILDING, Phase.PUSHING}
    docker_engine.run("image", "rm", image)
    assert await backend.find_image(job.build.key) == image
    docker_engine.run("--config", str(registry.docker_config), "pull", image)
    await backend.delete_image(image)
    assert await backend.find_image(job.build.key) is None
    assert docker_engine.list("image", "ls", "--quiet", image) == []
    await backend.delete_image(image)


async def test_image_of_a_registry_becomes_an_environment(
    make_backend, docker_engine, tmp_path
) -> None:
    with run_registry(tmp_path / "registry") as registry:
        source = tmp_path / "source"
        source.mkdir()
        (source / "Dockerfile").write_text(TINY.format(name="d"))
        (source / "d").write_text("1")
        name = f"{registry.host}/org/tiny:1"
        docker_engine.run("build", "--tag", name, str(source))
        docker_engine.run("push", name)
        git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
        providers = Providers(git=git, config=Config(ImageProvider={"hosts": [registry.host]}))
        resolved = await providers.resolve(providers.understand(f"docker://{name}").spec)
        fetcher = Fetcher(git=git, archives=providers, free_bytes=0)
        await fetcher.checkout(resolved, tmp_path / "checkout")
        await providers.stop()
        dockerfile = (tmp_path / "checkout/Dockerfile").read_text()
        docker_engine.run("image", "rm", name)
        backend = await make_backend(smoke_test=False)
        made = await collect(backend, job_of(tmp_path / "job", {"Dockerfile": dockerfile}))

        def layers(image: str) -> list[str]:
            shape = "--format={{json .RootFS.Layers}}"
            return json.loads(docker_engine.run("image", "inspect", shape, image))

        docker_engine.run("pull", "--quiet", resolved.published_image)
        published = layers(resolved.published_image)
        assert layers(image_of(made).name)[: len(published)] == published


async def test_image_that_was_not_pushed_is_pushed_without_building(
    make_backend, docker_engine, registry, tmp_path
):
    traits = {"image_prefix": f"{registry.host}/again/", "smoke_test": False}
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="b"), "b": "1"})
    image = image_of(await collect(await make_backend(**traits), job)).name
    pushing = await make_backend(push=True, docker_config=str(registry.docker_config), **traits)
    assert await pushing.find_image(job.build.key) is None
    outputs = await collect(pushing, job)
    assert "has the image" in lines(outputs)[0]
    assert await pushing.find_image(job.build.key) == image


async def test_refused_push_is_a_failed_build_that_says_so(make_backend, registry, tmp_path):
    backend = await make_backend(
        image_prefix=f"{registry.host}/refused/",
        push=True,
        docker_config=str(registry.wrong_config(tmp_path / "docker")),
        smoke_test=False,
    )
    job = job_of(tmp_path / "checkout", {"Dockerfile": TINY.format(name="c"), "c": "1"})
    said = []
    with pytest.raises(BuildFailed, match="could not be pushed to the registry") as raised:
        await collect_into(said, backend, job)
    assert raised.value.error_code == "push_failed"
