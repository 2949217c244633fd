"""What is in a finished environment: installed packages, and the lock in a form for elsewhere."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from jupyterhub_binder.model.inventory import Package

_ENDING = ".dist-info"
_MAX_ENTRIES = 50_000
"""Of a folder that a build's code may have filled."""


def list_packages(environment: Path) -> tuple[Package, ...]:
    """Return the installed packages, by the names of their folders; nothing is opened."""
    return tuple(
        Package(name.replace("_", "-"), version)
        for folder in sorted(environment.glob("lib/python3*/site-packages"))
        if folder.is_dir() and not folder.is_symlink()
        for name, version in _installed(folder)
    )


def by_pip(environment: Path, before: Collection[Package]) -> tuple[Package, ...]:
    """Return the packages of an index that are new, those with an address apart."""
    fresh = [one for one in list_packages(environment) if one not in before]
    return tuple(one for one in fresh if not _has_address(environment, one))


def _has_address(environment: Path, package: Package) -> bool:
    name = f"{package.name.replace('-', '_')}-{package.version}{_ENDING}"
    folders = environment.glob("lib/python3*/site-packages")
    return any((folder / name / "direct_url.json").exists() for folder in folders)


def _installed(folder: Path) -> Iterator[tuple[str, str]]:
    with os.scandir(folder) as entries:
        for entry in islice(entries, _MAX_ENTRIES):
            name, dash, version = entry.name.removesuffix(_ENDING).rpartition("-")
            if entry.name.endswith(_ENDING) and dash and entry.is_dir(follow_symlinks=False):
                yield name, version


def portable_lock(lock: str, indexes: Sequence[str], repo: Path) -> str:
    """Return a lock without comments and without this machine's paths.

    What was installed from the repository is named by its path in it: ``.`` or ``-e ./tools``.
    """
    kept = [line.partition(" #")[0].rstrip() for line in lock.splitlines()]
    lines = [_relative(line, repo) for line in kept if line and not line.lstrip().startswith("#")]
    return "".join(f"{line}\n" for line in (*(f"--extra-index-url {u}" for u in indexes), *lines))


def _relative(line: str, repo: Path) -> str:
    """Return ``. `` for ``name @ file:///…/repo``."""
    for place in (f"file://{repo}", str(repo)):
        before, found, after = line.partition(place)
        if found:
            editable = "-e " if before.strip() == "-e" else ""
            inside = after.strip().strip("/")
            return f"{editable}./{inside}" if inside else f"{editable}."
    return line
