"""Decides what the venv backend does with each configuration file. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyterhub_binder.backends.base import PYTHON_OPTION, Reuse
from jupyterhub_binder.backends.left_out import left_out
from jupyterhub_binder.backends.pythons import serves_python
from jupyterhub_binder.backends.venv.conda.channels import split_explicit
from jupyterhub_binder.backends.venv.conda.choice import (
    CondaOffer,
    CondaPlan,
    choose_conda,
    choose_explicit,
)
from jupyterhub_binder.backends.venv.lock import Lock, choose_locked, choose_locked_lines
from jupyterhub_binder.backends.venv.project_lock import choose_from_lock
from jupyterhub_binder.backends.venv.requirements import (
    Policy,
    Requirements,
    choose_lines,
)
from jupyterhub_binder.backends.venv.words import (
    NOT_SERVED,
    cannot_install,
    installs,
    installs_conda,
    some,
)
from jupyterhub_binder.model import (
    Assessment,
    Finding,
    Recipe,
    RecipeAction,
    RecipeFile,
    Severity,
)
from jupyterhub_binder.model.condafile import CondaFile, CondaPackage
from jupyterhub_binder.model.text import Message

_LONGEST_VERSION = 100

CONDA_OF_BASE = frozenset({"pip", "jupyterlab", "notebook", "jupyterhub", "jupyterhub-singleuser"})
"""conda packages that every environment has anyway."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The abilities of this hub."""

    pythons: Mapping[str, str]
    """Interpreters by minor version, ``3.11``; never empty."""
    default_python: str
    runs_code: bool
    """Whether a repository's code may run, in a sandbox or with an admin's permission."""
    why_not: str = ""
    """If not, why, and what to do."""
    network: bool = False
    """Whether postBuild has the network."""
    policy: Policy = field(default_factory=Policy)
    constraints: Sequence[str] = ()
    """The administrator's; uv applies them where it chooses versions."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The interpreters' versions in full, as far as they are known."""
    isolated: bool = True
    """Whether a repository's code runs in a sandbox or a pod."""
    conda: CondaOffer = field(default_factory=CondaOffer)

    def for_conda(self) -> Offer:
        """Return the offer for environments whose Python comes from a channel."""
        pythons = dict.fromkeys(self.conda.pythons, "")
        known = in_order(pythons)
        own = self.default_python if self.default_python in pythons else known[-1]
        return replace(self, pythons=pythons, default_python=own, versions={})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to build."""

    python: str
    requirements: Requirements
    post_build: str = ""
    """The path of the script to run at the end, or empty."""
    start: str = ""
    """The path of the script that runs when a server starts, or empty."""
    locked: bool = False
    """Whether the requirements are all packages in exact versions, the hub's own among them."""
    lock_file: str = ""
    """The repository's file that has all its packages in exact versions; the hub's are added."""
    conda: CondaPlan | None = None
    """The conda packages, if there are any: Python is one of them then."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of servers."""


