"""The venv backend beyond what all backends do alike: what it makes, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jupyterhub_binder.backends.venv import folders
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.folders import MARKER, Folders, end_processes
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import Checkpoint, Inventory, Line
from tests.kit.backends import processes_under
from tests.kit.failing_logs import explain_outputs
from tests.kit.jobs import (
    again,
    build_hosts,
    collect,
    collect_into,
    image_of,
    job_of,
    lines,
    make_checkout,
)
from tests.kit.waiting import until


@pytest.fixture
async def backend(tmp_path):
    root = str(tmp_path / "environments")
    backend = VenvBackend(
        environments_root=root, base_packages=[], smoke_test=[], build_hosts=build_hosts()
    )
    await backend.start()
    return backend


def root_of(backend: VenvBackend) -> Path:
    return Path(backend.environments_root)


async def make(backend: VenvBackend, folder: Path, files: dict[str, str]) -> Path:
    outputs = await collect(backend, job_of(folder, files))
    return root_of(backend) / image_of(outputs).name.removeprefix("venv:")


def python(made: Path, *args: str) -> str:
    done = subprocess.run([made / "bin/python", *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_environment_has_package_lock_note_and_repository(backend, tmp_path):
    files = {"requirements.txt": "cowsay\n", "notes/a.md": "hello"}
    made = await make(backend, tmp_path / "co", files)
    assert python(made, "-c", "import cowsay, sys; print(sys.prefix)") == str(made)
    assert (made / "binder/lock.txt").read_text().startswith("cowsay==")
    note = json.loads((made / "binder/image.json").read_text())
    assert note["packages"] == 1
    assert note["size_bytes"] > 10_000
    assert (made / "repo/notes/a.md").read_text() == "hello"
    assert list(made.glob("lib/python*/site-packages/cowsay/__pycache__/main.*.pyc"))


async def test_installed_packages_are_told_with_a_lock_that_names_no_path(backend, tmp_path):
    files = {"requirements.txt": "cowsay\n", "postBuild": "#!/bin/sh\ntrue\n"}
    outputs = await collect(backend, job_of(tmp_path / "co", files))
    (inventory,) = (each for each in outputs if isinstance(each, Inventory))
    assert [each.name for each in inventory.packages] == ["cowsay"]
    assert inventory.lock == f"cowsay=={inventory.packages[0].version}\n"
    assert set(inventory.tools) == {"python", "uv"}


async def test_a_lock_installs_what_a_receipt_says_and_nothing_newer(backend, tmp_path):
    first = job_of(tmp_path / "a", {"requirements.txt": "cowsay==6.0\n"})
    (made,) = (each for each in await collect(backend, first) if isinstance(each, Inventory))
    lock = {
        "commit": first.build.resolved_ref,
        "python": backend.default_python,
        "requirements": made.lock,
    }
    options = backend.clean_options({"lock": lock})
    again = job_of(tmp_path / "b", {"requirements.txt": "cowsay\n"}, options=options)
    (same,) = (each for each in await collect(backend, again) if isinstance(each, Inventory))
    assert (same.lock, same.packages) == (made.lock, made.packages)
    moved = {"lock": {**options["lock"], "commit": "another"}}
    with pytest.raises(BuildFailed, match="receipt of another commit"):
        await collect(backend, job_of(tmp_path / "c", {}, options=moved))


async def test_what_is_asked_for_and_what_the_hub_adds_are_resolved_together(backend, tmp_path):
    backend.base_packages = ["cowsay==6.1"]
    with pytest.raises(BuildFailed) as failed:
        await make(backend, tmp_path / "co", {"requirements.txt": "cowsay==5.0\n"})
    assert "Every environment also needs" in failed.value.detail["hint"]


async def test_constraints_of_the_admin_hold(backend, tmp_path):
    backend.constraints = ["cowsay<6"]
    made = await make(backend, tmp_path / "co", {"requirements.txt": "cowsay\n"})
    assert "cowsay==6" not in (made / "binder/lock.txt").read_text()


@pytest.mark.parametrize(
    ("line", "rule", "value"),
    [
        ("nosuchpackage-9f3a==1", "package-not-found", "nosuchpackage-9f3a"),
        ("cowsay==99", "package-version-not-found", "cowsay==99"),
    ],
)
async def test_log_of_a_failure_is_explained_by_the_rules(backend, tmp_path, line, rule, value):
    outputs = []
    with pytest.raises(BuildFailed) as failed:
        await collect_into(
            outputs, backend, job_of(tmp_path / "co", {"requirements.txt": f"{line}\n"})
        )
    reason = explain_outputs(outputs, failed.value)
    assert reason.explanation.rule == rule
    assert value in reason.message
    assert str(tmp_path) not in reason.explanation.line


async def test_file_that_cannot_be_served_fails_with_the_words_of_the_assessment(backend, tmp_path):
    job = job_of(tmp_path / "co", {"apt.txt": "vim\n"})
    [problem] = backend.assess(job.recipe, {}).problems
    with pytest.raises(BuildFailed) as failed:
        await collect(backend, job)
    assert failed.value.message == problem.message


async def test_missing_python_is_refused(backend, tmp_path):
    with pytest.raises(BuildFailed, match=r"asks for Python 2\.7"):
        await collect(backend, job_of(tmp_path / "co", {}, python="2.7"))


@pytest.mark.sandbox
async def test_failure_of_post_build_quotes_its_last_line(backend, tmp_path):
    script = "#!/bin/sh\necho the disk is on fire\nexit 3\n"
    with pytest.raises(BuildFailed, match=r"exit status 3.*the disk is on fire") as failed:
        await make(backend, tmp_path / "co", {"postBuild": script})
    assert failed.value.error_code == "post_build_failed"


@pytest.mark.sandbox
async def test_post_build_leaves_its_files_in_the_repository(backend, tmp_path):
    job = job_of(tmp_path / "co", {"postBuild": "#!/bin/sh\necho x > made.txt\n"})
    outputs = await collect(backend, job)
    made = Path(image_of(outputs).name.removeprefix("venv:"))
    assert (root_of(backend) / made / "repo/made.txt").read_text() == "x\n"
    assert [str(each.step) for each in outputs if isinstance(each, Line) and each.step] == [
        "running postBuild",
        "compiling to bytecode",
    ]


@pytest.mark.sandbox
async def test_source_distribution_is_built_in_the_sandbox(backend, tmp_path):
    made = await make(backend, tmp_path / "co", {"requirements.txt": "docopt==0.6.2\n"})
    assert python(made, "-c", "import docopt; print(docopt.__version__)") == "0.6.2"


@pytest.mark.sandbox
async def test_receipt_whose_package_has_no_wheel_starts_over_without_links(backend, tmp_path):
    backend.servers_cannot_write = True
    lock = {"commit": "c" * 40, "python": backend.default_python, "requirements": "docopt==0.6.2\n"}
    job = job_of(tmp_path / "co", {"a.md": "x"}, options=backend.clean_options({"lock": lock}))
    made = root_of(backend) / image_of(await collect(backend, job)).name.removeprefix("venv:")
    assert python(made, "-c", "import docopt; print(docopt.__version__)") == "0.6.2"
    assert (made / "repo/a.md").exists()


@pytest.mark.sandbox
@pytest.mark.parametrize("sandboxed", [True, False])
async def test_editable_install_works_at_the_final_place(backend, tmp_path, sandboxed):
    backend.allow_unsandboxed = True
    if not sandboxed:
        backend._sandbox = None
    setup = "from setuptools import setup\nsetup(name='mine', version='1', py_modules=['mine'])\n"
    files = {"requirements.txt": "-e .\n", "setup.py": setup, "mine.py": "print('mine')\n"}
    made = await make(backend, tmp_path / "co", files)
    assert python(made, "-c", "import mine; print(mine.__file__)").endswith(f"{made}/repo/mine.py")


async def test_two_builds_of_one_key_leave_one_whole_environment(backend, tmp_path):
    job = job_of(tmp_path / "co", {"requirements.txt": "cowsay\n"})
    twin = replace(job, build=replace(job.build, id="2222222222"))
    await asyncio.gather(collect(backend, job), collect(backend, twin))
    assert await backend.find_image(job.build.key)
    assert [path.name for path in root_of(backend).iterdir() if path.name[0] != "."] == [
        job.build.key
    ]


async def test_environment_without_its_note_or_its_python_is_not_found(backend, tmp_path):
    job = job_of(tmp_path / "co", {})
    made = root_of(backend) / image_of(await collect(backend, job)).name.removeprefix("venv:")
    (made / "bin").chmod(0o755)
    (made / "bin/python").rename(made / "bin/gone")
    assert await backend.find_image(job.build.key) is None


async def test_delete_refuses_what_is_no_environment(backend):
    for image in ("venv:../x", "venv:", "venv:.cache", "venv:a/b"):
        with pytest.raises(ValueError, match="not the key"):
            await backend.delete_image(image)
    await backend.delete_image("docker.io/library/x")


@pytest.mark.parametrize("sandboxed", ["yes", "no"])
@pytest.mark.parametrize("way", ["start", "checkpoint"])
async def test_what_a_killed_service_left_is_removed(backend, tmp_path, way, sandboxed):
    script = "#!/bin/sh\necho started\nsetsid sleep 1000 & sleep 1000\n"
    checkout = make_checkout(tmp_path / "co", {"postBuild": script})
    child = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).parents[2] / "kit" / "killed_build.py",
            root_of(backend),
            checkout,
            sandboxed,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    with contextlib.closing(child.stdout):
        checkpoint = next(line for line in child.stdout if "workspace" in line)
        assert any("started" in line for line in child.stdout)
        child.kill()
    child.wait()
    [left] = (root_of(backend) / ".building").iterdir()
    assert left.name in checkpoint
    if way == "start":
        await backend.start()
    else:
        job = job_of(tmp_path / "good", {})
        key = left.name.rpartition("-")[0]
        job = again(replace(job, build=replace(job.build, base_key=key)), {"workspace": left.name})
        image_of(await collect(backend, job))
    assert processes_under(root_of(backend)) == []
    assert list((root_of(backend) / ".building").iterdir()) == []


def test_process_that_is_started_while_others_end_is_ended_too(monkeypatch):
    """A process may start another one between the look at all processes and its own end."""

    class Process:
        def __init__(self, child: Process | None = None) -> None:
            self.child = child

        def kill(self) -> None:
            running.discard(self)
            if self.child:
                running.add(self.child)

        def is_running(self) -> bool:
            return self in running

        def status(self) -> str:
            return psutil.STATUS_RUNNING

    running = {Process(Process())}
    monkeypatch.setattr(folders, "_processes_of", lambda _: iter(set(running)))
    assert end_processes(Path("workspace")) == 2
    assert running == set()


async def test_workspace_of_a_service_that_lives_is_left_alone(backend):
    other = root_of(backend) / ".building/k-2222222222"
    other.mkdir()
    owner = psutil.Process(os.getppid())
    note = {"pid": owner.pid, "created": owner.create_time()}
    (other / "owner.json").write_text(json.dumps(note))
    assert Folders(root_of(backend)).sweep() == []
    (other / "owner.json").write_text(json.dumps({**note, "created": 1.0}))
    assert Folders(root_of(backend)).sweep() == [other.name]


async def test_files_that_a_killed_service_left_are_removed_after_the_start(backend):
    left = root_of(backend) / ".building/k-1"
    left.mkdir()
    for number in range(5000):
        (left / str(number)).touch()
    folders = Folders(root_of(backend))
    assert folders.sweep() == ["k-1"]
    assert not left.exists()
    assert list(folders.deleted.iterdir())
    await until(lambda: not list(folders.deleted.iterdir()))


async def test_checkpoint_of_another_shape_harms_nothing(backend, tmp_path):
    kept = await make(backend, tmp_path / "kept", {})
    for data in ({"workspace": f"../{kept.name}"}, {"workspace": 3}, {"workspace": ".."}, {}):
        job = job_of(tmp_path / f"co-{data.get('workspace', '')!s}".replace("/", "-"), {})
        await collect(backend, again(job, data))
    assert kept.exists()


async def test_only_processes_of_the_workspace_are_ended(tmp_path):
    def start(place: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "1000"], env={MARKER: str(place), **os.environ})

    mine, other = start(tmp_path / "a"), start(tmp_path / "ab")
    try:
        assert await asyncio.to_thread(end_processes, tmp_path / "a") == 1
        assert mine.wait() != 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_first_output_is_the_checkpoint(backend, tmp_path):
    outputs = await collect(backend, job_of(tmp_path / "co", {}))
    assert isinstance(outputs[0], Checkpoint)


@pytest.mark.parametrize(
    ("trait", "config"),
    [
        ("pythons", {"pythons": {"3.11": "/nonexistent/python"}}),
        ("default_python", {"default_python": "2.7"}),
        ("environments_root", {"environments_root": "/proc/nothing"}),
    ],
)
async def test_bad_configuration_fails_at_start_and_names_the_trait(tmp_path, trait, config):
    backend = VenvBackend(**{"environments_root": str(tmp_path / "e"), **config})
    with pytest.raises(ConfigurationError, match=f"VenvBackend.{trait}"):
        await backend.start()


async def test_credentials_of_an_index_are_in_no_line(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_EXTRA_INDEX_URL", "https://me:hunter2@127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    said: list[str] = []
    with contextlib.suppress(BuildFailed):
        said = lines(await collect(backend, job_of(tmp_path / "a", {"requirements.txt": "cowsay"})))
    with pytest.raises(BuildFailed) as failed:
        await make(backend, tmp_path / "b", {"requirements.txt": "nosuchpackage-9f3a"})
    assert "hunter2" not in "\n".join([*said, failed.value.message])


@pytest.mark.slow
@pytest.mark.thorough
async def test_default_environment_starts_a_server_and_runs_a_cell(tmp_path):
    backend = VenvBackend(environments_root=str(tmp_path / "environments"))
    await backend.start()
    made = await make(backend, tmp_path / "co", {"requirements.txt": "cowsay==6.1\n"})
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for program in ("jupyterhub-singleuser", "jupyter-lab", "pip"):
        subprocess.run([made / "bin" / program, "--version"], check=True, env=clean)
    notebook = tmp_path / "a.ipynb"
    cell = {
        "cell_type": "code",
        "id": "a",
        "source": "import cowsay, sys; print(sys.prefix)",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    notebook.write_text(
        json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})
    )
    subprocess.run(
        [made / "bin/jupyter", "nbconvert", "--to", "notebook", "--execute", "--inplace", notebook],
        check=True,
        env=clean,
    )
    assert str(made) in notebook.read_text()


async def test_what_post_build_writes_to_the_home_folder_is_said_not_to_be_kept(backend, tmp_path):
    script = "#!/bin/sh\ncd && echo x > .vimrc\n"
    said = lines(await collect(backend, job_of(tmp_path / "co", {"postBuild": script})))
    assert [line for line in said if "not kept: .vimrc" in line]
