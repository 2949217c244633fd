"""Walks, copies and removes untrusted file trees.

Folder descriptors, no recursion: depth is no limit, and symbolic links are not followed. Also runs
in the user's server: Python 3.8, standard library only.
"""

# ruff: noqa: PTH102, PTH106, PTH112, PTH108, PTH118, PTH123, PTH208, PTH211, UP031

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

MAX_DEPTH = 100

MAX_PATH_CHARACTERS = 1000

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeTooDeep(OSError):
    """Nested too deeply, or paths too long."""

    def __init__(self, path):
        super().__init__(errno.ENAMETOOLONG, "Too many folders inside each other", path[:200])


def fits(path):
    """Check a relative path's limits."""
    return path.count("/") <= MAX_DEPTH and len(path) <= MAX_PATH_CHARACTERS


class Entry:
    """A name in the open folder `folder`; `path` is relative to the root.

    For the root, `folder` is None, `name` its whole path, `path` empty.
    """

    __slots__ = ("folder", "name", "path", "status")

    def __init__(self, folder, name, path, status):
        self.folder, self.name, self.path, self.status = folder, name, path, status

    @property
    def is_folder(self):
        """False for a link."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self):
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.status.st_mode)


class _Level(Entry):
    """An open folder during iteration."""

    __slots__ = ("fd", "names")

    def __init__(self, entry, unlock):
        super().__init__(entry.folder, entry.name, entry.path, entry.status)
        self.fd = _open(entry.folder, entry.name, entry.status, unlock)
        try:
            self.names = iter(sorted(os.listdir(self.fd)))
        except BaseException:
            os.close(self.fd)
            raise


def walk(  # noqa: C901 - one loop, so that no depth recurses
    root, *, unlock=False, folders_first=False, max_depth=MAX_DEPTH + 20, max_path=4000
):
    """Yield each `Entry`, the content before its folder, the root last.

    `folders_first` reverses that. `unlock` makes folders accessible; use it only when no one else
    writes. Entries that vanish or cannot be read are skipped. Raises TreeTooDeep.
    """
    levels = []
    try:
        entry = Entry(None, os.fspath(root), "", os.lstat(root))
        if not entry.is_folder:
            yield entry
            return
        if folders_first:
            yield entry
        _enter(levels, entry, unlock)
        while levels:
            level = levels[-1]
            name = next(level.names, None)
            if name is None:
                os.close(levels.pop().fd)
                if not folders_first:
                    yield level
                continue
            try:
                status = os.stat(name, dir_fd=level.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            path = "%s/%s" % (level.path, name) if level.path else name
            if len(path) > max_path or len(levels) > max_depth:
                raise TreeTooDeep(path)
            entry = Entry(level.fd, name, path, status)
            if folders_first or not entry.is_folder:
                yield entry
            if entry.is_folder:
                _enter(levels, entry, unlock)
    finally:
        for level in levels:
            os.close(level.fd)


def _enter(levels, entry, unlock):
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        levels.append(_Level(entry, unlock))


def _open(folder, name, status, unlock):
    if unlock and stat.S_IMODE(status.st_mode) & 0o700 != 0o700:
        # No one else writes here, so no link can replace the folder.
        os.chmod(name, stat.S_IMODE(status.st_mode) | 0o700, dir_fd=folder)
    return os.open(name, _FOLDER, dir_fd=folder)


def remove_tree(path):
    """Remove a file or tree of any depth and permissions. Idempotent.

    No one else may be writing. Raises OSError after removing what it can.
    """
    path = os.fspath(path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(path)
        return
    top = _open(None, path, status, True)
    try:
        _empty(top)
    finally:
        os.close(top)
    os.rmdir(path)


def _empty(top):
    """Empty a folder by moving subfolders up, level by level."""
    mark, count = os.urandom(8).hex(), 0
    while True:
        names = os.listdir(top)
        problem = None
        progress = False
        for name in names:
            try:
                count = _flatten(top, name, mark, count)
                progress = True
            except OSError as error:
                problem = problem or error
        if problem is not None and not progress:
            raise problem
        if not names:
            return


def _flatten(top, name, mark, count):
    status = os.stat(name, dir_fd=top, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=top)
        return count
    folder = _open(top, name, status, True)
    try:
        for inner in os.listdir(folder):
            status = os.stat(inner, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                # Moving a folder requires write permission on it.
                os.chmod(inner, 0o700, dir_fd=folder)
                os.rename(inner, "%s-%d" % (mark, count), src_dir_fd=folder, dst_dir_fd=top)
                count += 1
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)
    return count


def try_to_remove(path):
    """Call `remove_tree`; return its OSError or None."""
    try:
        remove_tree(path)
    except OSError as error:
        return error
    return None


def copy_tree(source, target, *, copy=None):
    """Copy folders, files and links into a new or empty folder; skip other types.

    `copy(name, folder, target)` copies a regular file. Raises TreeTooDeep, OSError.
    """
    copy = copy or copy_file
    for entry in walk(source, folders_first=True):
        there = os.path.join(os.fspath(target), entry.path) if entry.path else os.fspath(target)
        mode = entry.status.st_mode
        if stat.S_ISDIR(mode):
            if entry.path or not os.path.isdir(there):
                os.mkdir(there)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(entry.name, dir_fd=entry.folder), there)
        elif stat.S_ISREG(mode):
            copy(entry.name, entry.folder, there)


def copy_file(name, folder, target):
    """Copy a regular file with permissions and times."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(source, "rb") as reading, open(target, "xb") as writing:
        shutil.copyfileobj(reading, writing, 1024 * 1024)
        status = os.fstat(source)
        os.fchmod(writing.fileno(), stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
