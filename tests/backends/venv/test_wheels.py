"""The cache of wheels: compiled once, linked only where nobody can write, removed at any time."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.links import LinkMode, can_clone, choose_link_mode
from jupyterhub_binder.backends.venv.steps import Steps
from jupyterhub_binder.backends.venv.uv import lacks_space
from jupyterhub_binder.backends.venv.wheels import KEPT_SECONDS
from jupyterhub_binder.model import Line
from tests.kit.jobs import collect, image_of, job_of, lines
from tests.kit.wheels import PASSED, make_wheel, use_only

SCRIPT = Path(inside.__file__).with_name("compile_wheels.py")
NOBODY = 65534


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    folder = use_only(tmp_path / "wheels", monkeypatch)
    make_wheel(folder, "mine", {"mine/__init__.py": "VALUE = 1\n"})
    return folder


@pytest.fixture
def open_path():
    """A folder that other users can reach; they can't enter pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def start(tmp_path: Path, **given) -> VenvBackend:
    backend = VenvBackend(
        environments_root=str(tmp_path / "environments"),
        base_packages=[],
        passed_environment=PASSED,
        **{"smoke_test": [], "servers_cannot_write": True, **given},
    )
    await backend.start()
    return backend


async def build(backend: VenvBackend, folder: Path, **files: str):
    named = {"requirements.txt": "mine\n", **files}
    outputs = await collect(backend, job_of(folder, named))
    return Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:"), outputs


def module(made: Path) -> Path:
    return next(made.glob("lib/python*/site-packages/mine/__init__.py"))


def bytecode(made: Path) -> Path:
    return Path(importlib.util.cache_from_source(module(made)))


def value(made: Path) -> str:
    run = [made / "bin/python", "-c", "import mine; print(mine.VALUE)"]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()


def cached(backend: VenvBackend) -> Path:
    return next(backend._folders.wheels.glob("*/uv/archive-v*/*/mine/__init__.py"))


async def test_wheel_is_compiled_once_and_later_environments_share_its_files(tmp_path, wheels):
    backend = await start(tmp_path)
    first, said = await build(backend, tmp_path / "a")
    second, later = await build(backend, tmp_path / "b")
    progress = "Compiled 1 of 1 packages: mine==1.0"
    assert (progress in lines(said), progress in lines(later)) == (True, False)
    steps = [str(each.step) for each in said if isinstance(each, Line)]
    assert "installing packages, 1 of 1: mine" in steps
    assert bytecode(first).read_bytes()[4:8] == b"\1\0\0\0"
    for file in (module, bytecode):
        assert file(first).samefile(file(second))
    assert value(second) == "1"


async def test_choosing_versions_says_how_far_it_is(tmp_path, wheels, monkeypatch):
    monkeypatch.setattr("jupyterhub_binder.backends.venv.steps._PROGRESS_SECONDS", 0.0)
    make_wheel(wheels, "other", {"other.py": ""})
    backend = await start(tmp_path)
    _, said = await build(backend, tmp_path / "a", **{"requirements.txt": "mine\nother\n"})
    steps = [str(each.step) for each in said if isinstance(each, Line)]
    assert [step for step in steps if "so far" in step] == [
        "choosing versions, 1 so far: mine",
        "choosing versions, 2 so far: other",
    ]
    assert not [line for line in lines(said) if "DEBUG" in line]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a server as another user")
