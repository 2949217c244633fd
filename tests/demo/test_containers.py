"""The demonstration with containers: the whole job, and which containers are left: none."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyterhub_binder.client.client import BinderClient
from jupyterhub_binder.client.follow import Reporter, follow_launch
from jupyterhub_binder.demo.containers import LABEL, _first_address, choose
from jupyterhub_binder.demo.hub import find_ours
from jupyterhub_binder.demo.person import Person
from jupyterhub_binder.demo.state import PERSON, DemoError, DemoState
from jupyterhub_binder.utils.names import new_id
from tests.kit.engine import Engine
from tests.kit.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

SECONDS = 600


@pytest.fixture(scope="module")
def state(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoState]:
    folder = tmp_path_factory.mktemp("demo")
    with DemoState.open(folder) as state:
        pass
    yield state
    for process in find_ours(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()
    for container in containers_of(docker_engine, state):
        docker_engine.run("rm", "--force", container)
    for volume in volumes_of(docker_engine, state):
        docker_engine.run("volume", "rm", volume)


def command(state: DemoState, engine: Engine, *options: str) -> list[str]:
    demo = [sys.executable, "-m", "jupyterhub_binder", "demo", "--state", str(state.folder)]
    return [*demo, "--base-image", engine.base_image, *options]


def containers_of(engine: Engine, state: DemoState) -> list[str]:
    return engine.list("ps", "--all", "--quiet", "--filter", f"label={LABEL}={state.name}")


def volumes_of(engine: Engine, state: DemoState) -> list[str]:
    return engine.list("volume", "ls", "--quiet", "--filter", f"name={state.name}")


def test_whole_job_in_containers_where_docker_answers(
    docker_engine: Engine, state: DemoState
) -> None:
    check = command(state, docker_engine, "--check")
    done = subprocess.run(check, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Backend repo2docker: " in done.stdout
    assert "see that the edit is still there" in done.stdout
    assert find_ours(state.folder) == []
    assert containers_of(docker_engine, state) == []
    assert volumes_of(docker_engine, state) == [f"{state.name}-check"]


async def test_killed_demonstration_takes_its_containers_with_it(
    docker_engine: Engine, state: DemoState
) -> None:
    output = state.folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(command(state, docker_engine), stdout=file, stderr=file)
    try:
        wait_until(
            lambda: "Press Ctrl-C to stop" in output.read_text() or process.poll() is not None,
            seconds=SECONDS,
        )
        found = re.search(r"Open +(http://\S+/)services/binder/", output.read_text())
        assert found, output.read_text()
        await launch(found[1], state)
        assert len(containers_of(docker_engine, state)) == 1
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not containers_of(docker_engine, state), seconds=120)
    wait_until(lambda: not find_ours(state.folder), seconds=120)
    assert f"{state.name}-{PERSON}" in volumes_of(docker_engine, state), "the home stays"


async def launch(hub_url: str, state: DemoState) -> None:
    """Start a server in the example's environment, as its person."""
    async with Person(hub_url, PERSON, state.password) as person:
        token = await person.make_token("test")
        async with BinderClient(hub_url, token) as client:
            [environment] = await client.environments()
            started = await client.launch(environment["id"], {})
            assert (await follow_launch(client, started, Reporter()))["state"] == "ready"


async def test_containers_of_a_killed_hub_are_removed_at_the_next_start(
    docker_engine: Engine,
) -> None:
    name, other = f"binder-demo-{new_id()}", f"binder-demo-{new_id()}"
    for owner in (name, other):
        volume = f"--volume={owner}-ada:/home/jovyan"
        words = ["run", "--detach", f"--label={LABEL}={owner}", volume, docker_engine.base_image]
        docker_engine.run(*words, "sleep", "600")
    try:
        ours = await choose("auto", name=name, base_image=docker_engine.base_image)
        assert ours is not None
        await ours.remove_all()
        assert docker_engine.list("ps", "-aq", f"--filter=label={LABEL}={name}") == []
        assert docker_engine.list("volume", "ls", "-q", f"--filter=name={name}") != []
        await ours.remove_homes()
        assert docker_engine.list("volume", "ls", "-q", f"--filter=name={name}") == []
    finally:
        [left] = docker_engine.list("ps", "-aq", f"--filter=label={LABEL}={other}")
        docker_engine.run("rm", "--force", left)
        docker_engine.run("volume", "rm", f"{other}-ada")


async def test_base_image_that_cannot_be_had_leads_to_folders_and_says_so(
    docker_engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = "127.0.0.1:1/no/base:1"
    assert await choose("auto", name="x", base_image=gone) is None
    said = capsys.readouterr().out
    assert "Backend venv: " in said
    assert f"Can't pull the base image {gone}: " in said
    with pytest.raises(DemoError, match=r"Containers can.t be used"):
        await choose("repo2docker", name="x", base_image=gone)


async def test_engine_that_may_be_another_machines_is_not_taken(
    docker_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docker = shutil.which("docker")
    script = f'#!/bin/sh\n[ "$1" = context ] && echo ssh://far.example.org || exec {docker} "$@"\n'
    (tmp_path / "docker").write_text(script)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DemoError, match=r"ssh://far\.example\.org"):
        await choose("repo2docker", name="x", base_image=docker_engine.base_image)


@pytest.mark.parametrize(
    ("found", "address"),
    [("172.17.0.1", "172.17.0.1"), ("172.17.0.0/16", "172.17.0.1"), ("<no", "")],
)
def test_bridge_that_names_only_its_subnet_has_its_first_address(found, address) -> None:
    assert _first_address(found) == address
