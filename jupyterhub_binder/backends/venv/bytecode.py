"""Marks the bytecode of an environment that a repository's code is about to change. Blocks."""

from __future__ import annotations

import os
import stat
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
