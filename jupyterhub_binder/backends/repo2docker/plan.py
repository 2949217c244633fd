"""Predicts what repo2docker does with each configuration file. Pure.

It covers repo2docker's build packs and our Debian one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from jupyterhub_binder.backends.pythons import serves_python
from jupyterhub_binder.model import (
    Assessment,
    Finding,
    Recipe,
    RecipeAction,
    RecipeFile,
    Severity,
)
from jupyterhub_binder.model.text import Message

_ACTIONS: Mapping[str, Message] = {
    "Dockerfile": Message("Builds the image from it; no other file is read"),
    "environment.yml": Message("Installs its packages with conda"),
    "environment.yaml": Message("Installs its packages with conda"),
    "requirements.txt": Message("Installs its packages"),
    "requirements3.txt": Message("Installs its packages"),
    "setup.py": Message("Installs the repository as a package"),
    "pyproject.toml": Message("Installs the repository as a package"),
    "Pipfile": Message("Installs its packages"),
    "Pipfile.lock": Message("Installs its packages"),
    "apt.txt": Message("Installs its packages with apt"),
    "install.R": Message("Runs it, with R"),
    "DESCRIPTION": Message("Installs the repository as an R package"),
    "REQUIRE": Message("Installs its packages, with Julia"),
    "Project.toml": Message("Installs its packages, with Julia"),
    "JuliaProject.toml": Message("Installs its packages, with Julia"),
    "Manifest.toml": Message("Fixes the versions of Julia's packages"),
    "default.nix": Message("Builds the environment with Nix"),
    "runtime.txt": Message("Chooses the language's version"),
    "postBuild": Message("Runs at the end of the build"),
    "start": Message("Runs at each start of a server"),
}
_ON_DEBIAN = frozenset(
    {
        "Dockerfile",
        "requirements.txt",
        "setup.py",
        "pyproject.toml",
        "apt.txt",
        "runtime.txt",
        "postBuild",
        "start",
    }
)
_NOT_ON_DEBIAN = Message(
    "This hub builds images without conda. List Python packages in requirements.txt and system "
    "packages in apt.txt, or write a Dockerfile."
)

_LOCKS: Mapping[str, tuple[str, ...]] = {
    "uv.lock": ("pyproject.toml",),
    "pylock.toml": ("pyproject.toml",),
    "conda-lock.yml": ("environment.yml", "environment.yaml"),
    "pixi.lock": (),
    "pixi.toml": (),
}
"""Files that repo2docker does not read, and what it reads beside them."""
_OF_CONDA = frozenset({"conda-lock.yml", "pixi.lock", "pixi.toml"})
_NO_LOCK = Message(
    "repo2docker does not read it, so none of its packages is installed. List them in "
    "requirements.txt (`uv export` writes it)."
)
_NO_CONDA_LOCK = Message(
    "repo2docker does not read it, so none of its packages is installed. List them in "
    "environment.yml."
)
_NO_PYTHON_VERSION = Message(
    "repo2docker does not read it. Name the Python version in runtime.txt, like python-3.11."
)

_UTF8_ONLY = frozenset({"environment.yml", "environment.yaml", "runtime.txt"})
_IDLE = frozenset({"line_ends", "no_interpreter"})
"""Findings of a script that the image's entrypoint can't run."""


def assess(recipe: Recipe, *, debian: bool, python: str = "") -> Assessment:
    """Return what happens to each file, and the findings.

    `debian` means our build pack; `python` is its base image's minor version, or "".
    """
    alone = next((file for file in recipe.files if file.used and file.kind == "Dockerfile"), None)
    actions, findings = [], []
    for file in recipe.files:
        action = _action(file, recipe, debian=debian, alone=alone)
        actions.append(action)
        if file.used and not action.supported:
            severity = Severity.PROBLEM if file.kind in _ACTIONS else Severity.WARNING
            message = Message.joined(f"{file.path}:", action.action)
            findings.append(Finding(severity, "not_served", message, file.path))
    if alone is None:
        findings += _unreadable(recipe)
    if debian and recipe.language not in ("", "python"):
        path = f"{recipe.directory}/runtime.txt".removeprefix("/")
        message = Message.joined(f"{path}:", _NOT_ON_DEBIAN)
        findings.append(Finding(Severity.PROBLEM, "not_served", message, path))
    if debian and python and alone is None and not serves_python(python, recipe.python):
        findings.append(
            Finding(
                Severity.PROBLEM,
                "python_missing",
                Message(
                    "The repository asks for Python %(asked)s, but this hub's images have "
                    "%(python)s. Ask for that version.",
                    asked=recipe.python,
                    python=python,
                ),
            )
        )
    return Assessment(tuple(actions), tuple(findings))


def _unreadable(recipe: Recipe) -> Iterator[Finding]:
    """Yield the problems that repo2docker has with files that others may understand."""
    used = {file.path: file.kind for file in recipe.files if file.used}
    for finding in recipe.findings:
        kind = used.get(finding.path, "")
        # pip and uv read UTF-16, too, but nothing else.
        encoded = finding.code == "not_utf8" or (finding.code == "utf16" and kind in _UTF8_ONLY)
        if encoded or (finding.code in _IDLE and kind == "start"):
            yield replace(finding, severity=Severity.PROBLEM)


def _action(
    file: RecipeFile, recipe: Recipe, *, debian: bool, alone: RecipeFile | None
) -> RecipeAction:
    if not file.used or (alone is not None and file is not alone):
        return RecipeAction(file.path, True, Message("Not used: another file takes precedence"))
    if file.kind == ".python-version":
        return RecipeAction(file.path, False, _NO_PYTHON_VERSION)
    if file.kind in _LOCKS:
        return RecipeAction(file.path, False, _without_lock(file, recipe))
    if debian and file.kind not in _ON_DEBIAN:
        return RecipeAction(file.path, False, _NOT_ON_DEBIAN)
    known = _ACTIONS.get(file.kind)
    if known is None:
        return RecipeAction(file.path, False, Message("repo2docker does not read it."))
    return RecipeAction(file.path, True, known)


def _without_lock(lock: RecipeFile, recipe: Recipe) -> Message:
    """Say what is installed in place of what a lock names."""
    beside = next(
        (file for file in recipe.files if file.used and file.kind in _LOCKS[lock.kind]), None
    )
    if beside is not None:
        return Message(
            "repo2docker does not read it. It installs the newest versions that %(path)s allows.",
            path=beside.path,
        )
    return _NO_CONDA_LOCK if lock.kind in _OF_CONDA else _NO_LOCK