async def test_server_that_writes_to_its_environment_changes_no_other(open_path, wheels):
    tmp_path = open_path
    backend = await start(tmp_path)
    first, _ = await build(backend, tmp_path / "a")
    second, _ = await build(backend, tmp_path / "b")
    attack = f"""
    cd {first.parent}
    for f in {module(first)} {bytecode(first)}; do
      chmod u+w,o+w $f; echo 'VALUE = 2' > $f; echo harm >> $f; truncate -s 0 $f
      cp /etc/hostname $f; mv $f $f.x; rm -f $f; ln $f ./harm; ln -sf /etc/hostname $f
      dd if=/dev/zero of=/proc/self/fd/3 bs=1 count=1 3<$f
    done
    chmod -R o+w . ; touch {module(first).parent}/__pycache__/new.pyc; ls .wheels && echo LISTED
    true
    """
    server = subprocess.run(
        ["/bin/sh", "-c", attack], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True
    )
    assert b"LISTED" not in server.stdout
    assert [value(first), value(second)] == ["1", "1"]
    assert cached(backend).read_text() == "VALUE = 1\n"
    assert {path.name for path in module(first).parent.iterdir()} == {"__init__.py", "__pycache__"}


@pytest.mark.sandbox
async def test_package_that_writes_to_itself_in_the_smoke_test_changes_nothing(tmp_path, wheels):
    attack = """
import os, mine, attacker
def main():
    for name in (mine.__file__, attacker.__file__, mine.__cached__):
        for do in (lambda: os.chmod(name, 0o777), lambda: open(name, "w"), lambda: os.remove(name)):
            try:
                do()
            except OSError:
                continue
            print("WRITTEN", name)
"""
    make_wheel(wheels, "attacker", {"attacker.py": attack}, program="attacker:main")
    backend = await start(tmp_path, smoke_test=["attacker"])
    first, said = await build(backend, tmp_path / "a", **{"requirements.txt": "mine\nattacker\n"})
    assert module(first).stat().st_nlink > 1
    assert not [line for line in lines(said) if "WRITTEN" in line]
    assert cached(backend).read_text() == "VALUE = 1\n"


@pytest.mark.sandbox
async def test_no_trusted_step_follows_code_that_could_write_to_the_environment(tmp_path, wheels):
    """It would run what the code put in the place of the environment's interpreter."""
    backend = await start(tmp_path)
    workspace = backend._folders.workspace("a", "1")
    workspace.home.mkdir(parents=True)
    workspace.environment.mkdir()
    steps = Steps(workspace, backend._settings())
    interpreter = next(iter(backend._interpreters.values()))
    replace = ["/bin/sh", "-c", "mkdir bin && echo harm > bin/python"]
    await steps.trusted(["/bin/true"], env={})
    await steps.untrusted(replace, interpreter, env={}, cwd=steps.seen)
    assert (workspace.environment / "bin/python").exists()
    with pytest.raises(RuntimeError, match="must not follow untrusted code"):
        await steps.trusted([workspace.environment / "bin/python"], env={})


@pytest.mark.parametrize("linked", [True, False])
async def test_module_of_two_wheels_gets_the_bytecode_of_its_own_source(tmp_path, wheels, linked):
    """Bytecode of the other one would be taken as it is."""
    for value, package in enumerate(("one", "two"), 1):
        make_wheel(wheels, package, {"both/__init__.py": f"VALUE = {value}\n"})
    backend = await start(tmp_path, servers_cannot_write=linked)
    for name, needed in (("a", "one\n"), ("b", "one\ntwo\nmine\n")):
        made, _ = await build(backend, tmp_path / name, **{"requirements.txt": needed})
    source = next(made.glob("lib/python*/site-packages/both/__init__.py"))
    run = [made / "bin/python", "-c", "import both; print('VALUE =', both.VALUE)"]
    seen = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert seen == source.read_text()
    assert Path(importlib.util.cache_from_source(source)).exists()


@pytest.mark.sandbox
async def test_what_post_build_changes_is_its_own_and_takes_effect(tmp_path, wheels):
    """Bytecode that is not compared with its source would hide the change."""
    backend = await start(tmp_path)
    script = """#!/bin/sh
    set -e
    file=$(python -c "import mine; print(mine.__file__)")
    echo 'VALUE = 2' > $file
    python -c "import mine; print('SEEN', mine.VALUE)"
    """
    made, said = await build(backend, tmp_path / "a", postBuild=script)
    assert "SEEN 2" in lines(said)
    assert value(made) == "2"
    assert bytecode(made).read_bytes()[4:8] == b"\1\0\0\0"
    assert [path for path in made.rglob("*") if path.is_file() and path.lstat().st_nlink > 1] == []
    other, _ = await build(backend, tmp_path / "b")
    assert value(other) == "1"


