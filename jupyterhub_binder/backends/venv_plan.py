"""Decides what the venv backend does with each configuration file of a checkout, and what not.

Pure: from a recipe and what this hub offers to a plan, an action a file, and findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from jupyterhub_binder.backends.venv_requirements import (
    Load,
    Policy,
    Requirements,
    read_requirements,
)
from jupyterhub_binder.model import (
    Assessment,
    Finding,
    Recipe,
    RecipeAction,
    RecipeFile,
    Severity,
)
from jupyterhub_binder.safeload import load_yaml

NOT_SERVED: Mapping[str, str] = {
    "apt.txt": "This hub cannot install apt packages; PyPI often has the same library as a wheel.",
    "install.R": "This hub cannot install R; it builds Python environments only.",
    "DESCRIPTION": "This hub cannot install R; it builds Python environments only.",
    "REQUIRE": "This hub cannot install Julia; it builds Python environments only.",
    "Project.toml": "This hub cannot install Julia; it builds Python environments only.",
    "JuliaProject.toml": "This hub cannot install Julia; it builds Python environments only.",
    "default.nix": "This hub cannot build with Nix; name the Python packages in requirements.txt.",
    "Dockerfile": "This hub has no containers; name the Python packages in requirements.txt.",
    "Pipfile": "This hub does not read Pipfile; name the packages in requirements.txt "
    "(`pipenv requirements` writes it).",
    "Pipfile.lock": "This hub does not read Pipfile.lock; name the packages in requirements.txt "
    "(`pipenv requirements` writes it).",
}
"""Why a kind of file cannot be served, with what would serve instead."""

_MOST_YAML = 2**17
_LONGEST_VERSION = 100

CONDA_OF_BASE = frozenset({"pip", "jupyterlab", "notebook", "jupyterhub", "jupyterhub-singleuser"})
"""conda packages that need no refusal: every environment has them."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What this hub can do."""

    pythons: Mapping[str, str]
    """Interpreters by minor version, ``3.11``; never empty."""
    default_python: str
    runs_code: bool
    """Whether a repository's own code may run: in a sandbox, or because an admin allows it."""
    why_not: str = ""
    """Where it may not: why, and what to do."""
    network: bool = False
    """Whether postBuild has the network."""
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build."""

    python: str
    requirements: Requirements
    post_build: str = ""
    """The path of the script to run at the end; empty for none."""


def assess(recipe: Recipe, offer: Offer) -> Assessment:
    """Say what would be done; files that others include are not looked at yet."""
    return make_plan(recipe, offer, load=lambda _: "")[1]


def make_plan(recipe: Recipe, offer: Offer, *, load: Load) -> tuple[Plan, Assessment]:
    """Return the plan, and the assessment; a plan with problems is not to be carried out."""
    planner = _Planner(offer, load)
    python = planner.choose_python(recipe.python)
    for file in recipe.files:
        planner.take(file)
    planner.check_code()
    plan = Plan(python, planner.wanted, planner.post_build)
    return plan, Assessment(tuple(planner.actions), tuple(planner.findings))


class _Planner:
    """Takes one file after the other."""

    def __init__(self, offer: Offer, load: Load) -> None:
        self.offer = offer
        self.load = load
        self.wanted = Requirements()
        self.post_build = ""
        self.actions: list[RecipeAction] = []
        self.findings: list[Finding] = []
        self._sources: list[str] = []
        self._python = ""

    def take(self, file: RecipeFile) -> None:
        if not file.used:
            self._act(file, "Is not used: another file takes precedence", supported=True)
        elif why := NOT_SERVED.get(file.kind):
            self._act(file, why, supported=False)
            self._problem("not_served", f"{file.path}: {why}", file.path)
        elif handler := _HANDLERS.get(file.kind):
            handler(self, file)
        else:
            why = "This hub does not know what to do with it, and leaves it"
            self._act(file, why, supported=False)
            self._warn("unknown_file", f"{file.path}: {why}.", file.path)

    def choose_python(self, asked: str) -> str:
        chosen = choose_python(asked, self.offer)
        if chosen is None:
            known = ", ".join(sorted(self.offer.pythons, key=_version_key))
            self._problem(
                "python_missing",
                f"The repository asks for Python {asked[:_LONGEST_VERSION]}; this hub has {known}. "
                "Ask for one of these, or ask the hub's admin to add it.",
            )
        self._python = chosen or self.offer.default_python
        return self._python

    def check_code(self) -> None:
        """Refuse what runs a repository's code where nothing can hold it."""
        self._sources += [f"“{text}” is not from a package index" for text in self.wanted.sources]
        if self._sources and not self.offer.runs_code:
            self._problem("no_sandbox", f"{self._sources[0]}. {self.offer.why_not}")

    # --- One method a kind of file ---

    def requirements(self, file: RecipeFile) -> None:
        found = read_requirements(
            file.text, path=file.path, load=self.load, policy=self.offer.policy
        )
        self._add(found, file)
        self._act(file, _installs(found), supported=not found.refused)

    def environment(self, file: RecipeFile) -> None:
        try:
            conda, pip = _read_environment(file.text)
        except _NotUnderstood as error:
            self._act(file, "Cannot be read", supported=False)
            self._problem("not_readable", f"{file.path}: {error}", file.path)
            return
        found = read_requirements(
            "\n".join(pip), path=file.path, load=self.load, policy=self.offer.policy
        )
        self._add(found, file)
        if conda:
            why = (
                f"This hub cannot install conda packages ({_some(conda)}); list those that are "
                "on PyPI under `pip:` or in requirements.txt."
            )
            self._act(file, why, supported=False)
            self._problem("conda_packages", f"{file.path}: {why}", file.path)
        else:
            self._act(file, _installs(found), supported=not found.refused)

    def runtime(self, file: RecipeFile) -> None:
        if re.match(r"\s*(r|julia)-", file.text):
            why = "This hub builds Python environments only."
            self._act(file, why, supported=False)
            self._problem("not_served", f"{file.path}: {why}", file.path)
        else:
            self._act(file, f"Uses Python {self._python}", supported=True)

    def project(self, file: RecipeFile) -> None:
        if "." not in self.wanted.sources:
            self.wanted.sources.append(".")
        self._act(file, "Installs the repository as a package", supported=self.offer.runs_code)

    def post(self, file: RecipeFile) -> None:
        self.post_build = file.path
        self._sources.append(f"{file.path} is a program of the repository")
        network = "with" if self.offer.network else "without"
        self._act(file, f"Runs at the end, {network} network", supported=self.offer.runs_code)
        if not self.offer.network and re.search(_DOWNLOADS, file.text):
            self._warn(
                "no_network",
                f"{file.path} seems to download something; on this hub it runs without network.",
                file.path,
            )

    def start(self, file: RecipeFile) -> None:
        why = "This hub does not run it when a server starts"
        self._act(file, why, supported=False)
        self._warn("start_ignored", f"{file.path}: {why}.", file.path)

    # --- What they share ---

    def _add(self, found: Requirements, file: RecipeFile) -> None:
        wanted = self.wanted
        wanted.packages += found.packages
        wanted.sources += found.sources
        wanted.constraints += found.constraints
        wanted.indexes += found.indexes
        wanted.prereleases |= found.prereleases
        wanted.refused += found.refused
        for refused in found.refused:
            what = f" “{refused.line}”" if refused.line else ""
            message = f"{refused.path}:{what} cannot be installed: {refused.why}."
            self._problem("requirement_refused", message, file.path)

    def _act(self, file: RecipeFile, action: str, *, supported: bool) -> None:
        self.actions.append(RecipeAction(file.path, supported, action))

    def _problem(self, code: str, message: str, path: str = "") -> None:
        self.findings.append(Finding(Severity.PROBLEM, code, message, path))

    def _warn(self, code: str, message: str, path: str = "") -> None:
        self.findings.append(Finding(Severity.WARNING, code, message, path))


