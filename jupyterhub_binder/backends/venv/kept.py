"""Lists finished environments and those in use, for clean-up. Functions block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from jupyterhub_binder.backends.base import KeptImage
from jupyterhub_binder.backends.venv.folders import PREFIX

_LOOKED_AT = 3
"""How many words of a command line to check: interpreter, option, script."""


def list_kept(root: Path) -> tuple[KeptImage, ...]:
    """Return a folder's finished environments."""
    used = find_used(root)
    return tuple(_kept(folder, used) for folder in _finished(root))


def find_used(root: Path) -> frozenset[str]:
    """Return the keys of environments whose programs are running."""
    beginning = f"{root}/"
    found = set()
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline()[:_LOOKED_AT], process.cwd() + "/"]
        except (psutil.Error, OSError):
            continue
        for word in words:
            if word.startswith(beginning):
                found.add(word.removeprefix(beginning).partition("/")[0])
    return frozenset(found)


def _finished(root: Path) -> Iterator[Path]:
    for folder in root.iterdir():
        if not folder.name.startswith(".") and (folder / "binder" / "image.json").is_file():
            yield folder


def _kept(folder: Path, used: frozenset[str]) -> KeptImage:
    note = folder / "binder" / "image.json"
    try:
        size = int(json.loads(note.read_text())["size_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        size = 0
    created = datetime.fromtimestamp(note.lstat().st_mtime, UTC)
    return KeptImage(f"{PREFIX}{folder.name}", size, created, folder.name in used)
