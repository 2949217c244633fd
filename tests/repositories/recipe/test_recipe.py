"""Recipes: held against repo2docker's own `detect`, and against files meant to do harm."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.backends.pythons import serves_python
from jupyterhub_binder.model import Recipe, Severity
from jupyterhub_binder.repositories.recipe import find_missing, read_recipe
from jupyterhub_binder.repositories.recipe.files import KINDS
from jupyterhub_binder.repositories.recipe.requirements import MAX_LINES

PROJECT = '[build-system]\nrequires = []\n[project]\nname = "x"\nversion = "1"\n'


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return root


@contextlib.contextmanager
def fresh_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def read(root: Path, files: dict[str, str | bytes]) -> Recipe:
    return read_recipe(write(root, files))


def codes(recipe: Recipe, severity: Severity | None = None) -> set[str]:
    return {f.code for f in recipe.findings if severity in (None, f.severity)}


# --- repo2docker as the oracle -------------------------------------------------------------------

CONTENT = {
    "Dockerfile": ["FROM python\n"],
    "Project.toml": ["[deps]\n"],
    "JuliaProject.toml": ["[deps]\n"],
    "REQUIRE": ["julia 0.6\n"],
    "default.nix": ["{}"],
    "runtime.txt": [
        *("python-3.11", "python-3", "r-4.4-2026-01-02", "r-2026-01-02", "r-4.4", "nonsense"),
        *("r-4.4-2026-13-02", "python-", "", "a-b-c", "julia-1.9"),
    ],
    "install.R": ["install.packages('x')"],
    "DESCRIPTION": ["Package: x\n"],
    "environment.yml": ["dependencies:\n  - python=3.11\n  - numpy=1.2\n", ""],
    "environment.yaml": ["dependencies: [python=3.12.1]\n"],
    "Pipfile": ['[packages]\nnumpy = "*"\n[requires]\npython_version = "3.10"\n'],
    "Pipfile.lock": ['{"_meta": {"requires": {"python_full_version": "3.9.7"}}, "default": {}}'],
    "requirements.txt": ["numpy\n", ""],
    "setup.py": ["from setuptools import setup; setup()\n"],
    "pyproject.toml": [PROJECT, "[tool.ruff]\n", '[project]\nname = "x"\n', "= broken"],
    "apt.txt": ["curl\n"],
    "postBuild": ["#!/bin/sh\n"],
    "start": ['#!/bin/sh\nexec "$@"\n'],
}


def ask_repo2docker(root: Path) -> tuple[str, str] | None:
    """Return the pack that claims a folder and its Python; None where repo2docker gives up."""
    from repo2docker.app import Repo2Docker

    with contextlib.chdir(root):
        packs = [pack("debian") for pack in Repo2Docker(repo=".").buildpacks]
        try:
            chosen = next((pack for pack in packs if pack.detect()), packs[-1])
        except Exception:  # noqa: BLE001
            return None
        name = type(chosen).__name__.removesuffix("BuildPack").lower()
        name = "julia" if name.startswith("julia") else name
        try:
            python = chosen.python_version
        except Exception:  # noqa: BLE001
            python = ""
        return name, python


def compare(root: Path, files: dict[str, str | bytes]) -> None:
    recipe = read(root, files)
    theirs = ask_repo2docker(root)
    if theirs is None:
        assert codes(recipe, Severity.PROBLEM), files
        return
    assert recipe.buildpack == theirs[0], files
    if theirs[1] and theirs[0] in ("python", "conda", "pipfile"):
        assert serves_python(theirs[1], recipe.python), files


ONE = [{kind: text} for kind, texts in CONTENT.items() for text in texts]
TWO = [
    {a: CONTENT[a][0], b: text}
    for a, b in itertools.permutations(CONTENT, 2)
    for text in CONTENT[b]
]


@pytest.mark.parametrize("folder", ["", "binder/", ".binder/"])
def test_every_pair_of_files_is_claimed_as_repo2docker_claims_it(tmp_path: Path, folder: str):
    pairs = TWO[::7] if folder else TWO
    for number, files in enumerate([{}, *ONE, *pairs]):
        root = tmp_path / str(number)
        root.mkdir()
        compare(root, {f"{folder}{name}": text for name, text in files.items()})


@pytest.mark.parametrize(
    "files",
    [
        {"binder/x": "", ".binder/y": ""},
        {"binder/README": "", "requirements.txt": "numpy"},
        {"binder/README": "", "setup.py": ""},
        {"binder/postBuild": "#!", "environment.yml": "", "Dockerfile": "FROM x"},
        {"binder": "-> conf", "conf/environment.yml": "dependencies: []"},
        {"requirements.txt": "-> deps.txt", "deps.txt": "numpy==1"},
        {"requirements.txt": "-> nowhere"},
    ],
)
def test_folders_and_links_are_claimed_as_repo2docker_claims_them(tmp_path: Path, files):
    compare(tmp_path, files)


@st.composite
def repositories(draw: st.DrawFn) -> dict[str, str]:
    kinds = draw(st.lists(st.sampled_from(sorted(CONTENT)), unique=True, max_size=6))
    folder = st.sampled_from(["", "", "binder/", ".binder/"])
    return {draw(folder) + kind: draw(st.sampled_from(CONTENT[kind])) for kind in kinds}


@given(files=repositories())
def test_any_mixture_is_claimed_as_repo2docker_claims_it(files):
    with fresh_folder() as root:
        compare(root, files)


# --- What is read ---------------------------------------------------------------------------------


def test_an_empty_checkout_is_python_and_says_nothing(tmp_path: Path):
    assert read(tmp_path, {"README.md": "hi"}) == Recipe()


def test_requirements_are_read_with_what_they_include(tmp_path: Path):
    recipe = read(
        tmp_path,
        {
            "requirements.txt": "numpy==2.0  # pinned\n-r more/dev.txt\n\npandas>=2,<3 ; python_version > '3'\n"
            "scipy==1.* \\\n  ; sys_platform == 'linux'\n--index-url https://pypi.example.org\n"
            "-e .\n./wheels/x.whl\ngit+https://example.org/y.git\n"
            "z @ git+https://example.org/z@0123456789abcdef0123456789abcdef01234567\n"
            "rich==13 --hash=sha256:00\n-c constraints.txt\n-rmissing.txt\nnot a requirement\n",
            "more/dev.txt": "\ufeffpytest\n-r ../requirements.txt\n-r ../../../etc/passwd\n",
            "constraints.txt": "numpy==1\n",
            "runtime.txt": "python-3.11",
        },
    )
    assert [p.partition(" ")[0] for p in recipe.packages] == [
        *("numpy==2.0", "pytest", "pandas>=2,<3", "scipy==1.*", "z", "rich==13"),
    ]
    assert [p[:6] for p in recipe.unpinned] == ["pytest", "pandas", "scipy="]
    assert recipe.python == "3.11"
    assert {
        "pip_option",
        "elsewhere",
        "include_missing",
        "leads_out",
        "not_a_requirement",
    } <= codes(recipe)


def test_an_environment_is_read_with_its_pip_list(tmp_path: Path):
    recipe = read(
        tmp_path,
        {
            "binder/environment.yml": "name: x\nchannels: [conda-forge]\ndependencies:\n"
            "  - python=3.12\n  - pip\n  - conda-forge::numpy=1.26\n  - pandas\n  - scipy>=1\n"
            "  - python-dateutil\n  - pip:\n    - rich==13.0\n    - -r ../more.txt\n    - flask\n",
            "more.txt": "click\n",
            "requirements.txt": "ignored",
        },
    )
    assert recipe.directory == "binder"
    assert recipe.buildpack == "conda"
    assert recipe.python == "3.12"
    assert recipe.packages == (
        *("conda-forge::numpy=1.26", "pandas", "scipy>=1", "python-dateutil"),
        *("rich==13.0", "click", "flask"),
    )
    assert recipe.unpinned == ("pandas", "scipy>=1", "python-dateutil", "click", "flask")
    assert [(f.path, f.used) for f in recipe.files] == [
        ("binder/environment.yml", True),
        ("requirements.txt", False),
    ]


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ("numpy", "The one package names no version"),
        ("numpy\nrich==13", "1 of 2 packages names no version"),
        ("numpy\nclick\nrich==13", "2 of 3 packages name no version"),
    ],
)
def test_packages_without_a_version_are_counted_in_words(tmp_path: Path, requirements, words):
    recipe = read(tmp_path, {"requirements.txt": requirements})
    assert [f.message.partition(":")[0] for f in recipe.findings] == [words]


def test_a_pipfile_and_its_lock_are_read(tmp_path: Path):
    pipfile = '[packages]\nnumpy = "*"\nrich = "==13"\nx = {version = ">1"}\n[requires]\npython_version = "3.10"\n'
    recipe = read(tmp_path, {"Pipfile": pipfile, "requirements.txt": "ignored"})
    assert (recipe.packages, recipe.unpinned) == (("numpy", "rich==13", "x>1"), ("numpy", "x>1"))
    assert recipe.python == "3.10"
    recipe = read(tmp_path, {"Pipfile.lock": '{"default": {"numpy": {"version": "==2.0"}}}'})
    assert (recipe.packages, recipe.unpinned) == (("numpy==2.0",), ())


def test_a_project_is_read(tmp_path: Path):
    recipe = read(tmp_path, {"pyproject.toml": PROJECT + 'dependencies = ["numpy>=2"]\n'})
    assert (recipe.buildpack, recipe.packages) == ("python", ("numpy>=2",))
    assert [(f.path, f.used) for f in recipe.files] == [("pyproject.toml", True)]


@pytest.mark.parametrize(
    ("text", "preferred", "found"),
    [
        ("3.12\n", "3.12", set()),
        ("# mine\ncpython-3.11.4\n3.10\n", "3.11.4", set()),
        ("my-virtualenv\n", "", {"bad_python_version"}),
        ("pypy@3.10\n", "", {"bad_python_version"}),
    ],
)
def test_a_python_version_is_a_preference(tmp_path: Path, text, preferred, found):
    recipe = read(tmp_path, {".python-version": text, "requirements.txt": "rich==13"})
    assert (recipe.preferred_python, recipe.python) == (preferred, "")
    assert codes(recipe) == found
    runtime = read(tmp_path, {"runtime.txt": "python-3.9"})
    assert (runtime.preferred_python, runtime.python) == ("", "3.9")


def test_packages_of_a_project_that_nobody_can_install_are_said(tmp_path: Path):
    project = '[project]\nname = "x"\ndependencies = ["numpy"]\n'
    assert codes(read(tmp_path, {"pyproject.toml": project})) == {"not_installed"}
    assert "not_installed" not in codes(read(tmp_path, {"requirements.txt": "numpy==2"}))


def test_scripts_and_names_that_will_not_work_are_warned_of(tmp_path: Path):
    recipe = read(
        tmp_path,
        {"postBuild": "pip list\n", "start": b"#!/bin/sh\r\n", "Requirements.TXT": "numpy"},
    )
    assert codes(recipe) == {"no_interpreter", "line_ends", "misspelt"}


# --- Hostile checkouts ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "sub/../../secret", ".git/config"])
@pytest.mark.parametrize("kind", ["apt.txt", "requirements.txt", "environment.yml", "Dockerfile"])
def test_no_link_is_followed_out_of_the_checkout(tmp_path: Path, target: str, kind: str):
    (tmp_path / "secret").write_text("root:x:0:0")
    recipe = read(
        tmp_path / "checkout",
        {kind: f"-> {target}", "sub/x": "", ".git/config": "root:x:0:0"},
    )
    assert "leads_out" in codes(recipe)
    assert "root:" not in repr(recipe)
    assert recipe.files == ()


def test_a_linked_folder_or_include_leads_nowhere(tmp_path: Path):
    recipe = read(
        tmp_path / "checkout",
        {
            "binder": "-> /etc",
            "requirements.txt": "-r link\n-r /etc/passwd\n",
            "link": "-> /etc/passwd",
        },
    )
    assert recipe.directory == ""
    assert "root:" not in repr(recipe)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(15)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join(['*' + chr(97 + n)] * 9)}]}}\n"
    for n in range(15)
)


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("environment.yml", BOMB, "not_yaml"),
        ("environment.yml", MERGES, "not_yaml"),
        ("environment.yml", "[" * 5000, "not_yaml"),
        ("environment.yml", "a: [unclosed\n", "not_yaml"),
        (
            "environment.yml",
            "!!python/object/apply:os.system ['touch /tmp/evil']",
            "not_an_environment",
        ),
        ("environment.yml", "- a\n- b\n", "not_an_environment"),
        ("environment.yml", 'dependencies: ["num\\uD800py"]', "not_yaml"),
        ("environment.yml", "x" * 300_000, "too_large"),
        ("environment.yml", b"\x00\x01", "not_text"),
        ("requirements.txt", "x" * 2**21, "too_large"),
        ("requirements.txt", "x" * 5000, "line_too_long"),
        ("requirements.txt", "x; " + "(" * 3000, "not_a_requirement"),
        ("requirements.txt", "numpy".encode("utf-16"), "utf16"),
        ("requirements.txt", b"\xff\xfe\xfa\x00", "utf16"),
        ("requirements.txt", b"# \xfc", "not_utf8"),
        ("Pipfile", "a = " + "[" * 5000, "not_toml"),
        ("Pipfile.lock", "[" * 100_000, "not_json"),
        ("Pipfile.lock", "[1]", "not_json"),
        ("Pipfile.lock", '{"default": {"num\\ud800py": {}}}', "not_json"),
        ("Pipfile.lock", "9" * 10_000, "not_json"),
        ("pyproject.toml", "= x", "not_toml"),
        ("pyproject.toml", "a." * 40_000 + "b = 1\n", "too_large"),
        ("pyproject.toml", "x = {" + "a." * 40_000 + "b = 1}\n", "too_large"),
        ("pyproject.toml", 'a."=".' * 10_000 + "b = 1\n", "too_large"),
        ("pyproject.toml", 'a."\u2028".' * 10_000 + "b = 1\n", "too_large"),
        ("Pipfile", "#" * 200_000, "too_large"),
        ("pylock.toml", "#" * (2**21 + 1), "too_large"),
        ("pylock.toml", '"\\"' * 500_000, "bad_lock"),
        ("pylock.toml", "a = [" + "[" * 2**20, "not_toml"),
        ("pylock.toml", "a = [" + "{a.a.a=1}," * 150_000 + "]", "bad_lock"),
        ("runtime.txt", "python-3.11\n-\u202e<script>", "bad_runtime"),
        ("REQUIRE", "julia 0.6", "julia_require"),
    ],
)
def test_hostile_files_become_findings(tmp_path: Path, kind: str, content, code: str):
    started = time.process_time()
    assert code in codes(read(tmp_path, {kind: content}))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".gitmodules", "path=" + "/" * 65_000 + "x"),
        (".gitmodules", "path=a" + " " * 65_000 + "x"),
        ("environment.yml", f"dependencies: ['python[{'version=' * 480}']"),
    ],
)
def test_hostile_lines_take_no_time(tmp_path: Path, path: str, content: str):
    started = time.process_time()
    read(tmp_path, {path: content})
    assert time.process_time() - started < 0.5


def test_lines_that_include_files_count_too(tmp_path: Path):
    lines = "-r requirements.txt\n" * (MAX_LINES + 1)
    assert "too_many_lines" in codes(read(tmp_path, {"requirements.txt": lines}))


def test_only_few_short_missing_files_are_asked_for(tmp_path: Path):
    deep, few = "a/" * 1900, "".join(f"-r {number}.txt\n" for number in range(1000))
    write(tmp_path, {"requirements.txt": f"-r {deep}a.txt\n-r b\x01.txt\n-r c/d.txt\n{few}"})
    missing = find_missing(tmp_path)
    assert "c/d.txt" in missing
    assert len(missing) <= 50
    assert all(len(path) <= 255 and path.isprintable() for path in missing)


def test_includes_without_end_come_to_an_end(tmp_path: Path):
    files = {f"{n}.txt": f"-r {n + 1}.txt\n-r {n + 2}.txt\npkg{n}\n" for n in range(300)}
    recipe = read(tmp_path, {**files, "requirements.txt": "-r 0.txt\n-r requirements.txt"})
    assert 10 < len(recipe.packages) < 60


def test_very_many_lines_stay_bounded(tmp_path: Path):
    recipe = read(tmp_path, {"requirements.txt": "-x\n!bad\nok\n" * 80_000})
    assert len(recipe.packages) <= 5000
    assert len(recipe.findings) <= 41


ANY = st.one_of(
    st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace"))
)


@given(files=st.dictionaries(st.sampled_from(KINDS), ANY, max_size=4))
def test_nothing_in_a_file_raises(files: dict[str, bytes]):
    with fresh_folder() as root:
        assert read(root, dict(files)).buildpack


WORDS = [
    "-r",
    "-c",
    "-e",
    "--",
    "==",
    "@",
    ";",
    "[",
    "]",
    "(",
    "numpy",
    " ",
    "\n",
    "\\\n",
    "file:",
    "/",
    "..",
    "#",
]


@given(words=st.lists(st.sampled_from(WORDS), max_size=25))
def test_nothing_like_a_requirement_raises(words: list[str]):
    with fresh_folder() as root:
        read(root, {"requirements.txt": "".join(words)})


JSONISH = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.just("python=3.11"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["dependencies", "pip", "default", "_meta", "requires", "version", "packages"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(content=JSONISH)
def test_no_shape_of_content_raises(content):
    text = json.dumps(content)  # which is YAML too
    for kind in ("environment.yml", "Pipfile.lock"):
        with fresh_folder() as root:
            read(root, {kind: text})
