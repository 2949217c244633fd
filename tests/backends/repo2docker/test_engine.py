"""A container engine whose program is a script: what no real one says on demand."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from jupyterhub_binder.backends.repo2docker import build
from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.backends.repo2docker.build import container_name
from jupyterhub_binder.backends.repo2docker.engine import Engine
from jupyterhub_binder.backends.repo2docker.smoke_test import Expected, try_image
from jupyterhub_binder.errors import BuildFailed, UpstreamUnavailable
from tests.kit.waiting import until

EXPECTED = Expected(1000, "/home/jovyan", SpecifierSet(">=5,<7"), 60)
SAID = (
    "print('binder-smoke uid 1000\\nbinder-smoke home /home/jovyan\\nbinder-smoke writable yes')\n"
)


class Program:
    """A program called docker, that notes the commands it gets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "docker"
        self._log = folder / "asked"

    def write(self, script: str) -> str:
        """Let it do a script in Python, in which `words` are its arguments; return its path."""
        self.path.write_text(
            f"#!{sys.executable}\nimport json, sys\nwords = sys.argv[1:]\n"
            f"open({str(self._log)!r}, 'a').write(json.dumps(words) + '\\n')\n{script}\n"
        )
        self.path.chmod(0o755)
        return str(self.path)

    def engine(self, script: str) -> Engine:
        return Engine(self.write(script), environment={}, version="20.10", podman=False)

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def test_any_number_of_containers_tell_their_images(program):
    ids = [f"{n:064x}" for n in range(2000)]
    engine = program.engine(
        f"""
if words[0] == "ps":
    print("\\n".join({ids!r}))
elif "--format={{{{.Image}}}}" in words:
    print("\\n".join("sha256:" + one for one in words[3:]))
else:  # each container carries its environment
    print(json.dumps([{{"Image": "sha256:" + one, "Env": 73_000 * "x"}} for one in words[2:]]))
"""
    )
    assert await engine.fetch_used_images() == {f"sha256:{one}" for one in ids}


async def test_any_number_of_images_is_listed(program):
    ids = [f"{n:064x}" for n in range(1500)]
    engine = program.engine(
        f"""
if words[1] == "ls":
    print("\\n".join({ids!r}))
else:
    print(json.dumps([{{"Id": one, "Size": 1, "Pad": 6_000 * "x"}} for one in words[2:]]))
"""
    )
    assert [image.id for image in await engine.list_images("label=x")] == ids


async def test_container_that_is_on_its_way_out_keeps_no_temporary_image(program, tmp_path):
    flag = tmp_path / "gone"
    engine = program.engine(
        f"""
from pathlib import Path
if words[0] == "rm":
    sys.exit("Error: removal of container is already in progress")
elif words[:2] == ["image", "rm"] and not Path({str(flag)!r}).exists():
    Path({str(flag)!r}).touch()
    sys.exit("conflict: image is being used by stopped container 1")
"""
    )
    await build.clear(engine, tmp_path / "work", "w", "b/")
    assert program.asked[-2:] == [["image", "rm", "b/building:w"]] * 2


async def test_container_that_does_not_go_is_no_reason_to_keep_its_image(program, tmp_path):
    engine = program.engine(
        """
if words[0] == "rm":
    sys.exit("Error: device or resource busy")
"""
    )
    await build.clear(engine, tmp_path / "work", "w", "b/")
    assert [words[0] for words in program.asked] == ["rm", "rm", "image"]


async def test_only_ones_own_containers_of_builds_are_removed(program, tmp_path):
    """A container's labels are its image's as well: none of them names what is removed."""
    mine, others = (container_name("smoke", prefix, "x-1-1") for prefix in ("b/", "c/"))
    names = [mine, others, "jupyter-ada", "hub x-1-1"]
    engine = program.engine(f"print('\\n'.join({names!r})) if words[0] == 'ps' else None")
    (tmp_path / "work").mkdir()
    assert await build.sweep(engine, tmp_path / "work", "b/") == ["x-1-1"]
    removed = [words[-1] for words in program.asked if words[0] == "rm"]
    assert sorted(removed) == sorted([mine, container_name("look", "b/", "x-1-1")])


@pytest.mark.parametrize(
    "said",
    [
        "Error: No such image: b/x:1",
        "Error response from daemon: No such container: x",
        "Error: b/x:1: image not known",
        "Error: image b/x:1 does not exist",
        "Error response from daemon: reference does not exist",
    ],
)
async def test_what_is_gone_already_is_removed(program, said):
    await program.engine(f"sys.exit({said!r})").remove("b/x:1")


