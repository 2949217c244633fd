"""The repository's files in an image, where a launch looks for them."""

from __future__ import annotations

import json

import pytest

from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.backends.repo2docker.build import KEY_LABEL
from tests.kit.backend_repo2docker import SERVER
from tests.kit.jobs import collect, image_of, job_of, lines

pytestmark = pytest.mark.docker


FILES = "find /srv/repo -mindepth 1 -not -path '*/.git*' -printf '%P %U\\n' | sort; stat -c %u /srv/repo"


async def test_dockerfile_that_copies_nothing_gets_the_files_where_a_launch_looks(
    make_backend, tmp_path, docker
):
    backend = await make_backend(**docker)
    files = {
        "Dockerfile": f'{SERVER}USER 1000\nCMD ["mine"]\n',
        ".dockerignore": "*\n",
        "a.txt": "a",
        "deep/b.txt": "b",
    }
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    assert any("Adding the repository's files" in text for text in lines(outputs))
    image, engine = image_of(outputs).name, backend.container_engine
    said = await engine.ask("run", "--rm", image, "sh", "-c", FILES)
    found = [".dockerignore 1000", "Dockerfile 1000", "a.txt 1000", "deep 1000", "deep/b.txt 1000"]
    assert said.split("\n") == [*found, "1000", ""]
    config = json.loads(await engine.ask("image", "inspect", image))[0]["Config"]
    assert (config["User"], config["Cmd"]) == ("1000", ["mine"])
    assert await engine.ask("ps", "--all", "--quiet") == ""
    await backend.delete_image(image)
    key = image.rpartition("/")[2].partition(":")[0]
    assert await engine.list_images(f"label={KEY_LABEL}={key}") == ()


@pytest.mark.parametrize(
    "how",
    [
        "ARG REPO_DIR\nCOPY --chown=1000 a.txt ${REPO_DIR}/mine.txt\n",
        "RUN mkdir /elsewhere && ln -s /elsewhere /srv/repo\n",
    ],
)
async def test_dockerfile_that_puts_files_there_itself_is_left_alone(
    make_backend, docker_engine, tmp_path, how
):
    backend = await make_backend()
    files = {"Dockerfile": f"{SERVER}{how}USER 1000\n", "a.txt": "a"}
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    assert not any("Adding the repository's files" in text for text in lines(outputs))
    image = image_of(outputs).name
    assert "a.txt" not in docker_engine.list("run", "--rm", image, "ls", "/srv/repo/")


@pytest.mark.podman
async def test_podman_adds_the_files_too(podman_engine, tmp_path):
    backend = Repo2DockerBackend(
        engine="podman", work_dir=str(tmp_path / "work"), image_prefix="docker-tests/files/"
    )
    await backend.start()
    job = job_of(tmp_path / "checkout", {"Dockerfile": f"{SERVER}USER 1000\n", "a.txt": "a"})
    image = image_of(await collect(backend, job)).name
    said = await backend.container_engine.ask("run", "--rm", image, "sh", "-c", FILES)
    assert said.split("\n") == ["Dockerfile 1000", "a.txt 1000", "1000", ""]
    await backend.delete_image(image)
    mine = f"label={KEY_LABEL}={job.build.key}"
    assert await backend.container_engine.list_images(mine) == ()


async def test_empty_working_directory_is_no_place_of_files(make_backend, docker_engine, tmp_path):
    backend = await make_backend()
    files = {"Dockerfile": f"{SERVER}ARG REPO_DIR\nWORKDIR $REPO_DIR\nUSER 1000\n", "a.txt": "a"}
    image = image_of(await collect(backend, job_of(tmp_path / "checkout", files))).name
    assert docker_engine.list("run", "--rm", image, "ls") == ["Dockerfile", "a.txt"]
