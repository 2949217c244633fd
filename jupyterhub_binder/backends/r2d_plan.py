"""What repo2docker will do with each configuration file of a checkout, in words.

Pure. repo2docker itself decides when it builds; this says the same beforehand, for its own
build packs and for ours on Debian.
"""

from __future__ import annotations

from collections.abc import Mapping

from jupyterhub_binder.model import (
    Assessment,
    Finding,
    Recipe,
    RecipeAction,
    RecipeFile,
    Severity,
)

_ACTIONS: Mapping[str, str] = {
    "Dockerfile": "Builds the image as it says, and nothing else is read",
    "environment.yml": "Installs its packages with conda",
    "requirements.txt": "Installs its packages",
    "requirements3.txt": "Installs its packages",
    "setup.py": "Installs the repository as a package",
    "pyproject.toml": "Installs the repository as a package",
    "Pipfile": "Installs its packages",
    "Pipfile.lock": "Installs its packages",
    "apt.txt": "Installs its packages with apt",
    "install.R": "Runs it, with R",
    "DESCRIPTION": "Installs the repository as an R package",
    "REQUIRE": "Installs its packages, with Julia",
    "Project.toml": "Installs its packages, with Julia",
    "JuliaProject.toml": "Installs its packages, with Julia",
    "Manifest.toml": "Fixes the versions of Julia's packages",
    "default.nix": "Builds the environment with Nix",
    "runtime.txt": "Chooses the language's version",
    "postBuild": "Runs at the end of the build",
    "start": "Runs at each start of a server",
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
_NOT_ON_DEBIAN = (
    "This hub builds images without conda: name Python packages in requirements.txt and system "
    "packages in apt.txt, or write a Dockerfile."
)


def assess(recipe: Recipe, *, debian: bool, python: str = "") -> Assessment:
    """Say what would be done with each file.

    `debian` is whether our build pack is used; `python` then is the one minor version that its
    base image has, empty where that is not known.
    """
    alone = next((file for file in recipe.files if file.used and file.kind == "Dockerfile"), None)
    actions, findings = [], []
    for file in recipe.files:
        action = _action(file, debian=debian, alone=alone)
        actions.append(action)
        if file.used and not action.supported:
            severity = Severity.PROBLEM if file.kind in _ACTIONS else Severity.WARNING
            message = f"{file.path}: {action.action}"
            findings.append(Finding(severity, "not_served", message, file.path))
    if debian and python and alone is None and recipe.python not in ("", python):
        findings.append(
            Finding(
                Severity.PROBLEM,
                "python_missing",
                f"The repository asks for Python {recipe.python}; this hub's images have {python}.",
            )
        )
    return Assessment(tuple(actions), tuple(findings))


def _action(file: RecipeFile, *, debian: bool, alone: RecipeFile | None) -> RecipeAction:
    if not file.used or (alone is not None and file is not alone):
        return RecipeAction(file.path, True, "Is not used: another file takes precedence")
    if debian and file.kind not in _ON_DEBIAN:
        return RecipeAction(file.path, False, _NOT_ON_DEBIAN)
    known = _ACTIONS.get(file.kind)
    if known is None:
        return RecipeAction(file.path, False, "repo2docker does not read it.")
    return RecipeAction(file.path, True, known)
