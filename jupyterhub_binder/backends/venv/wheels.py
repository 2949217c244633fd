"""The caches of unpacked wheels, one for each kind of bytecode. All methods block.

``<root>/.wheels/<bytecode>/uv/`` is uv's own cache, and ``compiled/`` beside it has an empty file
for each wheel that `inside/compile_wheels.py` has compiled. Only trusted steps write here: a
sandbox sees none of it. Everything here may be removed at any time; uv downloads it again.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from jupyterhub_binder.backends.venv.folders import measure
from jupyterhub_binder.model.text import Message

_log = logging.getLogger(__name__)

_LOCK_SECONDS = 20
"""How long a removal waits for builds that use the cache."""

KEPT_SECONDS = 86_400
"""A package that a build used during this time stays, because a running build may need it."""

_COMPILED = re.compile(r"Compiled (\d{1,6}) of (\d{1,6}) packages: ([\w.-]{1,100})")
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WheelCache:
    """The cache for interpreters that read the same bytecode."""

    folder: Path

    @property
    def uv(self) -> Path:
        """The folder that uv uses."""
        return self.folder / "uv"

    @property
    def compiled(self) -> Path:
        """The folder of marks, ``<id>.<name>==<version>``; the times are those of the last use."""
        return self.folder / "compiled"

    def ensure(self) -> None:
        """Create the folders."""
        for folder in (self.folder, self.uv, self.compiled):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def marks(self, names: Collection[str]) -> frozenset[str]:
        """Return the marks of packages."""
        marks = (mark.name for mark in self.compiled.iterdir())
        return frozenset(mark for mark in marks if _name_in(mark) in names)

    def wheels_of(self, marks: Collection[str]) -> list[Path]:
        """Return the unpacked wheels of marks."""
        names = [mark.partition(".")[0] for mark in marks]
        return [wheel for name in names for wheel in self.uv.glob(f"archive-v*/{name}")]

    def note_use(self, names: Collection[str]) -> None:
        """Note that a build uses packages, so that their wheels stay."""
        for mark in self.marks(names):
            try:
                os.utime(self.compiled / mark)
            except FileNotFoundError:
                continue

    def packages(self) -> list[CachedPackage]:
        """Return the packages with wheels in the cache."""
        found: dict[str, list[Path]] = {}
        for info in self.uv.glob("archive-v*/*/*.dist-info"):
            name = canonicalize_name(info.name.removesuffix(".dist-info").rpartition("-")[0])
            found.setdefault(name, []).append(info.parent)
        used: dict[str, float] = {}
        for mark in self.compiled.iterdir():
            name = _name_in(mark.name)
            used[name] = max(mark.stat().st_mtime, used.get(name, 0.0))
        return [self._package(name, wheels, used) for name, wheels in found.items()]

    def _package(
        self, name: str, wheels: Sequence[Path], used: Mapping[str, float]
    ) -> CachedPackage:
        last = max(used.get(name, 0.0), *(wheel.stat().st_mtime for wheel in wheels))
        return CachedPackage(last, name, self, any(map(_is_linked, wheels)), tuple(wheels))

    def remove(self, packages: Collection[CachedPackage], uv: Path) -> None:
        """Let uv remove packages, when no other uv works with the cache. Raises CacheInUse."""
        waits = {"UV_LOCK_TIMEOUT": str(_LOCK_SECONDS)}
        env = {"PATH": os.defpath, "HOME": "/", "UV_CACHE_DIR": str(self.uv), **waits}
        names = [package.name for package in packages]
        done = subprocess.run(
            [uv, "cache", "clean", "--no-config", "--", *names],
            env=env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CacheInUse(done.stderr.strip())
        for mark in self.marks(names):
            (self.compiled / mark).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, order=True)
class CachedPackage:
    """A package's wheels in a cache, in all versions."""

    used: float
    """When a build used it last."""
    name: str
    cache: WheelCache = field(compare=False)
    linked: bool = field(compare=False)
    """Whether an environment shares its files, so that removing it would free nothing."""
    wheels: tuple[Path, ...] = field(compare=False)

    def size_bytes(self) -> int:
        """Return its disk space."""
        return sum(measure(wheel).size_bytes for wheel in self.wheels)


class CacheInUse(Exception):
    """uv could not get the cache for itself."""


class WheelCaches:
    """All caches below a folder."""

    def __init__(self, folder: Path, uv: Path) -> None:
        self.folder = folder
        self._uv = uv

    def of(self, bytecode: str) -> WheelCache:
        """Return the cache for a kind of bytecode, such as ``cpython-311-3495``."""
        return WheelCache(self.folder / bytecode)

    def trim(self, wanted_bytes: int, *, now: Callable[[], float] = time.time) -> int:
        """Remove packages, the longest unused first; return the bytes that became free.

        What is in use elsewhere stays until the next time.
        """
        newest = now() - KEPT_SECONDS
        chosen: dict[WheelCache, list[CachedPackage]] = {}
        found = 0
        for package in sorted(self._packages()):
            if found >= wanted_bytes or package.used > newest:
                break
            if not package.linked:
                found += package.size_bytes()
                chosen.setdefault(package.cache, []).append(package)
        return sum(self._remove(cache, packages) for cache, packages in chosen.items())

    def _packages(self) -> Iterator[CachedPackage]:
        for folder in self.folder.iterdir():
            cache = WheelCache(folder)
            if cache.uv.is_dir() and cache.compiled.is_dir():
                yield from cache.packages()

    def _remove(self, cache: WheelCache, packages: Sequence[CachedPackage]) -> int:
        before = sum(package.size_bytes() for package in packages)
        try:
            cache.remove(packages, self._uv)
        except CacheInUse as error:
            _log.warning("The cache of wheels in %s is not trimmed: %s", cache.folder, error)
        return before - sum(
            measure(wheel).size_bytes
            for package in packages
            for wheel in package.wheels
            if wheel.exists()
        )


def locked_names(lock: str) -> frozenset[str]:
    """Return the packages of a lock that come from an index."""
    return frozenset(canonicalize_name(name) for name in _LOCKED.findall(lock))


def read_progress(line: str) -> str:
    """Return what a build does while `inside/compile_wheels.py` runs, for people."""
    found = _COMPILED.match(line)
    if found is None:
        return ""
    done, total, name = found.groups()
    return Message(
        "installing packages, %(done)s of %(total)s: %(name)s",
        done=int(done),
        total=int(total),
        name=name,
    )


def _name_in(mark: str) -> str:
    return mark.partition(".")[2].partition("==")[0]


def _is_linked(wheel: Path) -> bool:
    """Whether an environment shares a wheel's files; each wheel has METADATA."""
    for path in wheel.glob("*.dist-info/METADATA"):
        status = path.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    return False
