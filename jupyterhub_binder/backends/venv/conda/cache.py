"""Frees space in the cache of conda packages. Blocks.

``<cache>/archives/<sha256>/`` has a downloaded file, whose time is that of its last use.
``<cache>/repodata/`` has the channels' lists. Everything may be removed at any time: a build has its
files under names of its own, and downloads others again.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jupyterhub_binder.backends.venv.wheels import KEPT_SECONDS


def trim(cache: Path, wanted_bytes: int, *, now: Callable[[], float] = time.time) -> int:
    """Remove files, the longest unused first; return the bytes that became free."""
    newest = now() - KEPT_SECONDS
    found = list(_files(cache))
    freed = 0
    for path, status in sorted(found, key=lambda each: each[1].st_mtime):
        if freed >= wanted_bytes or status.st_mtime > newest:
            break
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_mtime > newest:
                continue  # a build has begun to use it
            path.unlink()
            freed += status.st_size
        if path.parent.parent == cache / "archives":
            with contextlib.suppress(OSError):  # a build may be downloading the file again
                path.parent.rmdir()
    return freed


def _files(cache: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files; builds may rename or remove them meanwhile."""
    for path in cache.glob("*/**/*"):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG((status := path.lstat()).st_mode):
                yield path, status