@pytest.mark.parametrize("given", [{"servers_cannot_write": False}, {"link_mode": "clone"}])
async def test_files_are_copied_unless_links_are_safe(tmp_path, wheels, given):
    """uv makes hard links where it is told to clone and can't."""
    backend = await start(tmp_path, **given)
    made, _ = await build(backend, tmp_path / "a")
    assert {file(made).stat().st_nlink for file in (module, bytecode)} == {1}
    assert bytecode(made).exists()


def test_hard_links_need_every_condition():
    safe = {"wheels_only": True, "code_is_confined": True, "servers_cannot_write": True}
    assert choose_link_mode(allowed="auto", can_clone=False, **safe) is LinkMode.HARDLINK
    for name in safe:
        unsafe = {**safe, name: False}
        assert choose_link_mode(allowed="auto", can_clone=False, **unsafe) is LinkMode.COPY
        assert choose_link_mode(allowed="auto", can_clone=True, **unsafe) is LinkMode.CLONE
    assert choose_link_mode(allowed="clone", can_clone=False, **safe) is LinkMode.COPY
    assert choose_link_mode(allowed="copy", can_clone=True, **safe) is LinkMode.COPY


def test_can_clone_leaves_nothing_behind(tmp_path):
    assert can_clone(tmp_path) in (True, False)
    assert list(tmp_path.iterdir()) == []


def unpacked(cache: Path, *, files: int, text: str, id_: str = "abc", name: str = "big") -> Path:
    """A wheel in a cache, as uv leaves it."""
    wheel = cache / "uv/archive-v0" / id_
    for number in range(files):
        path = wheel / f"pkg{number}/__init__.py"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (wheel / f"{name}-1.0.dist-info").mkdir()
    (cache / "compiled").mkdir(exist_ok=True)
    with (cache / "names").open("a") as names:
        names.write(f"{name}\n")
    return wheel


def compiling(cache: Path, *command: str) -> list[str]:
    given = [str(cache), str(cache / "names"), *(command or ("/bin/true",))]
    return [sys.executable, "-I", "-S", str(SCRIPT), *given]


COPY_UNTIL_COMPILED = """
import sys
from pathlib import Path
wheel = Path(sys.argv[1])
while len(list(wheel.glob("*/__pycache__/*"))) < 300:
    for path in list(wheel.rglob("*")):
        path.stat()
"""


def test_copy_of_a_wheel_finds_each_file_that_it_listed(tmp_path):
    """uv copies a wheel while it is compiled."""
    wheel = unpacked(tmp_path, files=300, text="x = [\n" + "  (1, 2),\n" * 30 + "]\n")
    copy = [sys.executable, "-c", COPY_UNTIL_COMPILED, str(wheel)]
    subprocess.run(compiling(tmp_path, *copy), check=True, timeout=60)
    assert not list(tmp_path.glob("*.pyc"))


def test_wheel_whose_compiling_was_killed_is_not_trusted(tmp_path):
    wheel = unpacked(tmp_path, files=300, text="x = [\n" + "  (1, 2),\n" * 300 + "]\n")
    child = subprocess.Popen(compiling(tmp_path), start_new_session=True)
    while not any(wheel.rglob("*.pyc")):
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list((tmp_path / "compiled").iterdir()) == []
    subprocess.run(compiling(tmp_path), check=True)
    assert [mark.name for mark in (tmp_path / "compiled").iterdir()] == ["abc.big==1.0"]
    assert len(list(wheel.glob("*/__pycache__/*.pyc"))) >= 300


