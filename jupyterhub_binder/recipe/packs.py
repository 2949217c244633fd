"""Which of repo2docker's build packs would claim a checkout, and which files then count.

The order and the conditions are repo2docker's; the tests hold them against its own `detect`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from jupyterhub_binder.recipe.files import Checkout
from jupyterhub_binder.recipe.packages import load_toml

ALWAYS = frozenset({"apt.txt", "postBuild", "start"})
"""What every pack but docker takes too."""

_PYTHON = frozenset({"requirements.txt", "setup.py", "pyproject.toml", "runtime.txt"})


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runtime.txt says: ``python-3.11``, ``r-4.4-2026-01-02``."""

    name: str = ""
    version: str = ""
    dated: bool = False


def read_runtime(checkout: Checkout) -> Runtime:
    """Read runtime.txt; one of no known form is a problem, and read as none."""
    text = (checkout.text("runtime.txt") or "").strip()
    if not checkout.has("runtime.txt"):
        return Runtime()
    parts = text.split("-")
    dated = len(parts) in (4, 5)
    if len(parts) not in (2, 4, 5) or not all(parts) or (dated and not _is_date(parts[-3:])):
        path = checkout.path_of("runtime.txt")
        shown = text[:40].partition("\n")[0]
        checkout.problem("bad_runtime", f"{path} says {shown!r}: write it like python-3.11.", path)
        return Runtime()
    return Runtime(parts[0], parts[1] if len(parts) in (2, 5) else "", dated)


def _is_date(parts: list[str]) -> bool:
    text = "-".join(parts)
    try:
        return bool(re.match(r"\d{4}-\d\d-\d\d", text) and date.fromisoformat(text))
    except ValueError:
        return False


def is_package(checkout: Checkout) -> bool:
    """Say whether the root of the checkout is a Python package to install."""
    return checkout.has("setup.py") or _has_project(checkout)


def _has_project(checkout: Checkout) -> bool:
    content = load_toml(checkout, "pyproject.toml")
    return "project" in content and "build-system" in content


@dataclass(frozen=True, slots=True)
class Pack:
    """One build pack: when it claims a checkout, and the files that it reads."""

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
        ALWAYS | {"environment.yml", "environment.yaml"},
    ),
    Pack("pipfile", _claims_pipfile, ALWAYS | {"Pipfile", "Pipfile.lock", "runtime.txt"}),
    Pack("python", _claims_python, ALWAYS | _PYTHON),
)

DEFAULT = PACKS[-1]
"""What repo2docker takes where none claims the checkout."""


def choose_pack(checkout: Checkout) -> tuple[Pack, Runtime]:
    """Return the first pack that claims a checkout, and the runtime.txt that it goes by."""
    first = next((pack for pack in PACKS if pack.claims(checkout, Runtime())), DEFAULT)
    if first.name in ("docker", "nix"):  # these never look at it, not even for its mistakes
        return first, Runtime()
    runtime = read_runtime(checkout)
    return next((pack for pack in PACKS if pack.claims(checkout, runtime)), DEFAULT), runtime


def counts(checkout: Checkout, pack: Pack, kind: str) -> bool:
    """Say whether a file that is there would be read."""
    if kind not in pack.reads:
        return False
    if kind == "environment.yaml":
        return not checkout.has("environment.yml")
    if kind == "Project.toml":
        return not checkout.has("JuliaProject.toml")
    if kind == "Pipfile":
        return True
    return kind != "pyproject.toml" or _has_project(checkout)
