"""The folders of the venv backend: finished environments, and those being built beside them.

``<root>/<key>/`` is an environment, whole by definition: it got its name at the very end.
``<root>/.building/<key>-<build id>/`` is a build's workspace, ``<root>/.deleted/`` what is
being removed, ``<root>/.cache/`` uv's cache. All methods block: call them in a thread.

Whatever a build left in an environment is hostile: nothing here follows a symbolic link of
it, and nothing here runs a program of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jupyterhub_binder.slugs import new_id

PREFIX = "venv:"
MARKER = "JUPYTERHUB_BINDER_WORKSPACE"
"""The variable by which a build's processes are known, with the workspace's path."""

_MOST_LOCK_BYTES = 4 * 2**20
_END_SECONDS = 5.0
_WRITERS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_UNSAFE = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_READERS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_SEARCHERS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where one build works."""

    path: Path
    final: Path
    """What the environment will be called, and is called already inside the sandbox."""

    @property
    def environment(self) -> Path:
        """Return the environment in the making."""
        return self.path / "environment"

    @property
    def home(self) -> Path:
        """Return the folder that the sandbox writes its temporary files to."""
        return self.path / "home"

    def begin(self, checkout: Path) -> None:
        """Make the workspace, and copy the checkout into it."""
        self.home.mkdir(parents=True, mode=0o700)
        owner = psutil.Process()
        note = {"pid": owner.pid, "created": owner.create_time()}
        (self.path / "owner.json").write_text(json.dumps(note))
        shutil.copytree(checkout, self.path / "repo", symlinks=True, ignore=_special_files)

    @property
    def work(self) -> Path:
        """Return the folder of what uv reads and writes: requirements, and the lock."""
        return self.path / "work"

    def place_checkout(self) -> None:
        """Move the checkout to where it stays, in the environment."""
        (self.path / "repo").rename(self.environment / "repo")

    def write_requirements(self, wanted: str, limits: str) -> None:
        """Write what is to be resolved."""
        self.work.mkdir(exist_ok=True)
        (self.work / "requirements.in").write_text(wanted)
        (self.work / "constraints.txt").write_text(limits)

    def read_lock(self) -> str:
        """Return the lock; a build that made it something else gets an OSError or less of it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(self.work / "lock.txt", flags), "rb") as file:
            return file.read(_MOST_LOCK_BYTES).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree takes."""

    size_bytes: int
    files: int


class Folders:
    """The tree under `VenvBackend.environments_root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.building = root / ".building"
        self.deleted = root / ".deleted"
        self.cache = root / ".cache"

    def ensure(self) -> None:
        """Make the folders; only the service may look into those of builds and of the cache."""
        # Who knows an environment's key may read it; nobody need see which there are.
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.building, self.deleted, self.cache):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)

    def environment(self, key: str) -> Path:
        """Return the folder of a key. Raises ValueError for what is no plain name."""
        if not key or key.startswith(".") or key != Path(key).name:
            raise ValueError(f"not the key of an environment: {key!r}")
        return self.root / key

    def workspace(self, key: str, build_id: str) -> Workspace:
        """Return the workspace of a build."""
        return Workspace(self.building / f"{key}-{build_id}", self.environment(key))

    def find(self, key: str) -> Path | None:
        """Return an environment that is whole: its note is there and its Python is too."""
        folder = self.environment(key)
        whole = (folder / "binder" / "image.json").is_file() and (folder / "bin/python").exists()
        return folder if whole else None

    def settle(
        self, workspace: Workspace, note: Mapping[str, Any], lock: str, usage: Usage
    ) -> None:
        """Put the note into a built environment and make it read-only.

        Nothing may write to it any more.
        """
        made = workspace.environment
        _remove(made / "binder")
        (made / "binder").mkdir()
        _write_new(made / "binder" / "lock.txt", lock)
        whole = {**note, "size_bytes": usage.size_bytes, "files": usage.files}
        _write_new(made / "binder" / "image.json", json.dumps(whole, indent=1) + "\n")
        _settle(made)

    def finish(self, workspace: Workspace) -> None:
        """Give a settled environment its name."""
        self.discard(workspace.final)
        workspace.environment.rename(workspace.final)
        workspace.final.chmod(0o555)

    def discard(self, folder: Path) -> None:
        """Take a folder out of the way, in one step, then remove it; gone already is success."""
        aside = self.deleted / new_id()
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(folder.lstat().st_mode):
                # A folder without write permission cannot be moved by other than root.
                folder.chmod(0o700)
            folder.rename(aside)
        _remove(aside)

    def sweep(self) -> list[str]:
        """Remove what builds of services that are gone left; return the workspaces' names."""
        for folder in list(self.deleted.iterdir()):
            _remove(folder)
        swept = []
        for folder in list(self.building.iterdir()):
            if not _is_owned(folder):
                self.clear(folder)
                swept.append(folder.name)
        return swept

    def clear(self, folder: Path) -> None:
        """End the processes of a workspace and remove it; gone already is success."""
        end_processes(folder)
        self.discard(folder)


