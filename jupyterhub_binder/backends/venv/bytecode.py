"""Adds bytecode to an environment, and marks it before code changes its sources. Blocks."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from filecmp import cmp
from importlib.util import source_from_cache
from pathlib import Path

from jupyterhub_binder.utils.trees import walk

_FLAGS = 4
"""The place of the flags in a compiled file."""
_UNCHECKED = (1).to_bytes(4, "little")
_CHECKED = (3).to_bytes(4, "little")


def check_sources(environment: Path) -> None:
    """Let the interpreter compare each source with its bytecode.

    The bytecode of cached wheels is taken as it is. That would hide what a postBuild changes in a
    package. `inside/compile.py` undoes this. The environment must have no files in common with
    others.
    """
    for entry in walk(environment / "lib"):
        if stat.S_ISREG(entry.status.st_mode) and entry.path.endswith(".pyc"):
            file = os.open(entry.name, os.O_RDWR | os.O_NOFOLLOW, dir_fd=entry.folder)
            try:
                if os.pread(file, 4, _FLAGS) == _UNCHECKED:
                    os.pwrite(file, _CHECKED, _FLAGS)
            finally:
                os.close(file)


def add_bytecode(wheels: Iterable[Path], site_packages: Path, *, link: bool) -> None:
    """Add the bytecode of unpacked wheels to where uv has installed them, by hard links or copies.

    Two wheels may have a module of one name, and only uv knows whose source it installed. Bytecode
    of cached wheels is not compared with its source, so it is added only beside its own.
    """
    for wheel in wheels:
        for entry in walk(wheel):
            source = _source_of(entry.path) if stat.S_ISREG(entry.status.st_mode) else ""
            if source and _is_same(wheel / source, site_packages / source):
                _add(wheel / entry.path, site_packages / entry.path, link=link)


def _source_of(path: str) -> str:
    """Return the path of the source of a file of bytecode; nothing for other files."""
    try:
        return source_from_cache(path) if path.endswith(".pyc") else ""
    except ValueError:  # the wheel's own, by a name that no interpreter reads
        return ""


def _add(bytecode: Path, target: Path, *, link: bool) -> None:
    if _is_same(bytecode, target):
        return
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    if link:
        target.hardlink_to(bytecode)
    else:
        shutil.copyfile(bytecode, target)


def _is_same(one: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    try:
        return one.samefile(other) or cmp(one, other, shallow=False)
    except FileNotFoundError:
        return False
