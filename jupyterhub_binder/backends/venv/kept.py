"""Lists finished environments and those in use, for clean-up. Functions block."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from jupyterhub_binder.backends.base import KeptImage
from jupyterhub_binder.backends.venv.folders import PREFIX, Folders

_log = logging.getLogger(__name__)
_LOOKED_AT = 3
"""How many words of a command line to check: interpreter, option, script."""


def list_kept(root: Path) -> tuple[KeptImage, ...]:
    """Return a folder's finished environments.

    A file that several have counts once: for the cache, or else for the oldest environment.
    """
    used = find_used(root)
    kept = sorted((_kept(folder, used) for folder in _finished(root)), key=lambda one: one.created)
    linked = [one.name.removeprefix(PREFIX) for one in kept if _is_linked(root, one)]
    alone = _fetch_disk_use(root, [".wheels", *linked]) if linked else {}
    return tuple(
        replace(one, size_bytes=alone.get(one.name.removeprefix(PREFIX), one.size_bytes))
        for one in kept
    )


def fetch_cache_bytes(folders: Folders) -> int:
    """Return the disk space of the cache of wheels."""
    name = folders.wheels.name
    return _fetch_disk_use(folders.root, [name]).get(name, 0)


def _fetch_disk_use(root: Path, names: Sequence[str]) -> dict[str, int]:
    """Return the bytes of folders; what was counted for one does not count for a later one."""
    try:
        done = subprocess.run(
            ["du", "-s", "-k", "--", *names],
            cwd=root,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,  # a folder may vanish meanwhile
        )
    except OSError as error:
        _log.warning("Can't measure shared files (%s): %s", root, error)
        return {}
    lines = (line.partition("\t") for line in done.stdout.splitlines())
    return {name: int(blocks) * 1024 for blocks, _, name in lines if blocks.isdigit()}


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


def _is_linked(root: Path, kept: KeptImage) -> bool:
    note = root / kept.name.removeprefix(PREFIX) / "binder" / "image.json"
    try:
        return bool(json.loads(note.read_text()).get("shared_bytes"))
    except (OSError, ValueError, AttributeError):
        return False


def _kept(folder: Path, used: frozenset[str]) -> KeptImage:
    note = folder / "binder" / "image.json"
    try:
        size = int(json.loads(note.read_text())["size_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        size = 0
    created = datetime.fromtimestamp(note.lstat().st_mtime, UTC)
    return KeptImage(f"{PREFIX}{folder.name}", size, created, folder.name in used)
