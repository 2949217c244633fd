"""conda packages in real builds, from a channel that the tests make."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from traitlets.config import Config

from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.folders import end_processes
from jupyterhub_binder.demo.hub import free_ports
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Inventory, Line
from tests.kit.conda import (
    CondaChannel,
    conda_lock,
    hang,
    pixi_lock,
    python_minor,
    python_version,
    serve,
)
from tests.kit.jobs import build_hosts, collect, collect_into, image_of, job_of, lines
from tests.kit.waiting import until

pytestmark = pytest.mark.sandbox

HELLO = "def main():\n    print('hello')\n"


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> CondaChannel:
    made = CondaChannel(tmp_path_factory.mktemp("channel") / "tests")
    made.add_python()
    made.add_server()
    made.add(
        "hello",
        depends=["python", "words >=2"],
        files={"site-packages/hello.py": HELLO},
        programs=["hello = hello:main"],
        noarch=True,
    )
    made.add("words", "1.0", files={"share/words": "one"})
    made.add(
        "words",
        "2.0",
        files={
            "share/words": "two",
            "etc/conda/activate.d/words.sh": 'export WORDS="$CONDA_PREFIX/share/words"\necho hi\n',
            "etc/where": "/opt/placeholder/etc",
        },
        paths=None,
    )
    return made


async def start(folder: Path, channel: CondaChannel, **options) -> VenvBackend:
    given = {
        "channels": {"tests": channel.url},
        "base_packages": ["jupyterhub-singleuser"],
        "pythons": [python_minor()],
        **options,
    }
    backend = VenvBackend(
        environments_root=str(folder / "environments"),
        base_packages=[],
        build_hosts=build_hosts(),
        config=Config(CondaChannels=given),
    )
    await backend.start()
    return backend


def environment(*packages: str, **more: object) -> dict[str, str]:
    content = {"channels": ["tests"], "dependencies": list(packages), **more}
    return {"environment.yml": json.dumps(content)}


async def test_environment_has_packages_programs_variables_and_a_lock(channel, tmp_path):
    backend = await start(tmp_path, channel)
    files = environment("hello=1.0", variables={"COURSE": "it's a test"})
    files |= {"postBuild": '#!/bin/sh\nhello > said\necho "$COURSE $WORDS" >> said\n'}
    outputs = await collect(backend, job_of(tmp_path / "co", files))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")

    said = subprocess.run([made / "bin/hello"], capture_output=True, text=True, check=True)
    assert said.stdout == "hello\n"
    assert (made / "repo/said").read_text() == f"hello\nit's a test {made}/share/words\n"
    (inventory,) = (each for each in outputs if isinstance(each, Inventory))
    assert {(each.name, each.source) for each in inventory.packages} == {
        (name, "conda") for name in ("hello", "jupyterhub-singleuser", "python", "words")
    }
    checksum = channel.checksum("words-2.0-0.tar.bz2")
    assert f"{channel.url}/linux-64/words-2.0-0.tar.bz2#sha256:{checksum}\n" in inventory.lock
    assert inventory.tools.keys() == {"python", "uv", "rattler"}
    assert inventory.tools["python"] == python_version()
    note = json.loads((made / "conda-meta/words-2.0-0.json").read_text())
    assert note["url"] == f"{channel.url}/linux-64/words-2.0-0.tar.bz2"
    assert str(tmp_path / "environments" / ".building") not in json.dumps(note)


async def test_the_kept_lock_installs_the_same_packages_again(channel, tmp_path):
    backend = await start(tmp_path, channel)
    first = job_of(tmp_path / "a", environment("words <2", {"pip": ["cowsay==6.0"]}))
    (made,) = (each for each in await collect(backend, first) if isinstance(each, Inventory))
    assert "cowsay==6.0\n" in made.lock
    assert ("cowsay", "pip") in {(each.name, each.source) for each in made.packages}
    lock = {
        "commit": first.build.resolved_ref,
        "python": python_minor(),
        "requirements": made.lock,
    }
    options = backend.clean_options({"lock": lock})
    again = job_of(tmp_path / "b", environment("words", {"pip": ["cowsay"]}), options=options)
    (same,) = (each for each in await collect(backend, again) if isinstance(each, Inventory))
    assert (same.lock, same.packages) == (made.lock, made.packages)


async def test_another_python_than_the_preferred_one_is_found_if_a_package_needs_it(tmp_path):
    channel = CondaChannel(tmp_path / "channel")
    channel.add_python("3.8.0")
    channel.add_python("3.9.1")
    channel.add("old", depends=["python 3.8.*"])
    backend = await start(tmp_path, channel, pythons=["3.8", "3.9"], base_packages=[])
    backend.smoke_test = []
    outputs = await collect(backend, job_of(tmp_path / "co", environment("old")))
    (inventory,) = (each for each in outputs if isinstance(each, Inventory))
    assert inventory.tools["python"] == "3.8.0"


async def test_progress_names_the_packages(channel, tmp_path):
    backend = await start(tmp_path, channel)
    outputs = await collect(backend, job_of(tmp_path / "co", environment("words")))
    assert any("of 3 packages: words" in line for line in lines(outputs))
    steps = [output.step for output in outputs if isinstance(output, Line) and output.step]
    assert any(step.startswith("downloading packages, ") for step in steps)


async def fail(backend: VenvBackend, folder: Path, *packages: str, **more) -> BuildFailed:
    with pytest.raises(BuildFailed) as failed:
        await collect(backend, job_of(folder, environment(*packages, **more)))
    return failed.value


async def test_packages_that_exclude_each_other_end_the_build_with_the_reason(channel, tmp_path):
    backend = await start(tmp_path, channel)
    outputs: list = []
    job = job_of(tmp_path / "co", environment("hello", "words <2"))
    with pytest.raises(BuildFailed, match="can't be installed together") as failed:
        await collect_into(outputs, backend, job)
    assert failed.value.error_code == "conda_unsolvable"
    assert any("words >=2" in line for line in lines(outputs))


async def test_a_channel_that_does_not_answer_is_named_in_the_log(channel, tmp_path):
    gone = f"http://127.0.0.1:{free_ports(1)[0]}/tests"
    backend = await start(tmp_path, channel, channels={"tests": gone})
    failed = await fail(backend, tmp_path / "co", "words")
    assert failed.error_code == "conda_no_lists"


async def test_limits_on_packages_and_size_hold(channel, tmp_path):
    for limit, code in (
        ({"max_packages": 2}, "conda_too_many"),
        (
            {"max_download_bytes": 1000},
            "conda_too_big",
        ),
    ):
        backend = await start(tmp_path, channel, **limit)
        assert (await fail(backend, tmp_path / code, "words")).error_code == code


async def test_a_list_of_packages_that_is_too_large_ends_the_build(channel, tmp_path):
    folder = tmp_path / "huge"
    huge = CondaChannel(folder)
    huge.add_python()
    with (folder / "linux-64/repodata.json").open("a") as file:
        file.write(" " * 3_000_000)
    with serve(folder) as (url, asked):
        backend = await start(tmp_path, huge, channels={"tests": url})
        backend.max_image_bytes = 1_000_000
        failed = await fail(backend, tmp_path / "co", "words")
    assert "/linux-64/repodata.json" in asked
    assert failed.error_code in {"conda_failed", "conda_no_lists"}


async def test_a_mirror_takes_the_place_of_the_channel_that_a_repository_names(channel, tmp_path):
    public = "https://conda.anaconda.org/tests"
    with serve(channel.folder) as (url, asked):
        backend = await start(tmp_path, channel, channels={"tests": url})
        files = environment(f"{public}::words", channels=[f"{public}/"])
        outputs = await collect(backend, job_of(tmp_path / "co", files))
        (inventory,) = (each for each in outputs if isinstance(each, Inventory))
    assert f"{url}/linux-64/words-2.0-0.tar.bz2#sha256:" in inventory.lock
    assert "/linux-64/words-2.0-0.tar.bz2" in asked


def urls(channel: CondaChannel, *files: str) -> list[tuple[str, str]]:
    """Return URLs and checksums of files, under the name of a public channel."""
    public = "https://conda.anaconda.org/tests"
    return [(f"{public}/{file}", channel.checksum(file.partition("/")[2])) for file in files]


@pytest.mark.parametrize("kind", ["conda-lock.yml", "pixi.lock"])
async def test_a_lock_is_installed_as_it_says_with_the_server_beside_it(channel, tmp_path, kind):
    backend = await start(tmp_path, channel)
    packages = urls(
        channel, f"linux-64/python-{python_version()}-0.tar.bz2", "linux-64/words-1.0-0.tar.bz2"
    )
    write = conda_lock if kind == "conda-lock.yml" else pixi_lock
    files = {kind: write(packages, channel="https://conda.anaconda.org/tests")}
    if kind == "conda-lock.yml":
        files |= environment("words", variables={"COURSE": "locked"})
        files["postBuild"] = '#!/bin/sh\necho "$COURSE" > said\n'
    outputs = await collect(backend, job_of(tmp_path / "co", files))
    (inventory,) = (each for each in outputs if isinstance(each, Inventory))
    versions = {each.name: each.version for each in inventory.packages}
    assert versions == {
        "jupyterhub-singleuser": "1.0",
        "python": python_version(),
        "words": "1.0",
    }
    assert f"{channel.url}/linux-64/words-1.0-0.tar.bz2#sha256:{packages[1][1]}" in inventory.lock
    if kind == "conda-lock.yml":
        made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
        assert (made / "repo/said").read_text() == "locked\n"


async def test_what_does_not_fit_a_lock_ends_the_build_and_names_the_servers_packages(
    channel, tmp_path
):
    backend = await start(tmp_path, channel, base_packages=["hello"])
    packages = urls(
        channel, f"linux-64/python-{python_version()}-0.tar.bz2", "linux-64/words-1.0-0.tar.bz2"
    )
    job = job_of(tmp_path / "co", {"conda-lock.yml": conda_lock(packages, channel="tests")})
    with pytest.raises(BuildFailed, match="don't fit the packages that each server") as failed:
        await collect(backend, job)
    assert "hello" in failed.value.detail["hint"]


async def test_a_locks_packages_of_pypi_are_compared_with_their_checksums(channel, tmp_path):
    backend = await start(tmp_path, channel)
    python = urls(channel, f"linux-64/python-{python_version()}-0.tar.bz2")
    outputs: list = []
    lock = conda_lock(python, [("cowsay", "6.0", "0" * 64)], channel="tests")
    with pytest.raises(BuildFailed):
        await collect_into(outputs, backend, job_of(tmp_path / "co", {"conda-lock.yml": lock}))
    assert any("Hash mismatch" in line for line in lines(outputs))


def cached(backend: VenvBackend) -> set[str]:
    folder = Path(backend.environments_root) / ".wheels/conda/archives"
    return {path.name for path in folder.rglob("*.tar.bz2")}


async def test_packages_that_no_build_used_for_a_day_are_removed_for_space(channel, tmp_path):
    backend = await start(tmp_path, channel, base_packages=[])
    backend.smoke_test = []
    await collect(backend, job_of(tmp_path / "a", environment("words <2")))
    await collect(backend, job_of(tmp_path / "b", environment("words")))
    assert "words-1.0-0.tar.bz2" in cached(backend)
    assert await backend.fetch_cache_bytes() > 1_000_000
    assert await backend.trim_cache(2**40) == 0
    (old,) = Path(backend.environments_root).rglob("words-1.0-0.tar.bz2")
    os.utime(old, (0, 0))
    assert await backend.trim_cache(2**40) > 0
    assert cached(backend) == {f"python-{python_version()}-0.tar.bz2", "words-2.0-0.tar.bz2"}


async def test_a_cancelled_build_ends_its_download_and_leaves_nothing(channel, tmp_path):
    with hang() as (url, asked):
        backend = await start(tmp_path, channel, channels={"tests": url})
        task = asyncio.create_task(collect(backend, job_of(tmp_path / "co", environment("words"))))
        await until(asked.is_set)
        building = Path(backend.environments_root) / ".building"
        (workspace,) = building.iterdir()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert list(building.iterdir()) == []
    assert end_processes(workspace) == 0
