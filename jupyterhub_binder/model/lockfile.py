"""A repository's own lock file, uv.lock or pylock.toml, as far as an installation needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LockedDependency:
    """An edge of uv.lock's graph."""

    name: str
    version: str = ""
    """Empty if the lock has only one package of this name."""
    place: str = ""
    extras: tuple[str, ...] = ()
    marker: str = ""


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package in one version from one place."""

    name: str
    version: str
    """Empty for a folder whose version is dynamic."""
    kind: str
    """``registry``, ``git``, ``url``, ``path``, ``directory``, ``editable`` or ``virtual``."""
    place: str
    """An address or a path, as the lock has it; for Git with the commit after ``#``."""
    subdirectory: str = ""
    markers: tuple[str, ...] = ()
    """It is for environments in which one of these holds; for all if there is none."""
    python: str = ""
    """The Python versions that it is for."""
    dependencies: tuple[LockedDependency, ...] = ()
    extras: tuple[tuple[str, tuple[LockedDependency, ...]], ...] = ()
    groups: tuple[tuple[str, tuple[LockedDependency, ...]], ...] = ()
    hashes: tuple[str, ...] = ()
    """Of its files, like ``sha256:…``."""


@dataclass(frozen=True, slots=True)
class LockFile:
    """The content of a lock file, with what the repository chooses of it."""

    path: str
    flat: bool = False
    """Whether each package decides by its marker alone (pylock.toml), without a graph."""
    python: str = ""
    """The Python versions that the lock is for."""
    environments: tuple[str, ...] = ()
    """Markers; the lock is for environments in which one of them holds, or for all."""
    packages: tuple[LockedPackage, ...] = ()
    roots: tuple[str, ...] = ()
    """Names of the packages that the graph begins with."""
    root_groups: tuple[tuple[str, tuple[LockedDependency, ...]], ...] = ()
    """Dependency groups of a workspace that is no project."""
    chosen_extras: tuple[str, ...] = ()
    chosen_groups: tuple[str, ...] = ()
    conflicts: tuple[tuple[tuple[str, str, str], ...], ...] = ()
    """Sets of ``(package, "extra" or "group", name)`` of which only one may be chosen."""
