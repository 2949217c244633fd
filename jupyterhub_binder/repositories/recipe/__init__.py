"""Reads configuration files as repo2docker would. Blocking; call it in a thread."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from jupyterhub_binder.model import Recipe, RecipeFile, RecipeInput
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.conda_locks import read_conda_lock
from jupyterhub_binder.repositories.recipe.environments import read_environment
from jupyterhub_binder.repositories.recipe.files import (
    AT_ROOT_ONLY,
    FOLDERS,
    KINDS,
    Checkout,
    no_submodule,
)
from jupyterhub_binder.repositories.recipe.lockfiles import read_lock
from jupyterhub_binder.repositories.recipe.packages import (
    lists_packages,
    read_pipfile,
    read_project,
    read_python_version,
    short_version,
)
from jupyterhub_binder.repositories.recipe.packs import (
    CONDA_LOCKS,
    Pack,
    Runtime,
    check_language,
    choose_pack,
    counts,
)
from jupyterhub_binder.repositories.recipe.pixi import read_pixi
from jupyterhub_binder.repositories.recipe.requirements import Wanted, read_requirements

__all__ = ["find_missing", "read_recipe"]


def read_recipe(checkout: Path, *, fetches: Callable[[str], bool] = no_submodule) -> Recipe:
    """Return the recipe. Problems become findings, never errors.

    Previews and builds use only this. `fetches` says whether a submodule of this URL is fetched.
    """
    return _read(checkout, fetches)[1]


def find_missing(checkout: Path, *, fetches: Callable[[str], bool] = no_submodule) -> set[str]:
    """Return the paths that links and lines name and a partial checkout lacks."""
    return _read(checkout, fetches)[0].missing


def _read(checkout: Path, fetches: Callable[[str], bool]) -> tuple[Checkout, Recipe]:
    folder = Checkout(checkout, fetches)
    pack, runtime = choose_pack(folder)
    files = _list_files(folder, pack)
    used = {file.kind: file.path for file in files if file.used}
    wanted = _read_packages(folder, runtime, used)
    if "runtime.txt" in used:
        check_language(folder, pack, runtime)
    scripts = {kind: _read_script(folder, path) for kind, path in used.items() if kind in _SCRIPTS}
    if pack.name == "python" and not used.keys() & _DECIDE:
        _check_project(folder)
    _check_others(folder, pack, wanted)
    return folder, Recipe(
        directory=folder.directory,
        buildpack=pack.name,
        files=tuple(files),
        language=runtime.name if "runtime.txt" in used else "",
        python=wanted.python,
        preferred_python=wanted.preferred_python,
        lock=wanted.lock,
        packages=tuple(wanted.packages),
        unpinned=tuple(wanted.unpinned),
        requirements=tuple(wanted.requirements),
        conda=tuple(wanted.conda),
        conda_file=wanted.conda_file,
        conda_lock=wanted.conda_lock,
        post_build=scripts.get("postBuild", ""),
        submodules=folder.submodules,
        lfs=tuple(_LFS.findall(folder.first_text(".gitattributes"))[:_MAX_LFS]),
        findings=tuple(folder.findings),
        inputs=_list_inputs(folder, used),
    )


_RIGHT_NAMES = {name.lower(): name for name in (*KINDS, *FOLDERS)}
_SCRIPTS = ("postBuild", "start")
_MAX_LFS = 20
_LFS = re.compile(r"^[ \t]*([^#\s]\S*)[ \t].*\bfilter=lfs\b", re.MULTILINE)


def _list_files(folder: Checkout, pack: Pack) -> list[RecipeFile]:
    files = []
    for kind in KINDS:
        used = folder.has(kind) and counts(folder, pack, kind)
        if used or (folder.has(kind) and kind != "pyproject.toml"):
            path = folder.path_of(kind)
            files.append(RecipeFile(path, kind, used))
        if folder.directory and kind not in AT_ROOT_ONLY and folder.is_file(kind):
            files.append(RecipeFile(kind, kind, used=False))
    return files


def _list_inputs(folder: Checkout, used: dict[str, str]) -> tuple[RecipeInput, ...]:
    kinds = {path: kind for kind, path in used.items()}
    paths = sorted(kinds.keys() | folder.included)
    return tuple(RecipeInput(path, kinds.get(path, ""), folder.checksum(path)) for path in paths)


def _read_packages(folder: Checkout, runtime: Runtime, used: dict[str, str]) -> Wanted:
    wanted = Wanted()
    if "environment.yml" in used or "environment.yaml" in used:
        path = used.get("environment.yml") or used["environment.yaml"]
        read_environment(folder, path, wanted)
    if "pixi.toml" in used:
        read_pixi(folder, wanted, locked="pixi.lock" in used)
    if kind := next((kind for kind in CONDA_LOCKS if kind in used), ""):
        read_conda_lock(folder, kind, wanted)
    if "Pipfile" in used or "Pipfile.lock" in used:
        read_pipfile(folder, wanted)
    if runtime.name == "python" and "runtime.txt" in used:
        wanted.python = wanted.python or short_version(runtime.version) or runtime.version
    if "requirements.txt" in used:
        read_requirements(folder, used["requirements.txt"], wanted)
    if kind := next((kind for kind in ("uv.lock", "pylock.toml") if kind in used), ""):
        read_lock(folder, kind, wanted)
    elif "pyproject.toml" in used:
        read_project(folder, wanted)
    if ".python-version" in used:
        read_python_version(folder, used[".python-version"], wanted)
    return wanted


def _read_script(folder: Checkout, path: str) -> str:
    """Return the start of a script, and say if it will not run."""
    data = folder.first_bytes(path)
    first, _, rest = data.partition(b"\n")
    if path.endswith("postBuild") and first.startswith(b"#!") and b"\r" in first:
        folder.problem(
            "line_ends",
            Message(
                "%(path)s has Windows line endings, so it does not run. Save it with Unix line "
                "endings.",
                path=path,
            ),
            path,
        )
    elif b"\r" in first or b"\r\n" in rest:
        folder.warn(
            "line_ends",
            Message(
                "%(path)s has Windows line endings and may fail to run. Save it with Unix line "
                "endings.",
                path=path,
            ),
            path,
        )
    if not data.startswith((b"#!", b"\x7fELF")):
        folder.warn(
            "no_interpreter",
            Message("%(path)s does not begin with #! and may fail to run.", path=path),
            path,
        )
    return data.decode("utf-8", "replace")


_DECIDE = frozenset({"requirements.txt", "setup.py", "uv.lock", "pylock.toml", "pyproject.toml"})
"""Files that say which packages a Python repository needs."""


def _check_project(folder: Checkout) -> None:
    """Say it if a project only lists packages, which no builder installs."""
    if folder.has("pyproject.toml") and lists_packages(folder):
        folder.warn(
            "not_installed",
            Message(
                "%(path)s lists packages, but they are not installed, because it has no "
                "[build-system] and no lock. Commit a uv.lock, or list them in requirements.txt.",
                path="pyproject.toml",
            ),
            "pyproject.toml",
        )


def _check_others(folder: Checkout, pack: Pack, wanted: Wanted) -> None:
    if folder.has("REQUIRE") and pack.reads >= {"REQUIRE"}:
        path = folder.path_of("REQUIRE")
        folder.problem(
            "julia_require",
            Message("%(path)s is no longer supported. Use a Project.toml.", path=path),
            path,
        )
    for name in folder.names():
        kind = _RIGHT_NAMES.get(name.lower(), name)
        if kind != name and kind.lower() != "start":
            path = folder.path_of(name)
            folder.warn(
                "misspelt",
                Message("%(path)s is ignored. It must be called %(name)s.", path=path, name=kind),
                path,
            )
    if wanted.unpinned:
        folder.note(
            "unpinned",
            _unpinned(len(wanted.unpinned), len(wanted.packages)),
        )


def _unpinned(count: int, packages: int) -> Message:
    if packages == 1:
        return Message("The one package names no version: another build may bring another one.")
    return Message.counted(
        "1 of %(packages)s packages names no version: another build may bring another one.",
        "%(num)s of %(packages)s packages name no version: another build may bring another one.",
        count,
        packages=packages,
    )