def with_python(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the Python that a person chose in place of the repository's."""
    chosen = options.get(PYTHON_OPTION)
    if not chosen:
        return recipe
    file = recipe.conda_file
    if file is not None:
        kept = [spec for spec in file.specs if not _PYTHON_SPEC.match(spec)]
        file = replace(file, specs=(*kept, f"python {chosen}.*"))
    return replace(recipe, python=chosen, preferred_python="", conda_file=file)


_PYTHON_SPEC = re.compile(r"(?:[^\s:]+::)?\s*python(?![\w.-])", re.IGNORECASE)


def needs_conda(recipe: Recipe, offer: Offer) -> bool:
    """Whether Python and other packages must come from a channel."""
    if recipe.conda_lock is not None and (can_conda(offer) or recipe.conda_file is None):
        return True
    if recipe.conda_file is None:
        return False
    if any(name not in CONDA_OF_BASE for name in recipe.conda):
        return True
    has_python = choose_python(recipe.python, offer) is not None
    return not has_python and can_conda(offer)


def can_conda(offer: Offer) -> bool:
    """Whether this hub installs conda packages."""
    return offer.conda.why_not() is None and bool(offer.conda.pythons)


def in_order(versions: Iterable[str]) -> tuple[str, ...]:
    """Return versions, oldest first."""
    return tuple(sorted(versions, key=_version_key))


def assess(recipe: Recipe, offer: Offer, lock: Lock | None = None) -> Assessment:
    """Return the actions and findings."""
    return make_plan(recipe, offer, lock)[1]


def make_plan(recipe: Recipe, offer: Offer, lock: Lock | None = None) -> tuple[Plan, Assessment]:
    """Return plan and assessment; a plan with problems must not be built."""
    from_channels = needs_conda(recipe, offer)
    if from_channels and can_conda(offer):
        offer = offer.for_conda()
    planner = _Planner(recipe, offer, from_channels=from_channels)
    if lock is not None:
        python = planner.choose_python(lock.python)
    else:
        python = planner.choose_python(recipe.python, preferred=recipe.preferred_python)
    for file in recipe.files:
        planner.take(file)
    if lock is not None:
        planner.take_lock(lock)
    planner.check_code()
    plan = Plan(
        python,
        planner.wanted,
        planner.post_build,
        planner.start_script,
        locked=lock is not None,
        lock_file=recipe.lock.path if recipe.lock and lock is None else "",
        conda=planner.conda,
        variables=dict(recipe.conda_file.variables) if recipe.conda_file else {},
    )
    findings = (*planner.findings, *left_out(recipe))
    return plan, Assessment(tuple(planner.actions), findings)


def reuse(recipe: Recipe, offer: Offer, lock: Lock | None = None) -> Reuse:
    """Say whether other repositories with the same recipe may use the environment.

    Code that runs during the build sees the whole checkout, so then they may not. The copy of the
    files in an environment does not decide what is installed.
    """
    plan, _ = make_plan(recipe, offer, lock)
    runs_code = bool(plan.post_build or plan.requirements.sources)
    open_versions = bool(recipe.unpinned) or not recipe.packages
    if recipe.conda_lock is not None:
        open_versions = plan.conda is None  # then the file beside the lock decides
    return Reuse(
        self_contained=not runs_code and all(each.checksum for each in recipe.inputs),
        open_versions=lock is None and open_versions,
    )


class _Planner:
    """Plans file by file."""

    def __init__(self, recipe: Recipe, offer: Offer, *, from_channels: bool = False) -> None:
        self.recipe = recipe
        self.offer = offer
        self.from_channels = from_channels
        self.conda: CondaPlan | None = None
        self.wanted = Requirements()
        self.post_build = ""
        self.start_script = ""
        self.actions: list[RecipeAction] = []
        self.findings: list[Finding] = []
        self._sources: list[Message] = []
        self._python = ""

    def take(self, file: RecipeFile) -> None:
        if not file.used:
            self._act(file, Message("Not used: another file takes precedence"), supported=True)
        elif why := NOT_SERVED.get(file.kind):
            self._act(file, why, supported=False)
            self._problem("not_served", Message.joined(f"{file.path}:", why), file.path)
        elif handler := _HANDLERS.get(file.kind):
            handler(self, file)
        else:
            why = Message("Ignored: this hub does not support this file")
            self._act(file, why, supported=False)
            self._warn("unknown_file", Message.joined(f"{file.path}:", why), file.path)

    def take_lock(self, lock: Lock) -> None:
        """Take a receipt's packages in place of the repository's."""
        if self.from_channels:
            packages, others = split_explicit(lock.requirements.splitlines())
            self._take_conda(choose_explicit(packages, "receipt", self.offer.conda))
            lock = replace(lock, requirements="".join(f"{line}\n" for line in others))
        self.wanted = choose_locked(lock, self.offer.policy, self.offer.constraints)
        for refused in self.wanted.refused:
            self._problem("requirement_refused", cannot_install(refused))

    def choose_python(self, asked: str, preferred: str = "") -> str:
        chosen = choose_python(asked, self.offer, preferred=preferred)
        known = ", ".join(in_order(self.offer.pythons))
        if chosen and not serves_python(chosen, preferred):
            self._warn(
                "python_other",
                Message(
                    ".python-version names Python %(asked)s. This hub uses Python %(python)s "
                    "instead; it has %(known)s.",
                    asked=preferred,
                    python=chosen,
                    known=known,
                ),
            )
        # A hub that lacks conda says so; its interpreters are no answer then.
        matters = can_conda(self.offer) or not self.from_channels
        if chosen is None and matters:
            self._problem(
                "python_missing",
                Message(
                    "The repository asks for Python %(asked)s, but this hub has %(known)s. Ask "
                    "for one of these, or ask an administrator to add it.",
                    asked=asked[:_LONGEST_VERSION],
                    known=known,
                ),
            )
        self._python = chosen or self.offer.default_python
        return self._python

    def check_code(self) -> None:
        """Refuse repository code if there is no sandbox for it."""
        self._sources += [
            Message("“%(line)s” does not come from a package index.", line=text)
            for text in self.wanted.sources
        ]
        if self._sources and not self.offer.runs_code:
            self._problem("no_sandbox", Message.joined(self._sources[0], self.offer.why_not))

    # --- One method a kind of file ---

    def requirements(self, file: RecipeFile) -> None:
        found = self._choose(file)
        self._act(file, installs(found), supported=not found.refused)

    def conda_lock(self, file: RecipeFile) -> None:
        """Take exactly what conda-lock.yml or pixi.lock says."""
        lock = self.recipe.conda_lock
        if lock is None:  # it can't be read, which is a problem already
            self._act(file, Message("Can't be read"), supported=False)
        elif not self.from_channels:
            why = Message("Not used: this hub installs no conda packages")
            self._act(file, why, supported=True)
        elif not self._lacks_conda(file):
            plan = choose_conda(lock, self.offer.conda)
            lines = [text for platform, text in lock.pip if platform == self.offer.conda.platform]
            pip = self._choose_locked(file, lines)
            self._take_conda(plan)
            self._check_locked_python(lock)
            served = not (plan.problems or pip.refused)
            self._act(file, installs_conda(plan, pip), supported=served)

    def _check_locked_python(self, lock: CondaFile) -> None:
        """Refuse a Python that a person chose in place of the lock's."""
        for package in lock.packages:
            here = package.name == "python" and package.platform == self.offer.conda.platform
            if here and not package.version.startswith(f"{self._python}."):
                message = Message(
                    "%(path)s is for Python %(asked)s, but the environment would have Python "
                    "%(python)s.",
                    path=lock.path,
                    asked=package.version,
                    python=self._python,
                )
                self._problem("bad_lock", message, lock.path)

    def _choose_locked(self, file: RecipeFile, lines: Sequence[str]) -> Requirements:
        self.wanted = choose_locked_lines(file.path, lines, self.offer.policy)
        for refused in self.wanted.refused:
            self._problem("requirement_refused", cannot_install(refused), file.path)
        return self.wanted

    def environment(self, file: RecipeFile) -> None:
        if self.from_channels and self.recipe.conda_lock is not None:
            lock = self.recipe.conda_lock.path
            message = Message("Not used: %(path)s has the versions", path=lock)
            self._act(file, message, supported=True)
            return
        if not self.from_channels:
            self.requirements(file)
            return
        pip = self._choose(file)
        if self._lacks_conda(file):
            return
        assert self.recipe.conda_file is not None
        plan = choose_conda(self.recipe.conda_file, self.offer.conda)
        self._take_conda(plan)
        served = not (plan.problems or pip.refused)
        self._act(file, installs_conda(plan, pip), supported=served)

    def _lacks_conda(self, file: RecipeFile) -> bool:
        """Refuse conda packages by name if this hub can't install them."""
        conda = [name for name in self.recipe.conda if name not in CONDA_OF_BASE]
        conda = conda or [each.name for each in _packages_of(self.recipe.conda_lock)]
        why = self.offer.conda.why_not()
        if why is None and not self.offer.isolated:
            why = Message.joined(
                Message("conda packages need a sandbox on this hub."), self.offer.why_not
            )
        if why is None:
            return False
        refusal = Message(
            "This hub can't install conda packages (%(packages)s). List those that are on "
            "PyPI under `pip:` or in requirements.txt.",
            packages=some(conda),
        )
        whole = Message.joined(refusal, why)
        self._act(file, whole, supported=False)
        self._problem("conda_packages", Message.joined(f"{file.path}:", whole), file.path)
        return True

    def _take_conda(self, plan: CondaPlan) -> None:
        """Install conda packages; a receipt's take the place of the repository's."""
        self.conda = plan
        for code, problem in plan.problems:
            self._problem(code, problem, plan.path)

    def runtime(self, file: RecipeFile) -> None:
        if self.recipe.language in ("r", "julia"):
            why = Message("This hub builds only Python environments.")
            self._act(file, why, supported=False)
            self._problem("not_served", Message.joined(f"{file.path}:", why), file.path)
        else:
            self._act(
                file, Message("Uses Python %(version)s", version=self._python), supported=True
            )

    def lock_file(self, file: RecipeFile) -> None:
        """Take exactly what uv.lock or pylock.toml says, for the chosen Python."""
        if self.recipe.lock is None:  # it can't be read, which is a problem already
            self._act(file, Message("Can't be read"), supported=False)
            return
        version = self.offer.versions.get(self._python, f"{self._python}.99")
        chosen = choose_from_lock(
            self.recipe.lock, version, self.offer.policy, self.offer.constraints
        )
        self.wanted = chosen.requirements
        for problem in chosen.problems:
            self._problem("bad_lock", problem, file.path)
        for refused in self.wanted.refused:
            self._problem("requirement_refused", cannot_install(refused), file.path)
        served = not (chosen.problems or self.wanted.refused)
        self._act(file, installs(self.wanted, locked=True), supported=served)

    def python_version(self, file: RecipeFile) -> None:
        self._act(file, Message("Uses Python %(version)s", version=self._python), supported=True)

    def project(self, file: RecipeFile) -> None:
        if self.recipe.lock is not None:
            message = Message("Selects what is installed from %(path)s", path=self.recipe.lock.path)
            self._act(file, message, supported=True)
            return
        if "." not in self.wanted.sources:
            self.wanted.sources.append(".")
        self._act(
            file, Message("Installs the repository as a package"), supported=self.offer.runs_code
        )

    def post(self, file: RecipeFile) -> None:
        self.post_build = file.path
        self._sources.append(Message("%(path)s is a script in the repository.", path=file.path))
        action = (
            Message("Runs at the end, with network")
            if self.offer.network
            else Message("Runs at the end, without network")
        )
        self._act(file, action, supported=self.offer.runs_code)
        if not self.offer.network and re.search(_DOWNLOADS, self.recipe.post_build):
            self._warn(
                "no_network",
                Message(
                    "%(path)s seems to download something, but on this hub it runs without "
                    "network access.",
                    path=file.path,
                ),
                file.path,
            )

    def start(self, file: RecipeFile) -> None:
        self.start_script = file.path
        self._act(file, Message("Runs at each start of a server"), supported=True)

    # --- What they share ---

    def _choose(self, file: RecipeFile) -> Requirements:
        self.wanted = choose_lines(self.recipe.requirements, self.offer.policy)
        for refused in self.wanted.refused:
            self._problem("requirement_refused", cannot_install(refused), file.path)
        if self.wanted.replaced_pypi:
            message = Message(
                "%(path)s names PyPI. This hub installs from a package index of its own instead.",
                path=file.path,
            )
            self.findings.append(Finding(Severity.NOTE, "index_replaced", message, file.path))
        return self.wanted

    def _act(self, file: RecipeFile, action: Message, *, supported: bool) -> None:
        self.actions.append(RecipeAction(file.path, supported, action))

    def _problem(self, code: str, message: Message, path: str = "") -> None:
        self.findings.append(Finding(Severity.PROBLEM, code, message, path))

    def _warn(self, code: str, message: Message, path: str = "") -> None:
        self.findings.append(Finding(Severity.WARNING, code, message, path))


_HANDLERS: Mapping[str, Callable[[_Planner, RecipeFile], None]] = {
    "requirements.txt": _Planner.requirements,
    "environment.yml": _Planner.environment,
    "environment.yaml": _Planner.environment,
    "conda-lock.yml": _Planner.conda_lock,
    "pixi.lock": _Planner.conda_lock,
    "pixi.toml": _Planner.environment,
    "runtime.txt": _Planner.runtime,
    "setup.py": _Planner.project,
    "pyproject.toml": _Planner.project,
    "uv.lock": _Planner.lock_file,
    "pylock.toml": _Planner.lock_file,
    ".python-version": _Planner.python_version,
    "postBuild": _Planner.post,
    "start": _Planner.start,
}

_DOWNLOADS = r"\b(pip3? install|conda install|mamba install|curl|wget|git clone|npm install)\b"


def choose_python(asked: str, offer: Offer, *, preferred: str = "") -> str | None:
    """Return the minor version for a request, or None; the preferred one if it is possible."""
    newest_first = reversed(in_order(offer.pythons))
    candidates = [offer.default_python, *newest_first]
    if preferred:
        candidates.sort(key=lambda one: not serves_python(one, preferred))
    return next((one for one in candidates if serves_python(one, asked)), None)


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _packages_of(lock: CondaFile | None) -> Sequence[CondaPackage]:
    return lock.packages if lock is not None else ()
