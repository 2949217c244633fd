"""Repositories as people have them: what the preview says of one is what its build does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.model import Recipe, Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.git_server import FileContent, GitServer, Symlink
from tests.kit.jobs import build_hosts, collect, image_of, make_job

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
PROJECT = '[project]\nname = "mine"\nversion = "1"\n[build-system]\nrequires = ["setuptools"]\n'
PROJECT += '[tool.setuptools]\npackages = ["mine"]\n'
PIP = "dependencies:\n- pip:\n  - cowsay\n"
SUBMODULE = '[submodule "lib"]\n\tpath = lib\n\turl = https://example.org/lib.git\n'
UV_LOCK = (
    'version = 1\nrequires-python = ">=3.9"\n[[package]]\nname = "mine"\nversion = "1"\n'
    'source = { virtual = "." }\ndependencies = [{ name = "cowsay" }]\n'
    '[[package]]\nname = "cowsay"\nversion = "6.1"\n'
    'source = { registry = "https://pypi.python.org/simple" }\n'
)
PYLOCK = 'lock-version = "1.0"\n[[packages]]\nname = "cowsay"\nversion = "6.1"\n'

Files = dict[str, FileContent]

# name: (files, the problems that the preview names, packages that the build installs)
CASES: dict[str, tuple[Files, set[str], set[str]]] = {
    # Encodings
    "utf-16": ({"requirements.txt": "cowsay\n".encode("utf-16")}, set(), {"cowsay"}),
    "utf-16-included": (
        {"requirements.txt": "-r more.txt", "more.txt": "cowsay\n".encode("utf-16")},
        set(),
        {"cowsay"},
    ),
    "bom-included": (
        {"requirements.txt": "-r more.txt", "more.txt": "\ufeffcowsay\n"},
        set(),
        {"cowsay"},
    ),
    "latin-1": ({"requirements.txt": "cowsay # schön".encode("latin-1")}, set(), {"cowsay"}),
    "bom-environment": ({"environment.yml": f"\ufeff{PIP}"}, set(), {"cowsay"}),
    "utf-16-environment": ({"environment.yml": PIP.encode("utf-16")}, set(), {"cowsay"}),
    "utf-16-runtime": (
        {"requirements.txt": "cowsay", "runtime.txt": f"python-{OWN}\r\n".encode("utf-16")},
        set(),
        {"cowsay"},
    ),
    "utf-16-project": ({"pyproject.toml": PROJECT.encode("utf-16")}, {"encoding"}, set()),
    "nul": ({"requirements.txt": "cowsay\0\n"}, {"not_text"}, set()),
    # Line ends and scripts
    "crlf-script": ({"postBuild": b"#!/bin/sh\r\necho hi\r\n"}, {"line_ends"}, set()),
    "cr-script": ({"postBuild": b"#!/bin/sh\recho hi\r"}, {"line_ends"}, set()),
    "script-without-interpreter": ({"postBuild": b"echo hi > made.txt\n"}, set(), set()),
    "bom-script": ({"postBuild": "\ufeff#!/bin/sh\necho hi\n"}, set(), set()),
    "crlf-start": ({"start": b'#!/bin/sh\r\nexec "$@"\r\n'}, set(), set()),
    "crlf": ({"requirements.txt": b"cowsay\r\n# x\r\n\r\niniconfig\r\n"}, set(),
             {"cowsay", "iniconfig"}),
    "cr": ({"requirements.txt": b"cowsay\riniconfig\r"}, set(), {"cowsay", "iniconfig"}),
    "comment-with-backslash": ({"requirements.txt": "# x \\\ncowsay\n"}, set(), {"cowsay"}),
    "hashes": ({"requirements.txt": f"cowsay==6.1 \\\n  --hash=sha256:{'0' * 64}\n"}, set(),
               {"cowsay"}),
    # runtime.txt
    "runtime-crlf": ({"runtime.txt": f"python-{OWN}\r\n\r\n"}, set(), set()),
    "runtime-patch": ({"runtime.txt": f"python-{OWN}.1"}, set(), set()),
    "runtime-bare": ({"runtime.txt": OWN}, {"bad_runtime"}, set()),
    "runtime-upper-case": ({"runtime.txt": f"Python-{OWN}"}, {"bad_runtime"}, set()),
    "runtime-r": ({"runtime.txt": "r-4.4-2026-01-02"}, {"not_served"}, set()),
    "runtime-r-without-date": (
        {"runtime.txt": "r-4.4", "requirements.txt": "cowsay"},
        {"bad_runtime", "not_served"},
        set(),
    ),
    # environment.yml
    "environment-empty": ({"environment.yml": ""}, set(), set()),
    "environment-null": ({"environment.yml": "name: x\ndependencies:\n"}, set(), set()),
    "environment-list": ({"environment.yml": "- pip\n"}, {"not_an_environment"}, set()),
    "environment-pip-text": (
        {"environment.yml": "dependencies:\n- pip: cowsay\n"}, {"not_an_environment"}, set()),
    "environment-npm": (
        {"environment.yml": "dependencies:\n- npm: [x]\n"}, {"not_an_environment"}, set()),
    "environment-yaml": ({"environment.yaml": PIP}, set(), {"cowsay"}),
    "environment-includes": (
        {"environment.yml": "dependencies:\n- pip:\n  - -r requirements.txt\n",
         "requirements.txt": "cowsay"}, set(), {"cowsay"}),
    "environment-includes-above": (
        {"binder/environment.yml": "dependencies:\n- pip:\n  - -r ../requirements.txt\n",
         "requirements.txt": "cowsay"}, set(), {"cowsay"}),
    "environment-project-above": (
        {"binder/environment.yml": "dependencies:\n- pip:\n  - -e ..\n",
         "pyproject.toml": PROJECT, "mine/__init__.py": ""}, set(), {"mine"}),
    **{
        f"environment-python{asked}": (
            {"environment.yml": f"dependencies:\n- python{asked}\n"}, problems, set())
        for asked, problems in {
            "=3": set[str](), " >=3.9,<3.40": set[str](), f"={OWN}=h123_0": set[str](),
            f" {OWN}.*": set[str](), "[version='>=3.9']": set[str](),
            " >=3.40": {"python_missing"}, " <3.5": {"python_missing"},
            " !=3.*": {"python_missing"}, " 2.7": {"python_missing"},
            "=2.7": {"python_missing"}, "=2": {"python_missing"}, " 3.98|3.99": {"python_missing"},
        }.items()
    },
    "project-python": (
        {"pyproject.toml": PROJECT.replace("[build", 'requires-python = ">=3.40"\n[build')},
        {"python_missing"}, set()),
    "uv-lock": (
        {"uv.lock": UV_LOCK, "pyproject.toml": '[project]\nname = "mine"\nversion = "1"\n',
         ".python-version": f"{OWN}.1\n"}, set(), {"cowsay"}),
    "uv-lock-of-another-project": (
        {"uv.lock": UV_LOCK, "pyproject.toml": '[project]\nname = "other"\n'}, {"bad_lock"}, set()),
    "uv-lock-alone": ({"uv.lock": UV_LOCK}, set(), set()),
    "pylock-in-binder": ({"binder/pylock.toml": PYLOCK}, set(), {"cowsay"}),
    # Where files are
    "included-deep": (
        {"requirements.txt": "-r a/b/more.txt", "a/b/more.txt": "-r ../c.txt", "a/c.txt": "cowsay"},
        set(), {"cowsay"}),
    "included-through-a-link": (
        {"requirements.txt": "-r deps/more.txt", "deps": Symlink("a/b"), "a/b/more.txt": "cowsay"},
        set(), {"cowsay"}),
    "included-from-an-odd-place": (
        {"requirements.txt": "-r 'a [b]/mö re*.txt'", "a [b]/mö re*.txt": "cowsay"},
        set(), {"cowsay"}),
    "included-missing": ({"requirements.txt": "-r more.txt"}, {"include_missing"}, set()),
    "included-from-outside": ({"requirements.txt": "-r ../more.txt"}, {"leads_out"}, set()),
    "constraint-and-requirement": (
        {"requirements.txt": "-c more.txt\n-r more.txt", "more.txt": "cowsay<6"}, set(),
        {"cowsay"}),
    "linked-file": (
        {"requirements.txt": Symlink("env/reqs.txt"), "env/reqs.txt": "cowsay"}, set(), {"cowsay"}),
    "linked-folder": (
        {".binder": Symlink("conf"), "conf/requirements.txt": "cowsay"}, set(), {"cowsay"}),
    "linked-twice": (
        {".binder": Symlink("conf"), "conf/requirements.txt": Symlink("../env/more.txt"),
         "env/more.txt": "cowsay"}, set(), {"cowsay"}),
    "linked-dockerfile": (
        {"Dockerfile": Symlink("docker/Dockerfile.hub"), "docker/Dockerfile.hub": "FROM x"},
        {"not_served"}, set()),
    "linked-out": ({"requirements.txt": Symlink("/etc/hostname")}, set(), set()),
    "linked-to-nothing": ({"requirements.txt": Symlink("nowhere")}, set(), set()),
    "two-folders": (
        {"binder/requirements.txt": "cowsay", ".binder/requirements.txt": "cowsay"},
        {"two_folders"}, set()),
    "binder-is-a-file": ({"binder": "hi", "requirements.txt": "cowsay"}, set(), {"cowsay"}),
    "misspelt": ({"Requirements.txt": "cowsay"}, set(), set()),
    "project-in-binder": (
        {"binder/requirements.txt": "-r ../requirements.txt\n-e .", "requirements.txt": "cowsay",
         "pyproject.toml": PROJECT, "mine/__init__.py": ""}, set(), {"cowsay", "mine"}),
    "project-above": ({"binder/requirements.txt": "-e .."}, {"requirement_refused"}, set()),
    "extras": (
        {"requirements.txt": "-e .[x]", "mine/__init__.py": "",
         "pyproject.toml": f'{PROJECT}[project.optional-dependencies]\nx = ["cowsay"]\n'},
        set(), {"cowsay", "mine"}),
    # What is left out
    "submodule": ({"requirements.txt": "cowsay", ".gitmodules": SUBMODULE}, set(), {"cowsay"}),
    "submodule-installed": (
        {"requirements.txt": "-e ./lib", ".gitmodules": SUBMODULE}, {"in_submodule"}, set()),
    "submodule-included": (
        {"requirements.txt": "-r lib/requirements.txt", ".gitmodules": SUBMODULE},
        {"in_submodule", "requirement_refused"}, set()),
    "lfs": (
        {"requirements.txt": "cowsay", ".gitattributes": "*.csv filter=lfs diff=lfs -text\n"},
        set(), {"cowsay"}),
    "home": ({"postBuild": "#!/bin/sh\necho x > ~/.vimrc\n"}, set(), set()),
    "pipfile": ({"Pipfile": '[packages]\ncowsay = "*"\n'}, {"not_served"}, set()),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.fixture(scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> VenvBackend:
    root = str(tmp_path_factory.mktemp("venv") / "environments")
    backend = VenvBackend(
        environments_root=root, base_packages=[], smoke_test=[], build_hosts=build_hosts()
    )
    await backend.start()
    return backend


async def look(server: GitServer, files: Files, folder: Path) -> tuple[Recipe, Recipe]:
    """Return what the preview reads of a repository and what the build reads of it."""
    repo = server.make_repo(f"cases/{folder.name}", files)
    fetcher = Fetcher(git=Git(protocols=["http"], private_hosts=["127.0.0.1"]), free_bytes=0)
    resolved = await Providers(git=fetcher.git).resolve(Spec("git", repo.url, "HEAD"))
    async with fetcher.peek(resolved) as peek:
        seen = read_recipe(peek.path)
    await fetcher.checkout(resolved, folder / "checkout")
    return seen, read_recipe(folder / "checkout")


@pytest.mark.parametrize("case", CASES)
async def test_build_does_what_the_preview_says(case, server, backend, tmp_path: Path):
    files, problems, packages = CASES[case]
    seen, built = await look(server, files, tmp_path)
    assessment = backend.assess(seen, {})
    assert {one.code for one in (*seen.problems, *assessment.problems)} == problems
    if case != "linked-out":  # a checkout lacks the link, so that nothing is left to warn of
        assert seen == built
    if not problems and (packages or "postBuild" in files):
        job = make_job(recipe=built, checkout=tmp_path / "checkout")
        image = image_of(await collect(backend, job)).name.removeprefix("venv:")
        lock = (Path(backend.environments_root) / image / "binder/lock.txt").read_text()
        named = {line.partition("==")[0].split(" ")[0] for line in lock.splitlines()}
        assert packages <= named | ({"mine"} if "-e" in lock or "file:" in lock else set())


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("misspelt", "misspelt", "must be called requirements.txt"),
        ("submodule", "submodules", "their folders are empty: lib"),
        ("lfs", "lfs", "*.csv"),
        ("home", "home_not_kept", "Write to $REPO_DIR"),
        ("bom-script", "no_interpreter", "may fail"),
    ],
)
async def test_what_is_left_out_is_said_before_the_build(
    case, code, words, server, backend, tmp_path: Path
):
    seen, _ = await look(server, CASES[case][0], tmp_path)
    findings = seen.findings + backend.assess(seen, {}).findings
    assert [one.code for one in findings if words in one.message] == [code]
