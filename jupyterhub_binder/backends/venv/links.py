"""Decides how packages get from the cache of wheels into an environment."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from enum import StrEnum
from pathlib import Path

_FICLONE = 0x40049409
"""Linux: let a file share another one's blocks until one of them is written to."""


class LinkMode(StrEnum):
    """uv's names."""

    COPY = "copy"
    CLONE = "clone"
    HARDLINK = "hardlink"


def choose_link_mode(
    *,
    allowed: str,
    can_clone: bool,
    wheels_only: bool,
    code_is_confined: bool,
    servers_cannot_write: bool,
) -> LinkMode:
    """Return the cheapest way that lets no environment change another one, or the cache.

    A *clone* has blocks in common with the cache until one of the two is written to. It is as safe
    as a copy and takes no time, but few file systems have it. `can_clone` must have been tried on
    this file system: uv makes hard links where it can't clone.

    A *hard link* is the same file under another name. Whoever writes to it changes the cache and
    every environment that has the file, now and later. So a build gets hard links only if nothing
    can ever write to its environment:

    - `wheels_only`: nothing that a repository wrote runs while the environment is writable. uv
      only unpacks wheels. A source distribution and postBuild run code, in a sandbox where the
      environment is writable.
    - `code_is_confined`: no build on this hub runs code outside a sandbox, as the user who owns the
      files. That code could write to every environment, not only to its own.
    - `servers_cannot_write`: servers run as another user than the owner of the files, or see them
      on a read-only mount. File modes alone do not stop the owner, who can change them. Only the
      administrator knows how servers run.

    The smoke test runs packages, in a sandbox where the environment is read-only.

    Otherwise it is a *copy*, which takes time and disk space but shares nothing. `allowed` is the
    administrator's choice: `auto`, `clone` (never hard links) or `copy`.
    """
    if allowed == LinkMode.COPY:
        return LinkMode.COPY
    if can_clone:
        return LinkMode.CLONE
    linkable = wheels_only and code_is_confined and servers_cannot_write
    if allowed == "auto" and linkable:
        return LinkMode.HARDLINK
    return LinkMode.COPY


def can_clone(folder: Path) -> bool:
    """Whether the file system of a folder can clone files; tries it. Blocks."""
    with (
        tempfile.TemporaryFile(dir=folder) as source,
        tempfile.TemporaryFile(dir=folder) as target,
    ):
        source.write(b"x" * 4096)
        source.flush()
        try:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
        return os.fstat(target.fileno()).st_size == 4096