@pytest.mark.parametrize(
    "said",
    [
        "ssh: Could not resolve hostname h: Name or service not known",
        "error during connect: context 'other' does not exist",
        'open /home/ada/.docker/contexts/meta: context "other" does not exist',
    ],
)
async def test_an_engine_that_cannot_be_reached_has_removed_nothing(program, said):
    engine = program.engine(f"sys.exit({said!r})")
    with pytest.raises(UpstreamUnavailable):
        await engine.remove("b/x:1")
    with pytest.raises(UpstreamUnavailable):
        await engine.inspect("b/x:1")


async def test_a_program_that_is_away_for_a_moment_is_an_engine_that_does_not_answer(program):
    engine = program.engine("")
    program.path.unlink()
    with pytest.raises(UpstreamUnavailable, match=r"\(docker\) can't be run: No such file"):
        await engine.fetch_version()
    with pytest.raises(UpstreamUnavailable, match="can't be run"):
        _ = [line async for line in engine.push("b/x:1")]


async def test_a_podman_that_tells_no_version_does_not_answer(program):
    engine = program.engine("print([])")
    engine.podman = True
    with pytest.raises(UpstreamUnavailable, match="does not report its version"):
        await engine.fetch_version()


async def test_label_with_several_lines_is_one_container(program):
    engine = program.engine(
        """
if words[0] == "ps":
    print("1\\n2")
else:
    for name, owner in (("/evil", "me\\nhub me"), ("/hub", "you")):
        print(name, json.dumps({"owner": owner, "other": "x"}))
"""
    )
    assert await engine.list_containers("owner") == {"evil": "me\nhub me", "hub": "you"}


async def test_people_are_not_told_where_the_engine_is(program):
    said = "Cannot connect to the Docker daemon at tcp://10.0.0.7:2376. Is it running?"
    engine = program.engine(f"sys.exit({said!r})")
    with pytest.raises(UpstreamUnavailable, match=r"the Docker daemon\. Is it running\?"):
        await engine.fetch_version()


async def test_image_that_says_too_much_is_refused_at_once(program):
    engine = program.engine("while True: print('y' * 100)")
    async with asyncio.timeout(30):
        with pytest.raises(BuildFailed, match="prints too much"):
            await try_image(engine, "x", container="c", expected=EXPECTED)


async def test_engine_with_a_hiccup_still_starts_the_backend(program, tmp_path, caplog):
    path = program.write(
        """
if words[0] == "image":
    sys.exit("Error response from daemon: layer does not exist yet, try later")
print("Docker version 20.10.24")
"""
    )
    backend = Repo2DockerBackend(engine=path, work_dir=str(tmp_path / "work"))
    backend.log.propagate = True
    await backend.start()
    await until(lambda: "try later" in caplog.text)
    await backend.stop()


@pytest.mark.parametrize(
    ("prefix", "listed"),
    [
        ("docker.io/me/", "me/k:c"),
        ("docker.io/me/", "docker.io/me/k:c"),
        ("me/", "localhost/me/k:c"),
        ("me/", "docker.io/me/k:c"),
        ("quay.io/me/", "quay.io/me/k:c"),
    ],
)
async def test_image_is_known_however_its_engine_writes_its_name(program, tmp_path, prefix, listed):
    path = program.write(
        f"""
if words[:2] == ["image", "ls"]:
    print("1" if "label=org.jupyter.binder.key=k" in words else "")
elif words[:2] == ["image", "inspect"]:
    print(json.dumps([{{"Id": "1", "RepoTags": [{listed!r}]}}]))
elif words[0] != "ps":
    print("Docker version 20.10.24")
"""
    )
    backend = Repo2DockerBackend(engine=path, work_dir=str(tmp_path / "w"), image_prefix=prefix)
    await backend.start()
    assert await backend.find_image("k") == f"{prefix}k:c"
    await backend.stop()


async def test_long_error_of_the_server_hides_nothing_that_was_said_before(program):
    engine = program.engine(
        f"{SAID}print('line\\n' * 100 + 'ImportError: nope')\nprint('binder-smoke version ')"
    )
    with pytest.raises(BuildFailed, match=r"fails in it.*ImportError: nope"):
        await try_image(engine, "x", container="c", expected=EXPECTED)
