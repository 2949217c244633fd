"""Chooses what a repository's uv.lock or pylock.toml installs with one Python. Pure.

It walks the lock's graph as `uv sync` does. What it finds becomes lines that pass the same checks as
the lines of a requirements.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from urllib.parse import parse_qs, urlsplit

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jupyterhub_binder.backends.pythons import serves_python
from jupyterhub_binder.backends.venv.lock import forbidden, limits_of
from jupyterhub_binder.backends.venv.requirements import (
    Policy,
    RefusedLine,
    Requirements,
    choose_lines,
    is_pypi,
)
from jupyterhub_binder.model import RequirementLine
from jupyterhub_binder.model.lockfile import LockedDependency, LockedPackage, LockFile
from jupyterhub_binder.model.text import Message

_MAX_ROUNDS = 20
_MAX_PROBLEMS = 10
_CONFLICT = re.compile(r"\bextra (==|!=) ('(?:extra|group|project)-\d+-[^']*')")
"""How uv writes in a marker that an extra or a group is chosen, where some exclude others."""


@dataclass(slots=True)
class LockChoice:
    """What a lock installs."""

    requirements: Requirements = field(default_factory=Requirements)
    problems: list[Message] = field(default_factory=list)


def choose_from_lock(
    lock: LockFile, python: str, policy: Policy, constraints: Sequence[str]
) -> LockChoice:
    """Return what uv gets of a lock for a Python's full version.

    A constraint of the administrator that forbids a version refuses it.
    """
    reading = _Reading(lock, _environment(python))
    problems = [*reading.find_problems()]
    packages = [] if problems else reading.choose()
    problems += reading.problems
    places = sorted({one.place for one in packages if one.kind == "registry"} - {""})
    others = [place for place in places if not is_pypi(place)]
    indexes = [_line(lock, "--extra-index-url", place) for place in others]
    lines = {id(one): _line_of(lock, one) for one in packages}
    found = choose_lines((*indexes, *lines.values()), policy)
    found.hashes = {
        line.text: one.hashes
        for one in packages
        if one.kind == "registry" and (line := lines[id(one)])
    }
    limits = limits_of(constraints)
    for text in found.packages:
        if (why := forbidden(text, limits)) is not None:
            found.refused.append(RefusedLine(_line(lock, "", text), why))
    return LockChoice(found, problems)


def merge(hubs: str, chosen: Requirements, sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """Add the packages of the hub's own lock to a repository's; return lines without and with hashes.

    Where both have a package, it is the repository's: the hub's was resolved to the same version.
    """
    names = {canonicalize_name(Requirement(text).name) for text in chosen.packages}
    lines = [line.partition(" #")[0].rstrip() for line in hubs.splitlines()]
    beside = [
        line
        for line in lines
        if line and line[0] not in "# " and canonicalize_name(line.partition("==")[0]) not in names
    ]
    return [*chosen.packages, *sources, *beside], [*chosen.with_hashes(), *sources, *beside]


def _environment(python: str) -> dict[str, str]:
    """Return what markers ask for, besides what this machine is."""
    minor = ".".join(python.split(".")[:2])
    return {
        "python_version": minor,
        "python_full_version": python,
        "implementation_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }


class _Reading:
    """One lock for one Python."""

    def __init__(self, lock: LockFile, environment: Mapping[str, str]) -> None:
        self.problems: list[Message] = []
        self._lock = lock
        self._environment = environment
        self._active: set[str] = set()
        self._known: dict[str, bool] = {}
        self._roots = {*lock.roots}
        self._chosen = {"extra": {*lock.chosen_extras}, "group": {*lock.chosen_groups}}
        # A stranger wrote the lock, so nothing may search all packages for each dependency.
        self._found: dict[tuple[str, str, str], LockedPackage | None] = {}
        self._parts: dict[tuple[int, str], Sequence[LockedDependency]] = {}
        self._by_place: dict[tuple[str, str, str], list[LockedPackage]] = {}
        for one in lock.packages:
            for version, place in product({"", one.version}, {"", one.place}):
                self._by_place.setdefault((one.name, version, place), []).append(one)
            for kind, parts in (("extra", one.extras), ("group", one.groups)):
                self._parts |= {(id(one), f"{kind}:{name}"): each for name, each in parts}

    def find_problems(self) -> Iterator[Message]:
        """Yield why the lock can't be used as the repository chooses."""
        lock, python = self._lock, self._environment["python_version"]
        if lock.python and not serves_python(python, lock.python):
            yield Message(
                "%(path)s is for Python %(asked)s, but the environment would have Python "
                "%(python)s.",
                path=lock.path,
                asked=lock.python,
                python=python,
            )
        if lock.environments and not any(map(self._holds, lock.environments)):
            yield Message("%(path)s is not for this hub's platform.", path=lock.path)
        if lock.flat:
            return
        roots = [one for one in lock.packages if one.name in self._roots]
        extras = {name for one in roots for name, _ in one.extras}
        groups = {name for one in roots for name, _ in one.groups}
        groups |= {name for name, _ in lock.root_groups}
        for name in {*lock.chosen_extras} - extras | {*lock.chosen_groups} - groups - {"dev"}:
            yield Message("%(path)s has no extra or group “%(name)s”.", path=lock.path, name=name)
        for several in lock.conflicts:
            both = [name for package, kind, name in several if self._is_chosen(package, kind, name)]
            if len(both) > 1:
                yield Message(
                    "%(path)s says that “%(one)s” and “%(other)s” exclude each other. Choose one "
                    "of them in pyproject.toml.",
                    path=lock.path,
                    one=both[0],
                    other=both[1],
                )

    def _is_chosen(self, package: str, kind: str, name: str) -> bool:
        return package in self._roots and name in self._chosen[kind]

    def choose(self) -> list[LockedPackage]:
        """Return the packages to install, sorted by name."""
        if self._lock.flat:
            found = [one for one in self._lock.packages if self._applies(one)]
        else:
            found = self._walk()
        found = sorted((one for one in found if one.kind != "virtual"), key=_order)
        for one, other in pairwise(found):
            if one.name == other.name:
                self._say(
                    Message(
                        "%(path)s has two versions of %(name)s for this Python.",
                        path=self._lock.path,
                        name=one.name,
                    )
                )
        for one in found:
            if one.python and not serves_python(self._environment["python_version"], one.python):
                self._say(
                    Message(
                        "%(path)s has no version of %(name)s for this Python.",
                        path=self._lock.path,
                        name=one.name,
                    )
                )
        return found

    def _walk(self) -> list[LockedPackage]:
        """Follow the graph from its roots.

        Where extras exclude each other, markers ask which extras are active, which only the walk
        shows: it is repeated until it shows no more.
        """
        found: dict[int, LockedPackage] = {}
        for _ in range(_MAX_ROUNDS):
            before = frozenset(self._active)
            self._known.clear()
            self._found.clear()
            found = self._walk_once()
            if before == self._active:
                break
        return list(found.values())

    def _walk_once(self) -> dict[int, LockedPackage]:
        lock, found = self._lock, dict[int, LockedPackage]()
        done = set[tuple[int, str]]()
        waiting: list[tuple[LockedPackage, str]] = []
        self._active |= {f"project-{len(name)}-{name}" for name in lock.roots}
        for one in (each for each in lock.packages if each.name in self._roots):
            waiting.append((one, ""))
            for kind, parts in (("extra", one.extras), ("group", one.groups)):
                chosen = self._chosen[kind]
                waiting += [(one, f"{kind}:{name}") for name, _ in parts if name in chosen]
        for name, dependencies in lock.root_groups:
            if name in lock.chosen_groups:
                waiting += [each for one in dependencies for each in self._follow(one)]
        while waiting:
            package, part = waiting.pop()
            if (id(package), part) in done:
                continue
            done.add((id(package), part))
            found[id(package)] = package
            for dependency in self._part(package, part):
                waiting += self._follow(dependency)
        return found

    def _part(self, package: LockedPackage, part: str) -> Sequence[LockedDependency]:
        """Return the dependencies of a package, or of one of its extras or groups."""
        if not part:
            return package.dependencies
        kind, _, name = part.partition(":")
        self._active.add(f"{kind}-{len(package.name)}-{package.name}-{name}")
        return self._parts.get((id(package), part), ())

    def _follow(self, dependency: LockedDependency) -> Iterator[tuple[LockedPackage, str]]:
        if not self._holds(dependency.marker):
            return
        package = self._find(dependency)
        if package is None:
            self._say(
                Message(
                    "%(path)s lacks %(name)s, which it needs.",
                    path=self._lock.path,
                    name=dependency.name,
                )
            )
            return
        yield package, ""
        for name in dependency.extras:
            yield package, f"extra:{name}"

    def _find(self, wanted: LockedDependency) -> LockedPackage | None:
        key = (wanted.name, wanted.version, wanted.place)
        if key not in self._found:
            candidates = self._by_place.get(key, [])
            if len(candidates) > 1:
                candidates = [one for one in candidates if self._applies(one)]
            self._found[key] = candidates[0] if candidates else None
        return self._found[key]

    def _applies(self, package: LockedPackage) -> bool:
        return not package.markers or any(map(self._holds, package.markers))

    def _holds(self, marker: str) -> bool:
        if not marker:
            return True
        if marker not in self._known:
            self._known[marker] = self._evaluate(marker)
        return self._known[marker]

    def _evaluate(self, marker: str) -> bool:
        lock = self._lock
        text = marker if lock.flat else _CONFLICT.sub(_as_membership, marker)
        active = {*lock.chosen_extras} if lock.flat else self._active
        groups = {*lock.chosen_groups} if lock.flat else set[str]()
        environment = {**self._environment, "extras": active, "dependency_groups": groups}
        try:
            return Marker(text).evaluate(environment, context="lock_file")
        except (UndefinedComparison, UndefinedEnvironmentName, KeyError):
            self._say(
                Message(
                    "%(path)s has a marker that can't be evaluated: %(name)s",
                    path=self._lock.path,
                    name=marker[:200],
                )
            )
            return False

    def _say(self, problem: Message) -> None:
        if problem not in self.problems and len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)