def test_build_compiles_what_others_left_before_it_waits_for_more(tmp_path):
    """Else two builds could each hold a wheel that the other waits for."""
    wheels = {id_: unpacked(tmp_path, files=1, text="", id_=id_, name=id_) for id_ in "abc"}
    go = tmp_path / "go"
    wait = ["/bin/sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done"]
    with flocked(wheels["b"]):
        with flocked(wheels["a"]):
            child = subprocess.Popen(compiling(tmp_path, *wait))
            wait_for(lambda: (tmp_path / "compiled/c.c==1.0").exists(), child)
        go.touch()
        wait_for(lambda: (tmp_path / "compiled/a.a==1.0").exists(), child)
    assert child.wait(20) == 0
    assert (tmp_path / "compiled/b.b==1.0").exists()


@contextmanager
def flocked(wheel: Path) -> Iterator[None]:
    """Compile a wheel in another build."""
    lock = os.open(wheel, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


def wait_for(done: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while not done():
        if time.monotonic() > until:
            child.kill()
            raise AssertionError("it hangs")
        time.sleep(0.01)


def test_source_that_takes_too_much_memory_is_left_out(tmp_path):
    wheel = unpacked(tmp_path, files=1, text="VALUE = 1\n")
    (wheel / "pkg0/hostile.py").write_text(f"x = [{'-a,' * 6_000_000}]\n")
    subprocess.run(compiling(tmp_path), check=True)
    assert [mark.name for mark in (tmp_path / "compiled").iterdir()] == ["abc.big==1.0"]
    assert [path.name.partition(".")[0] for path in wheel.rglob("*.pyc")] == ["__init__"]


@pytest.mark.sandbox
def test_full_disk_ends_the_step_and_leaves_no_mark(tmp_path):
    unpacked(tmp_path, files=50, text="y = 'b'\n" * 3000)
    fill = (
        f"cp -r {tmp_path}/* /mnt && {' '.join(compiling(Path('/mnt')))}; echo $?; ls /mnt/compiled"
    )
    disk = ("--dev-bind", "/", "/", "--size", str(2_000_000), "--tmpfs", "/mnt")
    done = subprocess.run(["bwrap", *disk, "sh", "-c", fill], capture_output=True, text=True)
    said, status, *marks = done.stdout.splitlines()
    assert (status, marks) == ("28", [])
    assert lacks_space([said])


async def test_trimming_keeps_what_is_linked_or_in_use_and_builds_go_on(tmp_path, wheels):
    make_wheel(wheels, "other", {"other.py": "VALUE = 1\n"})
    backend = await start(tmp_path)
    await build(backend, tmp_path / "a")
    copied = {"requirements.txt": "other\n", "postBuild": "#!/bin/sh\ntrue\n"}
    await build(backend, tmp_path / "b", **copied)
    caches = backend._wheels
    assert caches.trim(10**9) == 0  # used today
    later = time.time() + KEPT_SECONDS + 60
    assert caches.trim(10**9, now=lambda: later) > 0
    kept = [mark.name.partition(".")[2] for mark in caches.folder.glob("*/compiled/*")]
    assert kept == ["mine==1.0"]
    _, said = await build(backend, tmp_path / "c", **copied)
    assert "Compiled 1 of 1 packages: other==1.0" in lines(said)


async def test_disk_use_counts_a_shared_file_once(tmp_path, wheels):
    make_wheel(wheels, "mine", {"mine/__init__.py": "VALUE = 1\n", "mine/data": "x" * 3_000_000})
    backend = await start(tmp_path)
    made = [(await build(backend, tmp_path / name))[0] for name in "ab"]
    kept = {image.name: image.size_bytes for image in await backend.list_images()}
    cache = await backend.fetch_cache_bytes()
    run = ["du", "-s", "-k", *map(str, made), str(backend._folders.wheels), "-c"]
    total = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    assert sum(kept.values()) + cache == int(total.split()[0]) * 1024
    assert max(kept.values()) < 1_000_000 < cache
