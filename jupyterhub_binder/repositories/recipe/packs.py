"""Finds the build pack and its files, as repo2docker would.

Tests compare the results with repo2docker's own `detect`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.lockfiles import is_locked_project
from jupyterhub_binder.repositories.recipe.packages import load_toml

ALWAYS = frozenset({"apt.txt", "postBuild", "start"})
"""Files that every pack except docker reads."""

CONDA_LOCKS = ("conda-lock.yml", "pixi.lock")
_PIXI = frozenset({"pixi.lock", "pixi.toml"})
_LOCKS = frozenset({"uv.lock", "pylock.toml"})
_PYTHON = frozenset({"requirements.txt", "setup.py", "pyproject.toml", "runtime.txt"})


@dataclass(frozen=True, slots=True)
class Runtime:
    """The content of runtime.txt: ``python-3.11``, ``r-4.4-2026-01-02``."""

    name: str = ""
    version: str = ""
    dated: bool = False
    text: str = ""


def read_runtime(checkout: Checkout) -> Runtime:
    """Read runtime.txt. Unknown content is a problem."""
    text = (checkout.text("runtime.txt") or "").strip()
    if not checkout.has("runtime.txt"):
        return Runtime()
    shown = text[:40].partition("\n")[0]
    parts = text.split("-")
    dated = len(parts) in (4, 5)
    if len(parts) not in (2, 4, 5) or not all(parts) or (dated and not _is_date(parts[-3:])):
        _bad_runtime(checkout, checkout.path_of("runtime.txt"), shown)
        return Runtime()
    return Runtime(parts[0], parts[1] if len(parts) in (2, 5) else "", dated, shown)


def _bad_runtime(checkout: Checkout, path: str, shown: str) -> None:
    checkout.problem(
        "bad_runtime",
        Message(
            "%(path)s contains '%(version)s'. Write the version like python-3.11.",
            path=path,
            version=shown,
        ),
        path,
    )


def _is_date(parts: list[str]) -> bool:
    text = "-".join(parts)
    try:
        return bool(re.match(r"\d{4}-\d\d-\d\d", text) and date.fromisoformat(text))
    except ValueError:
        return False


def is_package(checkout: Checkout) -> bool:
    """Recognise an installable Python package."""
    return checkout.has("setup.py") or _has_project(checkout)


def _has_project(checkout: Checkout) -> bool:
    content = load_toml(checkout, "pyproject.toml")
    return "project" in content and "build-system" in content


@dataclass(frozen=True, slots=True)
class Pack:
    """A build pack: its condition and its files."""

    name: str
    claims: Callable[[Checkout, Runtime], bool]
    reads: frozenset[str]


def _has(*kinds: str) -> Callable[[Checkout, Runtime], bool]:
    return lambda checkout, _: any(checkout.has(kind) for kind in kinds)


def _claims_r(checkout: Checkout, runtime: Runtime) -> bool:
    return (runtime.name == "r" and runtime.dated) or checkout.has("DESCRIPTION")


def _claims_pipfile(checkout: Checkout, runtime: Runtime) -> bool:
    return runtime.name in ("", "python") and (
        checkout.has("Pipfile") or checkout.has("Pipfile.lock")
    )


def _claims_conda_lock(checkout: Checkout, _: Runtime) -> bool:
    """Claim files that repo2docker does not read; as with uv.lock, they may lock a package."""
    first = checkout.has("requirements.txt") or checkout.has("setup.py")
    return not first and any(checkout.has(kind) for kind in ("conda-lock.yml", *_PIXI))


def _claims_python(checkout: Checkout, runtime: Runtime) -> bool:
    if runtime.name:
        return runtime.name == "python"
    return is_package(checkout) or checkout.has("requirements.txt")


PACKS = (
    Pack("docker", _has("Dockerfile"), frozenset({"Dockerfile"})),
    Pack(
        "julia",
        _has("Project.toml", "JuliaProject.toml"),
        ALWAYS | _PYTHON | {"Project.toml", "JuliaProject.toml"},
    ),
    Pack("julia", _has("REQUIRE"), ALWAYS | _PYTHON | {"REQUIRE"}),
    Pack("nix", _has("default.nix"), ALWAYS | {"default.nix"}),
    Pack("r", _claims_r, ALWAYS | _PYTHON | {"install.R", "DESCRIPTION"}),
    Pack(
        "conda",
        _has("environment.yml", "environment.yaml"),
        ALWAYS | {"environment.yml", "environment.yaml", "conda-lock.yml"},
    ),
    Pack("pipfile", _claims_pipfile, ALWAYS | {"Pipfile", "Pipfile.lock", "runtime.txt"}),
    Pack("python", _claims_conda_lock, ALWAYS | _PIXI | {"conda-lock.yml"}),
    Pack("python", _claims_python, ALWAYS | _PYTHON | _LOCKS | {".python-version"}),
)

DEFAULT = PACKS[-1]
"""Used if no pack claims the checkout."""


def choose_pack(checkout: Checkout) -> tuple[Pack, Runtime]:
    """Return the first matching pack and its runtime."""
    first = next((pack for pack in PACKS if pack.claims(checkout, Runtime())), DEFAULT)
    if first.name in ("docker", "nix"):  # these packs ignore runtime.txt
        return first, Runtime()
    runtime = read_runtime(checkout)
    return next((pack for pack in PACKS if pack.claims(checkout, runtime)), DEFAULT), runtime


def check_language(checkout: Checkout, pack: Pack, runtime: Runtime) -> None:
    """Say it if a used runtime.txt asks for a language that the pack does not install."""
    path = checkout.path_of("runtime.txt")
    if runtime.name in ("", "python", pack.name):
        return
    if pack.name not in ("python", "pipfile"):
        checkout.warn(
            "bad_runtime",
            Message(
                "%(path)s asks for '%(version)s', which is ignored, because another file decides the environment.",
                path=path,
                version=runtime.text,
            ),
            path,
        )
    elif runtime.name == "r":
        checkout.problem(
            "bad_runtime",
            Message(
                "%(path)s asks for R without a date. Write the version and a date, like "
                "r-4.4-2026-01-02.",
                path=path,
            ),
            path,
        )
    else:
        _bad_runtime(checkout, path, runtime.text)


def choose_lock(checkout: Checkout) -> str:
    """Return the kind of lock that decides the packages of a Python repository, or "".

    The files that repo2docker reads come first.
    """
    if checkout.has("requirements.txt") or checkout.has("setup.py"):
        return ""
    if checkout.has("uv.lock") and is_locked_project(checkout):
        return "uv.lock"
    return "pylock.toml" if checkout.has("pylock.toml") else ""


def counts(checkout: Checkout, pack: Pack, kind: str) -> bool:
    """Say whether a file would be read."""
    if kind not in pack.reads:
        return False
    if kind == "environment.yaml":
        return not checkout.has("environment.yml")
    if kind == "Project.toml":
        return not checkout.has("JuliaProject.toml")
    if kind in _LOCKS:
        return kind == choose_lock(checkout)
    if kind in _PIXI:
        return not checkout.has("conda-lock.yml")
    if kind == ".python-version":
        return not checkout.has("runtime.txt")
    return kind != "pyproject.toml" or _has_project(checkout)