def _as_membership(found: re.Match[str]) -> str:
    """Several extras can be active at once, which ``extra ==`` can't say to `packaging`."""
    return f"{found[2]} {'in' if found[1] == '==' else 'not in'} extras"


def _order(package: LockedPackage) -> tuple[str, str]:
    return package.name, package.version


def _line_of(lock: LockFile, package: LockedPackage) -> RequirementLine:
    """Return a package as a line of pip's format."""
    name, place = package.name, package.place
    match package.kind:
        case "registry":
            return _line(lock, "", f"{name}=={package.version}")
        case "git":
            return _line(lock, "", f"{name} @ {_git_url(place, package.subdirectory)}")
        case "url":
            fragment = f"#subdirectory={package.subdirectory}" if package.subdirectory else ""
            return _line(lock, "", f"{name} @ {place}{fragment}")
        case "editable":
            return _line(lock, "-e", _folder(place))
        case _:
            return _line(lock, "", _folder(place))


def _line(lock: LockFile, option: str, value: str) -> RequirementLine:
    text = f"{option} {value}" if option else value
    folder = lock.path.rpartition("/")[0]
    return RequirementLine(
        lock.path, text, option=option, value=value if option else "", folder=folder
    )


def _folder(place: str) -> str:
    return place if place.startswith((".", "/", "~")) else f"./{place}"


def _git_url(place: str, subdirectory: str) -> str:
    """Return pip's form of ``https://host/repo?rev=main&subdirectory=x#commit``."""
    parts = urlsplit(place)
    folder = subdirectory or (parse_qs(parts.query).get("subdirectory") or [""])[0]
    address = f"git+{parts.scheme}://{parts.netloc}{parts.path}@{parts.fragment}"
    return f"{address}#subdirectory={folder}" if folder else address