def _is_owned(folder: Path) -> bool:
    """Say whether another service that is alive works in a folder."""
    try:
        note = json.loads((folder / "owner.json").read_text())
        owner = psutil.Process(int(note["pid"]))
        return owner.pid != os.getpid() and owner.create_time() == note["created"]
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def end_processes(workspace: Path) -> int:
    """Kill every process that was started for a workspace; return how many there were.

    They are known by a variable of their environment, so a number used again by another
    process harms nobody, and one that left its process group is found.
    """
    count = 0
    for process in list(_processes_of(workspace)):
        with contextlib.suppress(psutil.Error):
            process.kill()
            count += 1
            _await_end(process)
    return count


def _await_end(process: psutil.Process) -> None:
    """Wait until a killed process does nothing more; whose child it is reaps it."""
    until = time.monotonic() + _END_SECONDS
    while time.monotonic() < until and process.is_running():
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)


def _processes_of(workspace: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == str(workspace):
                yield process


def measure(folder: Path, *, unlock: bool = False) -> Usage:
    """Return what a tree takes on the disk, a file with several names counted once.

    Folders closed to their owner count only where they may be unlocked, as in `_walk`.
    """
    seen: set[tuple[int, int]] = set()
    size = count = 0
    for _, status in _walk(folder, unlock=unlock):
        count += not stat.S_ISDIR(status.st_mode)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        size += status.st_blocks * 512
    return Usage(size, count)


def name_final_place(environment: Path, final: Path) -> None:
    """Let scripts and editable installs name the final place: outside a sandbox they could not."""
    old, new = str(environment).encode(), str(final).encode()
    packages = "lib/python*/site-packages"
    scripts = [path for path in environment.glob("bin/*") if _begins(path, b"#!")]
    paths = [
        path
        for name in ("*.pth", "__editable__*")
        for path in environment.glob(f"{packages}/{name}")
    ]
    for path in (*scripts, *paths):
        if _begins(path, b"") and old in (text := path.read_bytes()):
            path.write_bytes(text.replace(old, new))


def _begins(path: Path, start: bytes) -> bool:
    """Say whether a path is a file, no link, not too long to read, with this beginning."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_LOCK_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _settle(folder: Path) -> None:
    """Let everybody read and nobody write; setuid bits, and what is no file or folder, go."""
    for entry, status in _walk(folder, unlock=True):
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_ISDIR(mode):
            wanted = 0o755 if entry == str(folder) else 0o555
        elif stat.S_ISREG(mode):
            wanted = (mode & ~_UNSAFE & ~_WRITERS) | _READERS
            wanted |= _SEARCHERS if mode & stat.S_IXUSR else 0
        else:
            Path(entry).unlink()
            continue
        if stat.S_IMODE(wanted) != stat.S_IMODE(mode):
            os.chmod(entry, stat.S_IMODE(wanted))  # noqa: PTH101 - many


def _walk(folder: Path, *, unlock: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every path under a folder, each before its parent, the folder last, unfollowed.

    `unlock` gives folders back to their owner; only for trees that nobody writes to any more,
    for a folder that turned into a link at the wrong moment would hand out another's.
    """
    waiting = [(str(folder), False)]
    while waiting:
        path, entered = waiting.pop()
        # Somebody may still write here; as root no folder is closed.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            status = os.lstat(path)
            if entered or not stat.S_ISDIR(status.st_mode):
                yield path, status
                continue
            waiting.append((path, True))
            if unlock:
                os.chmod(path, stat.S_IMODE(status.st_mode) | 0o700)  # noqa: PTH101
            with os.scandir(path) as entries:
                waiting.extend((entry.path, False) for entry in entries)


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        file.write(text)


def _remove(path: Path) -> None:
    """Remove a file or tree, whatever its permissions; gone already is success."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        path.unlink()
        return
    for _ in _walk(path, unlock=True):
        pass
    shutil.rmtree(path)


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Name what a copy leaves out: sockets, pipes and devices."""
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    modes = {name: os.lstat(Path(folder) / name).st_mode for name in names}
    return [name for name, mode in modes.items() if not any(kind(mode) for kind in kinds)]
