"""The demonstration: the whole job, and what is left when it ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jupyterhub_binder.demo import _welcome
from jupyterhub_binder.demo.containers import choose
from jupyterhub_binder.demo.hub import DemoHub, find_ours
from jupyterhub_binder.demo.state import DemoError, DemoState
from tests.kit.waiting import wait_until

COMMAND = [sys.executable, "-m", "jupyterhub_binder", "demo", "--backend", "venv", "--state"]
SECONDS = 540

pytestmark = pytest.mark.timeout(SECONDS + 60)


def as_in_a_terminal() -> None:
    """Heed the signals that `nohup` and a shell's background ignore for what they start."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    for process in find_ours(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()


@contextlib.contextmanager
def demonstration(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start one, and give it once it has welcomed the person."""
    output = folder / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, str(folder)],
            stdout=file,
            stderr=file,
            text=True,
            preexec_fn=as_in_a_terminal,
        )
    try:
        wait_until(
            lambda: "Press Ctrl-C to stop" in output.read_text() or process.poll() is not None,
            seconds=SECONDS,
        )
        assert process.poll() is None, output.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_whole_job_from_the_examples_address_to_an_edit_that_survives(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(folder), "--check"], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Backend venv (as requested)" in done.stdout
    assert "see that the edit is still there" in done.stdout
    assert find_ours(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_end_by_signal_leaves_no_process(folder: Path, number: signal.Signals) -> None:
    with demonstration(folder) as process:
        assert len(find_ours(folder)) >= 3  # hub, proxy, service
        process.send_signal(number)
        assert process.wait(60) == 0
    assert find_ours(folder) == []


@pytest.mark.slow
@pytest.mark.thorough
def test_killed_demonstration_takes_its_hub_with_it(folder: Path) -> None:
    with demonstration(folder) as process:
        process.kill()
        wait_until(lambda: not find_ours(folder), seconds=60)


@pytest.mark.slow
@pytest.mark.thorough
def test_demonstration_ends_when_whoever_started_it_is_gone(folder: Path) -> None:
    output = folder / "output"
    output.unlink(missing_ok=True)
    command = " ".join([*COMMAND, str(folder), ">", str(output), "2>&1", "&", "wait"])
    shell = subprocess.Popen(["/bin/sh", "-c", command], preexec_fn=as_in_a_terminal)
    wait_until(
        lambda: output.exists() and "Press Ctrl-C to stop" in output.read_text(), seconds=SECONDS
    )
    shell.kill()
    shell.wait()
    wait_until(lambda: not find_ours(folder), seconds=60)


def test_two_demonstrations_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        DemoState.open(tmp_path),
        pytest.raises(DemoError, match="Another demo"),
        DemoState.open(tmp_path),
    ):
        pass


def test_example_makes_the_same_commit_everywhere(tmp_path: Path) -> None:
    commits = set()
    for name in ("one", "two words"):
        with DemoState.open(tmp_path / name) as state:
            example = Path(state.example_url.removeprefix("file://"))
            git = ["git", "-C", str(example), "rev-parse", "HEAD"]
            commits.add(subprocess.run(git, capture_output=True, text=True, check=True).stdout)
    assert len(commits) == 1


@pytest.mark.parametrize("name", ["state", "two words"])
def test_greeting_names_the_folder_of_ones_own_repositories_which_stay(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DemoHub, "url", "http://127.0.0.1:8000/")
    with DemoState.open(tmp_path / name) as state:
        greeting = _welcome(state, DemoHub(state))
        own = state.repositories / "mine"
        own.mkdir()
        state.make_example()
        assert f"file://{own.parent}/NAME" in greeting
        assert own.exists()
        shutil.rmtree(state.repositories)


def test_secrets_of_the_demonstration_are_for_its_owner_alone(tmp_path: Path) -> None:
    with DemoState.open(tmp_path / "state") as state:
        assert state.folder.stat().st_mode & 0o077 == 0
        assert (state.folder / "password").stat().st_mode & 0o077 == 0
        assert len(state.admin_password) >= 32
        assert os.environ.get("JUPYTERHUB_BINDER_DEMO") is None


async def test_without_docker_it_takes_folders_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await choose("auto", name="x") is None
    said = capsys.readouterr().out
    assert said.startswith("Backend venv: ")
    assert "'docker' is not installed" in said


async def test_base_image_that_cannot_be_had_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("""#!/bin/sh
case "$1" in
    context) echo unix:///var/run/docker.sock;;
    network) echo 127.0.0.1;;
    image) echo No such image; exit 1;;
    pull) echo no such host; exit 1;;
    *) echo 29.1.2;;
esac
""")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert await choose("auto", name="x", base_image="no.example/base:1") is None
    said = capsys.readouterr().out
    assert "Can't pull the base image no.example/base:1: no such host. Name one" in said
    assert 'ARGS="--base-image IMAGE"' in said


async def test_proxy_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("jupyterhub_binder.demo.hub.importlib.util.find_spec", lambda _name: None)
    with (
        DemoState.open(tmp_path) as state,
        pytest.raises(DemoError, match=r"with its extra \[demo\]"),
    ):
        await DemoHub(state).start()


def test_containers_that_are_asked_for_and_cannot_be_are_an_error(tmp_path: Path) -> None:
    command = [*COMMAND, str(tmp_path), "--backend", "repo2docker"]
    nowhere = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = subprocess.run(command, env=nowhere, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Error: Containers can't be used." in done.stderr
