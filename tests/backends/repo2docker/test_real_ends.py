"""Builds of the repo2docker backend that are ended, and engines that are away."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from jupyterhub_binder.backends.repo2docker import backend as repo2docker
from jupyterhub_binder.backends.repo2docker import build
from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model import Line
from jupyterhub_binder.utils.names import new_id
from tests.kit.backend_repo2docker import SERVER
from tests.kit.engine import BASE_IMAGE, start_mortal_engine
from tests.kit.jobs import collect, image_of, job_of, lines
from tests.kit.waiting import until

pytestmark = pytest.mark.docker


def processes(word: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def test_cancel_ends_the_build_inside_the_engine(make_backend, tmp_path, docker):
    backend = await make_backend(**docker)
    seconds = f"4{os.getpid()}"  # a word that no other run of the tests has
    dockerfile = f"{SERVER}RUN : {tmp_path}; echo started; sleep {seconds} & sleep {seconds}\n"
    outputs = backend.build(job_of(tmp_path / "checkout", {"Dockerfile": dockerfile}))
    async for output in outputs:
        if isinstance(output, Line) and output.text.endswith("started"):
            break
    await until(lambda: processes(seconds))
    await outputs.aclose()
    await until(lambda: not processes(seconds))
    assert list(Path(backend.work_dir).iterdir()) == []


@pytest.mark.parametrize("place", ["build", "smoke test"])
async def test_killed_service_leaves_nothing_after_the_next_start(
    make_backend, docker_engine, tmp_path, docker, place
):
    seconds = f"5{os.getpid()}"
    server = "/usr/local/bin/jupyterhub-singleuser"
    step = {
        "build": f"sleep {seconds}",
        "smoke test": f"printf '#!/bin/sh\\nsleep {seconds}; echo 5.4.0\\n' > {server}",
    }
    dockerfile = f"{SERVER}RUN : {tmp_path}; {step[place]}\nUSER 1000\n"
    traits = {
        "work_dir": str(tmp_path / "work"),
        "image_prefix": f"docker-tests/{new_id()}/",
        "smoke_test_seconds": 1000.0,
        **docker,
    }
    command = [sys.executable, "-m", "tests.kit.killed_image_build", json.dumps(traits)]
    service = await asyncio.create_subprocess_exec(
        *command, str(tmp_path / "checkout"), dockerfile, stdout=asyncio.subprocess.PIPE
    )
    assert service.stdout is not None
    workspace = json.loads(await service.stdout.readline())["workspace"]
    await until(lambda: processes(seconds))
    service.kill()
    await service.wait()
    assert processes(seconds)
    backend = await make_backend(**traits)
    await until(lambda: not (tmp_path / "work" / workspace).exists())
    await until(lambda: not processes(seconds))
    await until(lambda: docker_engine.list("ps", "--all", "--quiet") == [])
    # What was killed in its midst can be asked for again.
    good = job_of(tmp_path / "again", {"Dockerfile": f"{SERVER}USER 1000\n"})
    assert image_of(await collect(backend, good))
    assert list(Path(backend.work_dir).iterdir()) == []


async def test_image_that_an_engine_wrote_after_its_build_had_ended_is_removed(
    make_backend, docker_engine, tmp_path, monkeypatch
):
    """An engine writes an image to its end, and names it, though nobody waits for it any more."""
    backend = await make_backend()
    job = job_of(tmp_path / "checkout", {"Dockerfile": f"{SERVER}USER 1000\n"})
    workspace = build.workspace_name(job.build.id)
    late = build.temporary_name(backend.image_prefix, workspace)
    listed = ("image", "ls", "--quiet", late)
    docker_engine.run("image", "tag", BASE_IMAGE, late)
    with monkeypatch.context() as patch:
        patch.setattr(build, "_UNDER_WAY", {workspace})
        await backend._sweep()
        assert docker_engine.list(*listed) != []  # it is being made
    await backend._sweep()
    assert docker_engine.list(*listed) == []


@pytest.mark.timeout(600)
async def test_build_of_a_killed_engine_begins_again_with_the_next(
    make_backend, require_docker, monkeypatch, tmp_path
):
    with start_mortal_engine() as (engine, daemon):
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        backend = await make_backend()
        seconds = f"6{os.getpid()}"
        first = tmp_path / "first"
        first.touch()
        dockerfile = f"{SERVER}RUN echo started; sleep {seconds}\nUSER 1000\n"
        job = job_of(tmp_path / "checkout", {"Dockerfile": dockerfile})
        outputs = []
        async for output in backend.build(job):
            outputs.append(output)
            if isinstance(output, Line) and output.text.endswith("started") and first.exists():
                first.unlink()
                await until(lambda: processes(seconds))
                await asyncio.to_thread(daemon.kill)
                quick = dockerfile.replace(f"sleep {seconds}", "true")
                (tmp_path / "checkout" / "Dockerfile").write_text(quick)
                await asyncio.to_thread(daemon.start)
        assert image_of(outputs).name
        assert "The container engine stopped" in "\n".join(lines(outputs))


async def test_engine_that_went_away_is_ill(make_backend, tmp_path):
    backend = await make_backend()
    assert await backend.health() is None
    backend.container_engine.environment = {
        **backend.container_engine.environment,
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
    }
    assert "Is it running?" in (await backend.health() or "")


async def test_engine_that_does_not_answer_is_refused_at_start(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ConfigurationError, match=r"Repo2DockerBackend\.engine.*DOCKER_HOST"):
        await Repo2DockerBackend(work_dir=str(tmp_path)).start()


async def test_missing_program_is_named(tmp_path):
    backend = Repo2DockerBackend(work_dir=str(tmp_path), engine="no-such-engine")
    with pytest.raises(ConfigurationError, match=r"no-such-engine.*Install Docker or Podman"):
        await backend.start()


async def test_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(repo2docker.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"jupyterhub-binder\[repo2docker\]"):
        await Repo2DockerBackend(work_dir=str(tmp_path)).start()
