"""The folders of finished environments and of running builds. All methods block.

``<root>/<key>/`` is a complete environment, since it is named last, or only the files of a build
that uses another one's environment.
``<root>/.building/<key>-<build id>/`` is a build's workspace, ``<root>/.deleted/`` is being
removed, ``<root>/.wheels/`` belongs to `wheels`. Content that a build left is hostile: this module
follows none of its links and runs none of its programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from jupyterhub_binder.utils.trash import Trash
from jupyterhub_binder.utils.trees import copy_tree, remove_tree, walk

PREFIX = "venv:"
ACTIVATE = "activate.sh"
"""The script in `binder/` that `singleuser.content` runs before a server."""
MARKER = "JUPYTERHUB_BINDER_WORKSPACE"
"""The variable that marks a build's processes, with the workspace's path."""

_MAX_LOCK_BYTES = 4 * 2**20
_END_SECONDS = 5.0
_OTHER_WRITERS = stat.S_IWGRP | stat.S_IWOTH
_WRITERS = _OTHER_WRITERS | stat.S_IWUSR
_UNSAFE = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_READERS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
_SEARCHERS = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class Workspace:
    """The workspace of one build."""

    path: Path
    final: Path
    """The environment's final path, also in the sandbox."""

    @property
    def environment(self) -> Path:
        """The unfinished environment."""
        return self.path / "environment"

    @property
    def site_packages(self) -> Path:
        """The folder of the environment's packages. Raises StopIteration before it exists."""
        return next(self.environment.glob("lib/python*/site-packages"))

    @property
    def home(self) -> Path:
        """The sandbox's folder for temporary files."""
        return self.path / "home"

    def begin(self, checkout: Path) -> None:
        """Create the workspace and copy the checkout."""
        self.home.mkdir(parents=True, mode=0o700)
        owner = psutil.Process()
        note = {"pid": owner.pid, "created": owner.create_time()}
        (self.path / "owner.json").write_text(json.dumps(note))
        copy_tree(checkout, self.path / "repo")

    @property
    def work(self) -> Path:
        """The folder for requirements and lock."""
        return self.path / "work"

    def place_checkout(self, script: str = "") -> None:
        """Move the checkout into the environment; let everybody execute one of its files."""
        repo = self.environment / "repo"
        (self.path / "repo").rename(repo)
        if script and (real := (repo / script).resolve()).is_relative_to(repo.resolve()):
            real.chmod(real.stat().st_mode | 0o111)

    def start_over(self) -> None:
        """Remove the environment but keep the checkout, for another attempt."""
        (self.environment / "repo").rename(self.path / "repo")
        remove_tree(self.environment)

    def write_requirements(self, wanted: str, limits: str) -> None:
        """Write the requirements."""
        self.work.mkdir(exist_ok=True)
        (self.work / "requirements.in").write_text(wanted)
        (self.work / "constraints.txt").write_text(limits)

    def read_lock(self) -> str:
        """Return the lock. Raises OSError if a build replaced it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with os.fdopen(os.open(self.work / "lock.txt", flags), "rb") as file:
            return file.read(_MAX_LOCK_BYTES).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Usage:
    """The size of a tree."""

    size_bytes: int
    files: int
    shared_bytes: int = 0
    """Of `size_bytes`: what other trees have too, by hard links."""


class Folders:
    """The tree under `VenvBackend.environments_root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.building = root / ".building"
        self.deleted = root / ".deleted"
        self._trash = Trash(self.deleted)
        self.wheels = root / ".wheels"
        self.conda = self.wheels / "conda"

    def ensure(self) -> None:
        """Create the folders; builds and wheels are private to the service."""
        # Who knows an environment's key may read it; nobody need see which there are.
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.building, self.deleted, self.wheels, self.conda):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)

    def environment(self, key: str) -> Path:
        """Return a key's folder. Raises ValueError for an invalid key."""
        if not key or key.startswith(".") or key != Path(key).name:
            raise ValueError(f"not the key of an environment: {key!r}")
        return self.root / key

    def workspace(self, key: str, build_id: str) -> Workspace:
        """Return the workspace of a build."""
        return Workspace(self.building / f"{key}-{build_id}", self.environment(key))

    def find(self, key: str) -> Path | None:
        """Return a complete environment, with note and Python, or None."""
        folder = self.environment(key)
        whole = (folder / "binder" / "image.json").is_file() and (folder / "bin/python").exists()
        return folder if whole else None

    def settle(
        self,
        workspace: Workspace,
        note: Mapping[str, Any],
        lock: str,
        usage: Usage,
        *,
        activate: str = "",
    ) -> None:
        """Add the note and make the environment read-only, for good.

        `activate` is a script that each server runs first.
        """
        made = workspace.environment
        remove_tree(made / "binder")
        (made / "binder").mkdir()
        _write_new(made / "binder" / "lock.txt", lock)
        if activate:
            _write_new(made / "binder" / ACTIVATE, activate)
        whole = {
            **note,
            "size_bytes": usage.size_bytes,
            "shared_bytes": usage.shared_bytes,
            "files": usage.files,
        }
        _write_new(made / "binder" / "image.json", json.dumps(whole, indent=1) + "\n")
        _settle(made, linked=bool(usage.shared_bytes))

    def finish(self, workspace: Workspace) -> None:
        """Rename a settled environment to its final name."""
        self.discard(workspace.final)
        workspace.environment.rename(workspace.final)
        workspace.final.chmod(0o555)

    def keep_files(self, key: str, build_id: str, checkout: Path) -> None:
        """Keep a checkout under a key that has no environment of its own, read-only."""
        workspace = self.workspace(key, build_id)
        made = workspace.environment
        try:
            workspace.begin(checkout)
            made.mkdir()
            workspace.place_checkout()
            usage = measure(made)
            (made / "binder").mkdir()
            note = {"version": 1, "files_of": build_id, "size_bytes": usage.size_bytes}
            _write_new(made / "binder" / "image.json", json.dumps(note) + "\n")
            _settle(made)
            self.finish(workspace)
        finally:
            self.discard(workspace.path)

    def discard(self, folder: Path) -> None:
        """Remove a folder; rename it first. Idempotent."""
        self._trash.remove(folder)

    def sweep(self) -> list[str]:
        """Set aside what ended services left; return the workspaces' names.

        It is removed in the background.
        """
        left = [folder for folder in self.building.iterdir() if not _is_owned(folder)]
        end_processes(*left)
        for folder in left:
            self._trash.take(folder)
        self._trash.empty_later()
        return [folder.name for folder in left]

    def clear(self, folder: Path) -> None:
        """End a workspace's processes and remove it. Idempotent."""
        end_processes(folder)
        self.discard(folder)


def _is_owned(folder: Path) -> bool:
    """Whether another live service uses a folder."""
    try:
        note = json.loads((folder / "owner.json").read_text())
        owner = psutil.Process(int(note["pid"]))
        return owner.pid != os.getpid() and owner.create_time() == note["created"]
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def end_processes(*workspaces: Path) -> int:
    """Kill the processes of workspaces; return their number.

    A variable in their environment identifies them, even after a change of process group or reuse
    of an id. A process may start another one before it is killed, so this looks again until there
    is nothing new.
    """
    killed: set[psutil.Process] = set()
    marks = set(map(str, workspaces))
    while marks and (found := set(_processes_of(marks)) - killed):
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
                _await_end(process)
        killed |= found
    return len(killed)


def _await_end(process: psutil.Process) -> None:
    """Wait for a killed process to end; reap our own."""
    until = time.monotonic() + _END_SECONDS
    while time.monotonic() < until and process.is_running():
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.01)


def _processes_of(workspaces: Collection[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) in workspaces:
                yield process


def measure(folder: Path, *, unlock: bool = False) -> Usage:
    """Return a tree's size, with hard links counted once, as du does.

    Folders closed to their owner count only if `walk` may unlock them. Raises TreeTooDeep.
    """
    links: dict[tuple[int, int], int] = {}
    """By file: its names outside the tree, as far as seen."""
    sizes: dict[tuple[int, int], int] = {}
    size = count = 0
    for status in (entry.status for entry in walk(folder, unlock=unlock)):
        count += not stat.S_ISDIR(status.st_mode)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            file = status.st_dev, status.st_ino
            links[file] = links.get(file, int(status.st_nlink)) - 1
            sizes[file] = status.st_blocks * 512
        else:
            size += status.st_blocks * 512
    shared = sum(sizes[file] for file, outside in links.items() if outside)
    return Usage(size + sum(sizes.values()), count, shared)


def name_final_place(environment: Path, final: Path) -> None:
    """Replace the workspace's path in scripts and editable installs."""
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
            # Its bytecode has the old path, and is not compared with the source.
            for bytecode in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
                bytecode.unlink()


def _begins(path: Path, start: bytes) -> bool:
    """Whether a path is a regular file of limited size with this beginning."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_LOCK_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _settle(folder: Path, *, linked: bool = False) -> None:
    """Make everything readable and read-only; remove setuid bits and special files."""
    for entry in walk(folder, unlock=True):
        mode = entry.status.st_mode
        if stat.S_ISLNK(mode):
            continue
        if stat.S_ISDIR(mode):
            wanted = 0o555 if entry.path else 0o755
        elif stat.S_ISREG(mode):
            # A file that the cache has too stays writable for its owner, for later copies.
            shared = linked and entry.status.st_nlink > 1
            wanted = (mode & ~_UNSAFE & ~(_OTHER_WRITERS if shared else _WRITERS)) | _READERS
            wanted |= _SEARCHERS if mode & stat.S_IXUSR else 0
        else:
            os.unlink(entry.name, dir_fd=entry.folder)
            continue
        if stat.S_IMODE(wanted) != stat.S_IMODE(mode):
            os.chmod(entry.name, stat.S_IMODE(wanted), dir_fd=entry.folder)


def _write_new(path: Path, text: str) -> None:
    """Create a file; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
