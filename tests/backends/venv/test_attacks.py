"""A repository that means harm: each rule of the venv backend with the attack that it stops.

Every build here is real. What an attack would have to reach is really there.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.utils import trees
from tests.kit.failing_logs import explain_outputs
from tests.kit.jobs import (
    build_hosts,
    collect,
    collect_into,
    image_of,
    job_of,
    lines,
    make_checkout,
)
from tests.kit.waiting import until

pytestmark = pytest.mark.sandbox

SETUP = """
from setuptools import setup
import os
import re
for place in {places!r}:
    try:
        open(place, "a").write("setup.py was here")
        print("WROTE", place)
    except OSError as error:
        print("REFUSED", place, error)
setup(name="harm", version="1", py_modules=[])
"""


@pytest.fixture
async def backend(tmp_path):
    backend = make_backend(tmp_path)
    await backend.start()
    return backend


def make_backend(folder: Path, **more) -> VenvBackend:
    root = str(folder / "environments")
    given = {"base_packages": [], "smoke_test": [], "build_hosts": build_hosts(), **more}
    return VenvBackend(environments_root=root, **given)


def root_of(backend: VenvBackend) -> Path:
    return Path(backend.environments_root)


def folder_of(backend: VenvBackend, image: str) -> Path:
    return root_of(backend) / image.removeprefix("venv:")


async def build(backend: VenvBackend, folder: Path, **files: str) -> tuple[Path, list[str]]:
    named = {name.replace("__", "."): text for name, text in files.items()}
    outputs = await collect(backend, job_of(folder, named))
    return folder_of(backend, image_of(outputs).name), lines(outputs)


def script(text: str) -> str:
    return "#!/bin/bash\n" + text


async def test_setup_py_writes_nothing_outside(backend, tmp_path):
    secret = tmp_path / "service.sqlite"
    secret.write_text("")
    places = [str(secret), "/usr/harm", "/etc/harm", str(root_of(backend) / "harm")]
    _, said = await build(
        backend, tmp_path / "co", requirements__txt="-e .\n", setup__py=SETUP.format(places=places)
    )
    assert secret.read_text() == ""
    assert not any(Path(place).exists() for place in places[1:])
    assert any("installing" in line.lower() or "harm" in line for line in said)


async def test_resolving_runs_no_setup_py_on_the_host(backend, tmp_path, monkeypatch):
    backend._sandbox, backend._why_no_sandbox = None, "Install bubblewrap."
    harm = tmp_path / "harm"
    with pytest.raises(BuildFailed, match="Install bubblewrap"):
        await build(
            backend,
            tmp_path / "co",
            requirements__txt=".\n",
            setup__py=SETUP.format(places=[str(harm)]),
        )
    assert not harm.exists()


async def test_source_distribution_of_an_index_is_refused_without_a_sandbox(backend, tmp_path):
    backend._sandbox, backend._why_no_sandbox = None, "Install bubblewrap."
    with pytest.raises(BuildFailed, match="can't be installed") as refused:
        await build(backend, tmp_path / "co", requirements__txt="docopt==0.6.2\n")
    assert re.search(r"only wheels.*Install bubblewrap", refused.value.detail["hint"])


async def test_post_build_sees_neither_homes_nor_the_service_nor_its_variables(
    backend, tmp_path, monkeypatch
):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "a-secret")
    monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", "a-secret")
    (tmp_path / "service.sqlite").write_text("a-secret")
    (tmp_path / "co.sh").write_text("a-secret")
    attack = f"""
    cat {tmp_path}/service.sqlite {tmp_path}/co.sh
    ls -A /root/.ssh ~root/.ssh {root_of(backend)}/.wheels {tmp_path} /var/lib /srv
    cat /proc/*/environ /etc/shadow /etc/passwd | tr '\\0' '\\n'
    env; ps aux 2>/dev/null; true
    """
    _, said = await build(backend, tmp_path / "co", postBuild=script(attack))
    text = "\n".join(said)
    assert "a-secret" not in text
    assert "builder:x:1000" in text
    assert "bwrap" not in text.replace("/usr/bin/bwrap", "")


async def test_post_build_sets_nothing_of_the_kernel_and_sees_no_private_key(backend, tmp_path):
    # A service that runs as root is root to the kernel inside of the sandbox, too.
    attack = """
    for f in kernel/core_pattern kernel/modprobe vm/swappiness; do
      (: >> /proc/sys/$f) && echo OPENED $f
    done
    ls /etc/ssl /etc/pki/tls | grep private
    echo DONE
    """
    _, said = await build(backend, tmp_path / "co", postBuild=script(attack))
    assert "DONE" in said
    assert not [line for line in said if line.startswith("OPENED") or line == "private"]


async def test_post_build_reaches_no_server_of_the_host(backend, tmp_path):
    reached = []

    async def serve(_, writer):
        reached.append(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    attack = f"exec 3<>/dev/tcp/127.0.0.1/{port} || echo NO WAY\ntrue\n"
    _, said = await build(backend, tmp_path / "co", postBuild=script(attack))
    server.close()
    assert reached == []
    assert "NO WAY" in said


async def test_post_build_changes_no_other_environment_and_no_cache(backend, tmp_path):
    first, _ = await build(backend, tmp_path / "first", requirements__txt="cowsay==6.1\n")
    [victim] = first.glob("lib/python*/site-packages/cowsay/main.py")
    before = victim.read_bytes()
    attack = f"""
    echo harm >> {victim}
    rm -rf {first} {root_of(backend)}/.wheels
    for f in $VIRTUAL_ENV/lib/python*/site-packages/cowsay/*.py; do echo harm >> $f; done
    true
    """
    await build(
        backend, tmp_path / "second", requirements__txt="cowsay==6.1\n", postBuild=script(attack)
    )
    third, _ = await build(backend, tmp_path / "third", requirements__txt="cowsay==6.1 \n")
    assert victim.read_bytes() == before
    [later] = third.glob("lib/python*/site-packages/cowsay/main.py")
    assert later.read_bytes() == before


