"""Git trees and indexes, file by file.

Our indexes are in `.git/jupyterhub-binder`; the person's index is only copied.
"""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH108, PTH118, PTH122, B905, UP031

from __future__ import annotations

import contextlib
import os
import shutil

from jupyterhub_binder.singleuser.gitsync.commands import Failed

GITLINK = "160000"
REGULAR = ("100644", "100755")


def read_tree(git, tree):
    """Return path to (mode, object)."""
    files = {}
    for line in git.words("ls-tree", "-r", "-z", "--full-tree", tree):
        facts, _, path = line.partition("\t")
        mode, _, sha = facts.split(" ")[:3]
        files[path] = (mode, sha)
    return files


def load_index(git, index, tree):
    """Load a tree; keep cached file stats."""
    with contextlib.suppress(FileNotFoundError):
        copy_index(os.path.join(git.dir, "index"), git.path(index))
    try:
        git.run("read-tree", "--reset", tree, index=index)
    except Failed:  # a broken or missing index
        with contextlib.suppress(FileNotFoundError):
            os.unlink(git.path(index))
        git.run("read-tree", tree, index=index)
    see_everything(git, index)
    with contextlib.suppress(Failed):
        git.run("update-index", "-q", "--refresh", index=index)


def copy_index(source, target):
    """Copy the mtime, too, which Git compares with the files'."""
    shutil.copy2(source, target)


def see_everything(git, index):
    """Unset assume-unchanged and skip-worktree: such files may be edited."""
    words = git.words("ls-files", "-v", "-z", index=index)
    hidden = [word[2:] for word in words if word[0] == "S" or word[0].islower()]
    stdin = b"".join(os.fsencode(path) + b"\0" for path in hidden)
    for option in ("--no-assume-unchanged", "--no-skip-worktree") if hidden else ():
        git.run("update-index", option, "-z", "--stdin", stdin=stdin, index=index)


def find_differences(git, index):
    """Return changed paths with Git's status letter."""
    words = git.words(
        *("diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=all"),
        index=index,
    )
    return dict(zip(words[1::2], words[::2]))


def update_index(git, index, entries):
    """Set entries; None removes one."""
    order = sorted(entries.items(), key=lambda item: item[1] is not None)
    lines = [
        ("%s %s\t%s\0" % (*(entry or ("0", "0" * 40)), path)).encode("utf-8", "surrogateescape")
        for path, entry in order
    ]
    if lines:
        git.run(
            *("update-index", "--replace", "-z", "--index-info"), stdin=b"".join(lines), index=index
        )


def parents(path):
    """Yield the parent folders, outermost first."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        yield "/".join(parts[:number])


def stamped(path, stamp):
    """Add a stamp before the extension."""
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    return os.path.join(folder, stem + stamp + extension)
