"""Images of the repo2docker backend in a real registry."""

from __future__ import annotations

import pytest

from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Line, Phase
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
