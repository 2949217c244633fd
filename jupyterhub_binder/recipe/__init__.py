"""Reads the configuration files of a checkout as repo2docker would.

Pure but for reading one folder; blocking, so call it in a thread. Whatever a checkout holds,
`read_recipe` returns a recipe: what is wrong with it stands in its findings.
"""

from __future__ import annotations

from pathlib import Path

from jupyterhub_binder.model import Recipe, RecipeFile
from jupyterhub_binder.recipe.files import AT_ROOT_ONLY, KINDS, Checkout
from jupyterhub_binder.recipe.packages import (
    Wanted,
    read_environment,
    read_pipfile,
    read_project,
    read_requirements,
    short_version,
)
from jupyterhub_binder.recipe.packs import Pack, Runtime, choose_pack, counts

__all__ = ["read_recipe"]


def read_recipe(checkout: Path) -> Recipe:
    """Return what a checkout asks for. Never raises for what the checkout holds."""
    folder = Checkout(checkout)
    pack, runtime = choose_pack(folder)
    files = _list_files(folder, pack)
    wanted = _read_packages(folder, runtime, [file for file in files if file.used])
    _check_scripts(folder)
    _check_others(folder, pack, wanted)
    return Recipe(
        directory=folder.directory,
        buildpack=pack.name,
        files=tuple(files),
        python=wanted.python,
        packages=tuple(wanted.packages),
        unpinned=tuple(wanted.unpinned),
        findings=tuple(folder.findings),
    )


def _list_files(folder: Checkout, pack: Pack) -> list[RecipeFile]:
    files = []
    for kind in KINDS:
        used = folder.has(kind) and counts(folder, pack, kind)
        if used or (folder.has(kind) and kind != "pyproject.toml"):
            path = folder.path_of(kind)
            files.append(RecipeFile(path, kind, used, folder.read(path) or ""))
        if folder.directory and kind not in AT_ROOT_ONLY and folder.is_file(kind):
            files.append(RecipeFile(kind, kind, used=False))
    return files


def _read_packages(folder: Checkout, runtime: Runtime, used: list[RecipeFile]) -> Wanted:
    wanted = Wanted()
    kinds = {file.kind: file.path for file in used}
    if "environment.yml" in kinds or "environment.yaml" in kinds:
        path = kinds.get("environment.yml") or kinds["environment.yaml"]
        read_environment(folder, path, wanted)
    if "Pipfile" in kinds or "Pipfile.lock" in kinds:
        read_pipfile(folder, wanted)
    if "requirements.txt" in kinds:
        read_requirements(folder, kinds["requirements.txt"], wanted)
    if "pyproject.toml" in kinds:
        read_project(folder, wanted)
    if runtime.name == "python" and "runtime.txt" in kinds:
        wanted.python = wanted.python or short_version(runtime.version)
    return wanted


def _check_scripts(folder: Checkout) -> None:
    for kind in ("postBuild", "start"):
        text = folder.text(kind)
        path = folder.path_of(kind)
        if text is not None and not text.startswith("#!"):
            folder.warn("no_interpreter", f"{path} does not begin with #! and may not run.", path)
        elif text is not None and text.partition("\n")[0].endswith("\r"):
            folder.warn("line_ends", f"{path} has the line ends of Windows: it may not run.", path)


def _check_others(folder: Checkout, pack: Pack, wanted: Wanted) -> None:
    """Look at what is easily overlooked."""
    if folder.has("REQUIRE") and pack.reads >= {"REQUIRE"}:
        path = folder.path_of("REQUIRE")
        folder.problem("julia_require", f"{path} is no longer read: write a Project.toml.", path)
    known = {kind.lower(): kind for kind in KINDS}
    for name in folder.names():
        kind = known.get(name.lower(), name)
        if kind != name and kind.lower() != "start":
            path = folder.path_of(name)
            folder.warn("misspelt", f"{path} is ignored: the file must be called {kind}.", path)
    if wanted.unpinned:
        folder.note(
            "unpinned",
            f"{_count_unpinned(wanted)}: another build may bring another one.",
        )


def _count_unpinned(wanted: Wanted) -> str:
    unpinned, packages = len(wanted.unpinned), len(wanted.packages)
    if packages == 1:
        return "The one package names no version"
    return f"{unpinned} of {packages} packages {'names' if unpinned == 1 else 'name'} no version"
