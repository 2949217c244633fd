"""Git's trees and indexes of a person's folder: read, compared and written, file by file.

An index of ours is a file of the folder's `.git/jupyterhub-binder`; the person's own is only
copied. A file is its path and a pair of mode and object.
"""

# It runs under any image's Python: os.path is there already.
# ruff: noqa: PTH108, PTH118, PTH122, B905, UP031

from __future__ import annotations

import contextlib
import os
import shutil

from jupyterhub_binder.gitsync.commands import Failed

GITLINK = "160000"
REGULAR = ("100644", "100755")


def read_tree(git, tree):
    """Return a tree's files: path to (mode, object)."""
    files = {}
    for line in git.words("ls-tree", "-r", "-z", "--full-tree", tree):
        facts, _, path = line.partition("\t")
        mode, _, sha = facts.split(" ")[:3]
        files[path] = (mode, sha)
    return files


def load_index(git, index, tree):
    """Make an index of a tree; what git knows already of the files is taken over."""
    with contextlib.suppress(FileNotFoundError):
        copy_index(os.path.join(git.dir, "index"), git.path(index))
    try:
        git.run("read-tree", "--reset", tree, index=index)
    except Failed:  # an index that is broken, or none's
        with contextlib.suppress(FileNotFoundError):
            os.unlink(git.path(index))
        git.run("read-tree", tree, index=index)
    see_everything(git, index)
    with contextlib.suppress(Failed):
        git.run("update-index", "-q", "--refresh", index=index)


def copy_index(source, target):
    """Copy an index with its time, by which git tells which files it must read again."""
    shutil.copy2(source, target)


def see_everything(git, index):
    """Look at the files, too, that the person told git not to look at: they may be edited."""
    words = git.words("ls-files", "-v", "-z", index=index)
    hidden = [word[2:] for word in words if word[0] == "S" or word[0].islower()]
    stdin = b"".join(os.fsencode(path) + b"\0" for path in hidden)
    for option in ("--no-assume-unchanged", "--no-skip-worktree") if hidden else ():
        git.run("update-index", option, "-z", "--stdin", stdin=stdin, index=index)


def find_differences(git, index):
    """Return the paths whose files differ from an index, with git's letter for how."""
    words = git.words(
        *("diff-files", "-z", "--name-status", "--no-renames", "--ignore-submodules=all"),
        index=index,
    )
    return dict(zip(words[1::2], words[::2]))


def update_index(git, index, entries):
    """Set entries of an index; None removes one."""
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
    """Yield the folders that a path lies in, the outermost first."""
    parts = path.split("/")
    for number in range(1, len(parts)):
        yield "/".join(parts[:number])


def stamped(path, stamp):
    """Return a path with a stamp before its extension."""
    folder, name = os.path.split(path)
    stem, extension = os.path.splitext(name)
    return os.path.join(folder, stem + stamp + extension)
