"""uv.lock and pylock.toml: held against what uv itself exports, and refused where they can't be kept."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
import uv
from packaging.markers import Marker

from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.plan import Offer, make_plan, reuse
from jupyterhub_binder.backends.venv.project_lock import choose_from_lock
from jupyterhub_binder.backends.venv.requirements import Policy, Requirements
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import Recipe
from jupyterhub_binder.model.lockfile import LockedPackage, LockFile
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.jobs import (
    build_hosts,
    collect,
    collect_into,
    image_of,
    job_of,
    lines,
    make_checkout,
)

LOCKS = Path(__file__).parents[2] / "data/locks"
PYTHONS = {"3.10": "3.10.4", "3.11": "3.11.7", "3.13": "3.13.1"}
OFFER = Offer(pythons=dict.fromkeys(PYTHONS, ""), default_python="3.11", runs_code=True,
              versions=PYTHONS)  # fmt: skip
COWSAY = (LOCKS / "folders/uv.lock").read_text()
PROJECT = '[project]\nname = "mine"\nversion = "1"\ndependencies = ["cowsay"]\n'


def export(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [uv.find_uv_bin(), "export", "--frozen", "--no-annotate", "--no-header", *options],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def for_python(exported: str, python: str) -> set[str]:
    """Return the lines of an export for one Python, without their markers."""
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    lines = (line.partition(" ; ") for line in exported.splitlines())
    return {text for text, _, marker in lines if not marker or Marker(marker).evaluate(environment)}


def chosen(recipe: Recipe, python: str = "3.11") -> Requirements:
    plan, assessment = make_plan(recipe, Offer(**{**_fields(OFFER), "default_python": python}))
    assert [problem.message for problem in assessment.problems] == []
    return plan.requirements


def _fields(offer: Offer) -> dict[str, object]:
    return {name: getattr(offer, name) for name in Offer.__slots__}


def problems(recipe: Recipe, offer: Offer = OFFER) -> list[str]:
    found = make_plan(recipe, offer)[1]
    return [one.message for one in (*recipe.problems, *found.problems)]


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("forks", ()),
        ("conflicts", ("--extra", "new", "--no-default-groups", "--group", "test", "--group", "lint")),
        ("workspace", ()),
        ("folders", ()),
        ("sources", ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["uv.lock", "pylock.toml"])
def test_a_lock_installs_what_uv_would(case, options, kind, tmp_path: Path):
    folder = LOCKS / case
    exported = export(folder, *options, "--no-hashes")
    if kind == "pylock.toml":
        folder = make_checkout(
            tmp_path / "co", {kind: export(LOCKS / case, *options, "--format", kind)}
        )
    for minor, python in PYTHONS.items():
        if case == "folders" and minor == "3.10":
            continue
        found = chosen(read_recipe(folder), minor)
        assert {*found.packages, *found.sources} == for_python(exported, python)


def test_a_lock_brings_hashes_and_indexes_and_leaves_no_version_open():
    recipe = read_recipe(LOCKS / "sources")
    found = chosen(recipe)
    assert found.indexes == ["https://download.pytorch.org/whl/cpu"]
    assert found.hashes["torch==2.5.1+cpu"] == (f"sha256:{'0' * 64}",)
    assert not reuse(recipe, OFFER).open_versions
    assert not recipe.unpinned
    assert {each.path for each in recipe.inputs} == {"uv.lock", "pyproject.toml"}


def test_places_that_the_hub_does_not_allow_are_refused():
    offer = Offer(**{**_fields(OFFER), "policy": Policy(index_urls=(), url_hosts=("gitlab.com",))})
    words = " ".join(problems(read_recipe(LOCKS / "sources"), offer))
    assert "does not allow that package index" in words
    assert words.count("does not fetch packages from github.com") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("version = 1\n", "version = 2\n"), "this hub does not support its format"),
        (('name = "cowsay"', 'name = "cow say"'), "invalid name"),
        (('{ name = "cowsay" }', '{ name = "cowsay", marker = "os == 1" }'), "marker is invalid"),
        (('version = "6.1"', "version = 6"), "not a valid lock file"),
        (('editable = "b"', 'editable = "../b"'), "outside the repository"),
        (('editable = "b"', 'magic = "b"'), "source that this hub does not support"),
        (('name = "cowsay"\nversion', 'name = "cowboy"\nversion'), "lacks cowsay"),
        (('requires-python = ">=3.11"', 'requires-python = ">=3.40"'), "asks for Python >=3.40"),
        (("version = 1\n", "version = '''1'''\n"), "is not a valid lock file"),
        (("version = 1\n", "version = 1\n" + "a." * 9000 + "b = 1\n"), "is not a valid lock"),
    ],
)  # fmt: skip
def test_a_lock_that_can_not_be_kept_is_said_before_the_build(change, words, tmp_path: Path):
    assert change[0] in COWSAY
    folder = shutil.copytree(LOCKS / "folders", tmp_path / "co")
    (folder / "uv.lock").write_text(COWSAY.replace(*change))
    assert words in " ".join(problems(read_recipe(folder)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extras = ["old", "new"]', "exclude each other"),
        ('extras = ["nosuch"]', "no extra or group “nosuch”"),
        ('groups = "test"', "not a valid lock file"),
    ],
)
def test_a_choice_that_the_lock_does_not_have_is_said(text, words, tmp_path: Path):
    folder = shutil.copytree(LOCKS / "conflicts", tmp_path / "co")
    project = (folder / "pyproject.toml").read_text()
    head = project.partition("[tool.jupyterhub-binder]")[0]
    (folder / "pyproject.toml").write_text(f"{head}[tool.jupyterhub-binder]\n{text}\n")
    assert words in " ".join(problems(read_recipe(folder)))


def test_extras_and_groups_of_a_pylock_are_chosen_in_pyproject(tmp_path: Path):
    lock = (
        'lock-version = "1.0"\nextras = ["x"]\ndependency-groups = ["g"]\ncreated-by = "me"\n'
        '[[packages]]\nname = "cowsay"\nversion = "6.1"\n'
        '[[packages]]\nname = "click"\nversion = "8"\nmarker = "\'x\' in extras"\n'
        '[[packages]]\nname = "pluggy"\nversion = "1"\nmarker = "\'g\' in dependency_groups"\n'
    )
    choice = '[tool.jupyterhub-binder]\nextras = ["x"]\n'
    folder = make_checkout(tmp_path / "co", {"pylock.toml": lock, "pyproject.toml": choice})
    assert chosen(read_recipe(folder)).packages == ["click==8", "cowsay==6.1"]
    (folder / "pyproject.toml").write_text(choice + 'groups = ["g"]\n')
    assert chosen(read_recipe(folder)).packages == ["click==8", "cowsay==6.1", "pluggy==1"]


@pytest.mark.parametrize("first", ["requirements.txt", "setup.py", "environment.yml", "Pipfile"])
def test_files_that_repo2docker_reads_come_before_a_lock(first, tmp_path: Path):
    folder = shutil.copytree(LOCKS / "forks", tmp_path / "co")
    (folder / first).write_text("")
    recipe = read_recipe(folder)
    assert recipe.lock is None
    assert {file.path: file.used for file in recipe.files}["uv.lock"] is False


# --- Builds ---------------------------------------------------------------------------------------


@pytest.fixture
async def backend(tmp_path: Path) -> VenvBackend:
    root = str(tmp_path / "environments")
    backend = VenvBackend(
        environments_root=root,
        base_packages=["iniconfig"],
        smoke_test=[],
        build_hosts=build_hosts(),
    )
    await backend.start()
    return backend


def locked(version: str = "6.0", checksum: str = "") -> dict[str, str]:
    """A project whose lock names an older version of its package than there is."""
    lock = (
        'version = 1\nrequires-python = ">=3.9"\n[[package]]\nname = "mine"\nversion = "1"\n'
        'source = { virtual = "." }\ndependencies = [\n    { name = "cowsay" },\n]\n'
        f'[[package]]\nname = "cowsay"\nversion = "{version}"\n'
        'source = { registry = "https://pypi.python.org/simple" }\n'
    )
    if checksum:
        lock += f'wheels = [{{ url = "https://x.org/x.whl", hash = "{checksum}" }}]\n'
    return {"pyproject.toml": PROJECT, "uv.lock": lock}


async def test_a_build_installs_the_locked_versions_and_the_hubs_own_packages(backend, tmp_path):
    outputs = await collect(backend, job_of(tmp_path / "co", locked()))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
    names = [line.partition("==") for line in (made / "binder/lock.txt").read_text().splitlines()]
    assert names[0] == ("cowsay", "==", "6.0")
    assert [name for name, _, _ in names] == ["cowsay", "iniconfig"]


async def test_a_build_refuses_a_file_with_another_hash_than_the_locks(backend, tmp_path):
    outputs, files = [], locked(checksum=f"sha256:{'0' * 64}")
    with pytest.raises(BuildFailed, match="can't be installed"):
        await collect_into(outputs, backend, job_of(tmp_path / "co", files))
    assert "Hash mismatch" in " ".join(lines(outputs))


async def test_versions_that_the_servers_packages_can_not_have_are_said(backend, tmp_path):
    backend.base_packages = ["cowsay>=6.1"]
    with pytest.raises(BuildFailed, match=r"versions in uv\.lock don't fit the packages") as failed:
        await collect(backend, job_of(tmp_path / "co", locked()))
    assert "cowsay>=6.1" in failed.value.detail["hint"]


async def test_a_constraint_of_the_admin_refuses_a_locked_version(backend, tmp_path):
    backend.constraints = ["cowsay>=6.1"]
    with pytest.raises(BuildFailed, match=r"this hub allows only cowsay>=6\.1"):
        await collect(backend, job_of(tmp_path / "co", locked()))


def test_roots_and_extras_that_a_lock_repeats_take_no_memory_for_each_pair():
    one = LockedPackage("a", "1", "virtual", ".", extras=(("x", ()),))
    packages = tuple(
        LockedPackage("a", str(n), "virtual", ".", extras=one.extras) for n in range(100)
    )
    lock = LockFile("uv.lock", packages=packages, roots=("a",) * 100, chosen_extras=("x",) * 100)
    tracemalloc.start()
    choose_from_lock(lock, "3.11.7", Policy(), ())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
