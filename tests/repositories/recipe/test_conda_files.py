"""What is read of conda-lock.yml, pixi.lock and pixi.toml, and which of them decides."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml

from jupyterhub_binder.model import Severity
from jupyterhub_binder.model.condafile import CondaPackage
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.repositories.recipe.plain_yaml import NotPlain, load_plain_yaml
from tests.kit.conda import conda_lock, pixi_lock
from tests.kit.jobs import make_checkout

SHA = "a" * 64
BASE = "https://conda.anaconda.org/conda-forge"
PYTHON = f"{BASE}/linux-64/python-3.11.4-h1_0.conda"
WORDS = f"{BASE}/noarch/words-1.0-0.tar.bz2"
WHEEL = "https://files.example.org/packages/Big_Cow-6.0-py3-none-any.whl"

LOCKS = {
    "conda-lock.yml": conda_lock([(PYTHON, SHA), (WORDS, SHA)], [("big-cow", "6.0", SHA)]),
    "pixi.lock": pixi_lock([(PYTHON, SHA), (WORDS, SHA)], [(WHEEL, SHA)]),
}


def read(folder, files):
    return read_recipe(make_checkout(folder / "co", files))


@pytest.mark.parametrize("kind", LOCKS)
def test_a_lock_names_channels_packages_and_what_comes_from_pypi(tmp_path, kind):
    recipe = read(tmp_path, {kind: LOCKS[kind]})
    assert recipe.findings == ()
    lock = recipe.conda_lock
    assert lock is not None
    assert (lock.platforms, recipe.python) == (("linux-64",), "3.11")
    assert [each.rstrip("/").rpartition("/")[2] for each in lock.channels] == ["conda-forge"]
    assert lock.packages == (
        CondaPackage("python", "3.11.4", PYTHON, SHA, "linux-64"),
        CondaPackage("words", "1.0", WORDS, SHA, "linux-64"),
    )
    lines = [line for _, line in lock.pip if not line.startswith("--extra-index-url")]
    assert lines == [f"big-cow==6.0 --hash=sha256:{SHA}"]
    assert recipe.packages == ("big-cow==6.0", "python=3.11.4", "words=1.0")
    assert recipe.unpinned == ()


@pytest.mark.parametrize("text", LOCKS.values())
def test_locks_are_read_as_yaml_says(text):
    assert load_plain_yaml(text) == yaml.load(text, yaml.BaseLoader)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x b\nc: *x",
        "a: |\n  x",
        "- [1, 2]",
        "a: {b: c}",
        "a: 'x",
        "? a\n: b",
        "a: b\na: c",
        " a: b\nc: d",
        "a: !!python/name:os.system ''",
        "- " * 5_000 + "a",
        "".join(f"{' ' * n}a{n}:\n" for n in range(100)),
    ],
)
def test_what_no_program_writes_is_refused_with_its_line(tmp_path, text):
    with pytest.raises(NotPlain):
        load_plain_yaml(text)
    (problem,) = read(tmp_path, {"pixi.lock": text}).problems
    assert (problem.code, "(line " in problem.message) == ("bad_lock", True)


def test_a_lock_of_the_largest_size_is_read_in_seconds():
    item = LOCKS["conda-lock.yml"].partition("package:\n")[2]
    text = "package:\n" + item * (4 * 2**20 // len(item))
    begun = time.process_time()
    load_plain_yaml(text)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 2**20 + "b",
        "a: b" + " " * 2**20 + "c",
        "a: '" + "x" * 2**20,
        "a: " + "#" * 2**20,
    ],
)
def test_no_line_of_a_lock_takes_more_time_than_its_length(text):
    """A match holds the interpreter, so the whole service would stand still."""
    begun = time.process_time()
    with contextlib.suppress(NotPlain):
        load_plain_yaml(text)
    assert time.process_time() - begun < 2


def test_a_lock_cannot_multiply_its_platforms_by_its_indexes(tmp_path):
    text = LOCKS["pixi.lock"]
    platforms = "".join(f"      p{number}: []\n" for number in range(1500))
    indexes = "".join(f"    - https://x.example/{number}\n" for number in range(1500))
    listed = f"    indexes:\n{indexes}    packages:\n{platforms}"
    text = text.replace("    packages:\n", listed, 1)
    (problem,) = read(tmp_path, {"pixi.lock": text}).problems
    assert "too many package indexes" in problem.message


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("conda-lock.yml", ("name: big-cow", 'name: "six\\n--index-url x"'), "without"),
        ("conda-lock.yml", ("version: 1", "version: 2"), "does not support its format"),
        ("pixi.lock", ("version: 6", "version: 9"), "does not support its format"),
        ("pixi.lock", (f"- conda: {WORDS}\n  sha256", "- conda: x\n  sha256"), "lacks a package"),
        ("conda-lock.yml", ("version: '6.0'", "version: ''"), "without a version or checksum"),
    ],
)
def test_a_lock_that_its_program_would_not_write_is_refused(tmp_path, kind, change, said):
    (problem,) = read(tmp_path, {kind: LOCKS[kind].replace(*change)}).problems
    assert said in problem.message


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({"environment.yml", "conda-lock.yml"}, {"environment.yml", "conda-lock.yml"}),
        ({"environment.yml", "pixi.lock", "pixi.toml"}, {"environment.yml"}),
        ({"requirements.txt", "conda-lock.yml", "pixi.toml"}, {"requirements.txt"}),
        ({"conda-lock.yml", "pixi.lock", "pixi.toml"}, {"conda-lock.yml"}),
        ({"pixi.lock", "pixi.toml", "pylock.toml"}, {"pixi.lock", "pixi.toml"}),
        ({"pixi.toml", "runtime.txt", "pyproject.toml"}, {"pixi.toml"}),
    ],
)
def test_the_files_that_repo2docker_reads_come_first(tmp_path, files, used):
    content = {
        **LOCKS,
        "environment.yml": "dependencies: [words]",
        "requirements.txt": "",
        "runtime.txt": "python-3.11",
        "pixi.toml": "[workspace]\nchannels = ['conda-forge']\n",
        "pylock.toml": "",
        "pyproject.toml": "[project]\nname = 'x'\n[build-system]\n",
    }
    recipe = read(tmp_path, {name: content[name] for name in files})
    assert {file.kind for file in recipe.files if file.used} == used


PIXI = """
[workspace]
channels = ["conda-forge", {channel = "lab", priority = 1}]
platforms = ["linux-64"]
[dependencies]
python = ">=3.11,<3.13"
words = "*"
gdal = {version = ">=3", build = "py*", channel = "lab"}
[pypi-dependencies]
cowsay = "==6.0"
tool = {path = "./tool", editable = true}
other = {git = "https://github.com/org/other", rev = "abc", extras = ["x"]}
[activation.env]
COURSE = "one"
[tasks]
test = "pytest"
"""


def test_a_manifest_names_channels_packages_and_variables(tmp_path):
    recipe = read(tmp_path, {"pixi.toml": PIXI})
    assert [one for one in recipe.findings if one.severity is not Severity.NOTE] == []
    file = recipe.conda_file
    assert file is not None
    assert file.channels == ("conda-forge", "lab")
    assert file.specs == (
        "python >=3.11,<3.13",
        "words",
        "lab::gdal[version='>=3',build='py*']",
    )
    assert (file.variables, file.only_for) == ((("COURSE", "one"),), ("linux-64",))
    assert recipe.python == ">=3.11,<3.13"
    assert [line.text for line in recipe.requirements] == [
        "cowsay==6.0",
        "-e ./tool",
        "other[x] @ git+https://github.com/org/other@abc",
    ]


def test_beside_a_lock_a_manifest_has_only_variables(tmp_path):
    text = "[activation.env]\nA = 'b'\n[feature.x.dependencies]\ny = '*'\n[dependencies]\nz = '*'\n"
    recipe = read(tmp_path, {"pixi.toml": text, "pixi.lock": LOCKS["pixi.lock"]})
    assert (recipe.findings, recipe.conda) == ((), ())
    assert recipe.conda_file is not None
    assert recipe.conda_file.variables == (("A", "b"),)


@pytest.mark.parametrize(
    ("text", "severity", "said"),
    [
        ("[feature.gpu.dependencies]\nx = '*'", "warning", "[feature]"),
        ("[system-requirements]\ncuda = '12'", "warning", "[system-requirements]"),
        ("[target.linux-64.dependencies]\nx = '*'", "warning", "[target.linux-64.dependencies]"),
        ("[activation]\nscripts = ['a.sh']", "warning", "[activation] scripts"),
        ("[tasks]\nx = 'a'", "note", "does not run its tasks"),
        ("[dependencies]\nx = {path = './x'}", "problem", "its entry for x"),
        ("[dependencies]\nx = {git = 'https://github.com/a/b'}", "problem", "its entry for x"),
        ("[pypi-dependencies]\nx = {index = 'https://a'}", "problem", "its entry for x"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path, text, severity, said):
    (finding,) = read(tmp_path, {"pixi.toml": text}).findings
    assert finding.severity == severity
    assert said in finding.message