async def test_no_file_is_shared_with_the_cache_or_another_environment(backend, tmp_path):
    made, _ = await build(backend, tmp_path / "co", requirements__txt="cowsay==6.1\n")
    shared = [path for path in made.rglob("*") if path.is_file() and path.lstat().st_nlink > 1]
    assert shared == []


async def test_finished_environment_is_read_only_and_has_no_setuid_file(backend, tmp_path):
    attack = """
    cp /bin/sh $VIRTUAL_ENV/bin/root-shell && chmod 6755 $VIRTUAL_ENV/bin/root-shell
    mkfifo $VIRTUAL_ENV/pipe; mkdir $VIRTUAL_ENV/closed; touch $VIRTUAL_ENV/closed/x
    chmod 0 $VIRTUAL_ENV/closed
    """
    made, _ = await build(backend, tmp_path / "co", postBuild=script(attack))
    modes = {path: path.lstat().st_mode for path in made.rglob("*") if not path.is_symlink()}
    assert not [path for path, mode in modes.items() if mode & 0o6222]
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes.values())
    assert (made / "closed/x").exists()


async def test_links_left_behind_make_the_service_write_and_read_nothing_else(backend, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    os.chmod(outside / "kept", 0o600)  # noqa: PTH101
    attack = f"""
    ln -s {outside} $VIRTUAL_ENV/binder
    ln -s {outside}/kept $VIRTUAL_ENV/lib/kept
    ln -s {outside} $VIRTUAL_ENV/bin/folder
    """
    made, _ = await build(backend, tmp_path / "co", postBuild=script(attack))
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert stat.S_IMODE((outside / "kept").stat().st_mode) == 0o600
    assert not (made / "binder").is_symlink()


async def test_lock_that_became_a_link_is_not_read(backend, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a-secret==1\n")
    attack = f"""
from setuptools import setup
import glob, os
for lock in glob.glob("{root_of(backend)}/.building/*/work"):
    os.path.lexists(lock + "/lock.txt") and os.remove(lock + "/lock.txt")
    os.symlink("{secret}", lock + "/lock.txt")
setup(name="harm", version="1", py_modules=[])
"""
    with pytest.raises(BuildFailed) as failed:
        await build(backend, tmp_path / "co", requirements__txt=".\n", setup__py=attack)
    assert "a-secret" not in failed.value.message


async def test_pth_file_of_a_package_runs_nothing_on_the_host(backend, tmp_path):
    harm = tmp_path / "harm"
    attack = f"""
    for d in $VIRTUAL_ENV/lib/python*/site-packages; do
      echo 'import os; open("{harm}", "w")' > $d/harm.pth
      echo 'open("{harm}", "w")' > $d/sitecustomize.py
    done
    """
    made, _ = await build(
        backend, tmp_path / "co", requirements__txt="cowsay\n", postBuild=script(attack)
    )
    assert list(made.glob("lib/python*/site-packages/harm.pth"))
    assert not harm.exists()


async def test_configuration_of_uv_in_a_checkout_is_not_read(backend, tmp_path):
    index = 'index-url = "http://127.0.0.1:9/simple"\n'
    checkout = {
        "requirements__txt": "cowsay==6.1\n",
        "uv__toml": index,
        "pip__conf": index,
        "__env": "UV_INDEX_URL=http://127.0.0.1:9/simple\n",
    }
    made, _ = await build(backend, tmp_path / "co", **checkout)
    assert list(made.glob("lib/python*/site-packages/cowsay"))


async def test_process_left_in_the_background_ends_with_the_step(backend, tmp_path):
    attack = "echo $$ ; (setsid sleep 1000 &) ; sleep 1000 & disown\n"
    made, _ = await asyncio.wait_for(build(backend, tmp_path / "co", postBuild=script(attack)), 30)
    assert made.exists()


async def test_environment_that_fills_the_disk_is_ended(tmp_path):
    backend = make_backend(tmp_path, max_image_bytes=20 * 2**20)
    await backend.start()
    attack = "for i in 1 2 3 4; do head -c 15000000 /dev/urandom > $VIRTUAL_ENV/f$i; done\n"
    with pytest.raises(BuildFailed, match="21 MB"):
        await build(backend, tmp_path / "a", postBuild=script(attack))
    with pytest.raises(BuildFailed, match="21 MB"):
        await build(backend, tmp_path / "b", postBuild=script(attack + "sleep 1000\n"))
    assert [path for path in root_of(backend).iterdir() if not path.name.startswith(".")] == []


DEEP = "#!/usr/bin/env python\nimport os, time\nfor i in range(60):\n    os.mkdir('n' * 200)\n    os.chdir('n' * 200)\n"


@pytest.mark.parametrize("then", ["", "time.sleep(1000)\n"], ids=["at its end", "while it runs"])
async def test_folders_deeper_than_a_path_can_name_end_the_build_and_are_removed(
    backend, tmp_path, then
):
    with pytest.raises(BuildFailed, match="too deep") as failed:
        await build(backend, tmp_path / "co", postBuild=DEEP + then)
    assert failed.value.error_code == "repository_too_large"
    folders = backend._folders
    assert [*folders.building.iterdir(), *folders.deleted.iterdir()] == []
    await backend.start()


async def test_missing_wheels_are_the_reason_though_the_sandbox_reaches_no_index(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("jupyterhub_binder.backends.venv.backend.index_hosts", lambda _: [])
    backend = make_backend(tmp_path, build_hosts=[])
    await backend.start()
    outputs, job = [], job_of(tmp_path / "co", {"requirements.txt": "docopt==0.6.2\n"})
    with pytest.raises(BuildFailed) as failed:
        await collect_into(outputs, backend, job)
    reason = explain_outputs(outputs, failed.value)
    assert reason.explanation.rule == "package-without-wheel"
    assert "docopt==0.6.2" in reason.message
    assert "the network failed" in reason.message
    assert "http" not in reason.message


async def test_a_tree_that_cannot_be_measured_ends_the_build(backend, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("jupyterhub_binder.backends.venv.steps.measure", fail)
    with pytest.raises(BuildFailed, match="could not measure"):
        await build(backend, tmp_path / "co", postBuild=script("sleep 1000\n"))


async def test_what_cannot_be_removed_stays_aside_and_ends_no_start(backend, monkeypatch, caplog):
    left = backend._folders.building / "key-build"
    left.mkdir()
    monkeypatch.setattr(trees, "_empty", mock.Mock(side_effect=PermissionError(1, "no")))
    await backend.start()
    await until(lambda: "Can't remove" in caplog.text)
    assert list(backend._folders.deleted.iterdir())
    monkeypatch.undo()
    await backend.start()
    await until(lambda: not list(backend._folders.deleted.iterdir()))


async def test_build_that_would_leave_the_service_no_room_is_ended(backend, tmp_path, monkeypatch):
    monkeypatch.setattr("jupyterhub_binder.backends.venv.steps._FREE_BYTES", 2**60)
    with pytest.raises(BuildFailed, match="almost full") as failed:
        await build(backend, tmp_path / "co", postBuild=script("sleep 1000\n"))
    assert failed.value.error_code == "disk_full"


async def test_process_that_takes_too_much_memory_is_refused_it(tmp_path):
    backend = make_backend(tmp_path, max_memory_bytes=4 * 2**30)
    await backend.start()
    attack = "#!/usr/bin/env python\nbytearray(5 * 2**30)\n"
    with pytest.raises(BuildFailed, match="MemoryError"):
        await build(backend, tmp_path / "co", postBuild=attack)


def test_symbolic_link_of_a_checkout_includes_no_file_of_the_host(tmp_path):
    (tmp_path / "secret.txt").write_text("secret-package==1\n")
    checkout = make_checkout(tmp_path / "co", {"requirements.txt": "-r more.txt\n"})
    (checkout / "more.txt").symlink_to(tmp_path / "secret.txt")
    recipe = read_recipe(checkout)
    assert "secret-package" not in repr(recipe)
    assert [problem.code for problem in recipe.problems] == ["include_missing"]


async def test_post_build_with_network_goes_through_the_way_out_only(tmp_path):
    backend = make_backend(tmp_path, build_network=True, base_packages=["pip"])
    await backend.start()
    attack = "pip install -q cowsay==6.1 && python -c 'import cowsay' && echo INSTALLED\n"
    attack += "curl -sS -m 5 https://127.0.0.1/ ; curl -sS -m 5 https://evil.example/; true\n"
    made, said = await build(backend, tmp_path / "co", postBuild=script(attack))
    assert "INSTALLED" in said
    assert sum("403" in line for line in said) == 2
    # pip wrote the final place into its script.
    assert str(made) in (made / "bin/cowsay").read_text()


def test_compiling_ends_whatever_a_package_left_in_its_folder(tmp_path):
    (tmp_path / "good.py").write_text("x = 1\n")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "endless.py").symlink_to("/dev/zero")
    (tmp_path / "nowhere.py").symlink_to("nowhere")
    (tmp_path / "deep.py").write_text("(" * 100_000)
    script = Path(inside.__file__).with_name("compile.py")
    run = [sys.executable, "-I", "-S", script, tmp_path]
    said = subprocess.run(run, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout
    assert said.endswith("Compiled 2 of 2 files\n")
    assert [path.name.partition(".")[0] for path in (tmp_path / "__pycache__").iterdir()] == [
        "good"
    ]