_HANDLERS: Mapping[str, Callable[[_Planner, RecipeFile], None]] = {
    "requirements.txt": _Planner.requirements,
    "environment.yml": _Planner.environment,
    "environment.yaml": _Planner.environment,
    "runtime.txt": _Planner.runtime,
    "setup.py": _Planner.project,
    "pyproject.toml": _Planner.project,
    "postBuild": _Planner.post,
    "start": _Planner.start,
}

_DOWNLOADS = r"\b(pip3? install|conda install|mamba install|curl|wget|git clone|npm install)\b"


def choose_python(asked: str, offer: Offer) -> str | None:
    """Return the minor version that serves what is asked for, None where none does."""
    if not asked.strip():
        return offer.default_python
    newest_first = sorted(offer.pythons, key=_version_key, reverse=True)
    candidates = [offer.default_python, *newest_first]
    specifier = _specifier(asked.strip())
    if specifier is None:
        return None
    # A range such as `>=3.10.4` is about patch releases, which the offer does not name.
    return next((one for one in candidates if specifier.contains(f"{one}.99")), None)


def _specifier(asked: str) -> SpecifierSet | None:
    if len(asked) > _LONGEST_VERSION:
        return None
    exact = re.fullmatch(r"=*\s*(\d+)(?:\.(\d+|\*))?(?:\.[\d*]+)*", asked)
    if exact:
        major, minor = exact.groups()
        asked = f"=={major}.{minor}.*" if minor and minor != "*" else f"=={major}.*"
    try:
        return SpecifierSet(asked)
    except InvalidSpecifier:
        return None


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


class _NotUnderstood(Exception):
    """An environment.yml is not one."""


def _read_environment(text: str) -> tuple[list[str], list[str]]:
    """Return the conda packages that pip does not serve, and the lines under ``pip:``."""
    if len(text) > _MOST_YAML:
        raise _NotUnderstood(f"it is longer than {_MOST_YAML} characters.")
    try:
        data = load_yaml(text)
    except yaml.YAMLError as error:
        raise _NotUnderstood(f"it is not YAML ({str(error).splitlines()[0]}).") from error
    except (RecursionError, ValueError) as error:
        raise _NotUnderstood("it is nested too deeply.") from error
    entries: Any = data.get("dependencies") or [] if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise _NotUnderstood("it should be a mapping with a list of `dependencies`.")
    conda, pip = [], []
    for entry in entries:
        if isinstance(entry, str):
            conda.append(entry)
        elif isinstance(entry, dict) and isinstance(entry.get("pip"), list):
            pip += [line for line in entry["pip"] if isinstance(line, str)]
    names = [re.split(r"[\s=<>!~\[]", item.rpartition("::")[2].strip())[0] for item in conda]
    return [name for name in names if name not in {"python", *CONDA_OF_BASE}], pip


def _installs(found: Requirements) -> str:
    count = len(found.packages) + len(found.sources)
    if not count:
        return "Names no package"
    return "Installs one package" if count == 1 else f"Installs {count} packages"


def _some(names: Sequence[str]) -> str:
    shown = list(names[:8])
    if len(names) > len(shown):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
