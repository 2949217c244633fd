"""Carries out a plan of `merge`. The plan is saved first, so that the next start can finish it."""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH102, PTH104, PTH105, PTH106, PTH108, PTH112, PTH113, PTH114, PTH115, PTH118
# ruff: noqa: UP031

from __future__ import annotations

import contextlib
import filecmp
import os

from jupyterhub_binder.singleuser.gitsync.commands import OURS, Failed
from jupyterhub_binder.singleuser.gitsync.state import (
    read_json,
    readable,
    settle,
    write_json,
    write_notes,
)
from jupyterhub_binder.singleuser.gitsync.trees import (
    GITLINK,
    find_differences,
    load_index,
    parents,
    read_tree,
    stamped,
    update_index,
)
from jupyterhub_binder.utils.trees import try_to_remove


def carry_out(git, plan):
    """Save and carry out the plan; return messages."""
    mover = Mover(git, plan)
    mover.prepare()
    write_json(git.path("plan.json"), plan)
    aside = mover.move()
    if plan["commit"]:
        finish(git, plan)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(git.path("plan.json"))
    return [readable(note) for note in plan["notes"] + aside]


def heal(git):
    """Finish an interrupted plan."""
    plan = read_json(git.path("plan.json"))
    if not plan:
        return
    head = git.text("rev-parse", "--verify", "HEAD^{commit}")
    if head in (plan["head"], plan["commit"]):
        load_index(git, "mine", plan["mine"])
        load_index(git, "merged", plan["merged"])
        write_notes(git, carry_out(git, plan))
    else:  # the person has committed: their commit includes the half-done merge
        os.unlink(git.path("plan.json"))


def finish(git, plan):
    """Record the merge in the person's Git."""
    ref = "refs/heads/" + plan["branch"]
    if git.text("rev-parse", "--verify", ref) != plan["commit"]:
        git.run(
            *("update-ref", "-m", "jupyterhub-binder: merge"), ref, plan["commit"], plan["head"]
        )
    with contextlib.suppress(Failed):
        git.run("update-index", "-q", "--refresh", index="merged")
    os.replace(git.path("merged"), os.path.join(git.dir, "index"))
    settle(git, plan["upstream"], plan["branch"], plan["theirs"])


class Mover:
    """Moves whole files in, and conflicting ones aside."""

    def __init__(self, git, plan):
        self.git = git
        self.folder = git.folder
        self.plan = plan
        self.stage = git.path("stage")
        self.mine = read_tree(git, plan["mine"])
        self.merged = read_tree(git, plan["merged"])
        self.restored = set(plan["restored"])
        self.paths = self.restored | {
            path for path in {*self.mine, *self.merged} if self._differs(path)
        }
        self.notes = []

    def _differs(self, path):
        have, new = self.mine.get(path), self.merged.get(path)
        return have != new and GITLINK not in {entry[0] for entry in (have, new) if entry}

    def prepare(self):
        """Stage the new files. A failure here has changed nothing."""
        try_to_remove(self.stage)
        self.bring_out("merged", [path for path in self.paths if path in self.merged])
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.git.path("beside"))
        update_index(self.git, "beside", self.plan["beside"])
        self.bring_out("beside", self.plan["beside"])

    def move(self):
        """Carry out the plan; return what was put aside. Idempotent."""
        edited = find_differences(self.git, "mine")
        for path in sorted(self.paths - self.merged.keys(), reverse=True):
            if path not in edited:
                self.drop(path)
        for path in sorted(self.paths & self.merged.keys()):
            tracked = path in self.mine and path not in self.restored
            if not (tracked and edited.get(path, "D") != "D"):
                self.put(path, known=tracked and path not in edited)
            # Otherwise another server changed it just now. It stays.
        self.put_beside()
        try_to_remove(self.stage)
        return self.notes

    def at(self, path):
        """Return the full path."""
        return os.path.join(self.folder, path)

    def bring_out(self, index, paths):
        """Check files out."""
        prefix = os.path.join(OURS, "stage") + os.sep
        stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
        arguments = ("checkout-index", "-q", "-f", "-z", "--stdin", "--prefix=" + prefix)
        self.git.run(*arguments, stdin=stdin, index=index, limited=True)

    def drop(self, path):
        """Remove a file and emptied folders."""
        if path in self.plan["aside"]:
            self.put_aside(path)
            return
        os.unlink(self.at(path))
        for folder in reversed(list(parents(path))):
            try:
                os.rmdir(self.at(folder))
            except OSError:
                break

    def put(self, path, *, known):
        """Move a staged file in."""
        staged, full = os.path.join(self.stage, path), self.at(path)
        for folder in parents(path):
            self.make_folder(folder)
        if os.path.lexists(full) and not known:
            if same(staged, full):
                return
            self.put_aside(path)
        elif os.path.isdir(full) and not os.path.islink(full):
            self.put_aside(path)
        os.replace(staged, full)

    def make_folder(self, path):
        """Make a folder; put a file aside."""
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            return
        if os.path.lexists(full):
            self.put_aside(path)
        os.mkdir(full)

    def put_aside(self, path):
        """Rename a file of the person."""
        if os.path.isdir(self.at(path)) and not os.path.islink(self.at(path)):
            with contextlib.suppress(OSError):
                os.rmdir(self.at(path))
                return
        name = self.free(stamped(path, "_" + self.plan["stamp"]))
        os.rename(self.at(path), self.at(name))
        self.notes.append(
            "%s: the repository now has a file of this name. Yours was renamed to %s."
            % (path, name)
        )

    def put_beside(self):
        """Put upstream's unmerged versions beside."""
        for path in self.plan["beside"]:
            if not os.path.lexists(self.at(path)):
                for folder in parents(path):
                    self.make_folder(folder)
                os.replace(os.path.join(self.stage, path), self.at(path))

    def free(self, path):
        """Return an unused path."""
        name, number = path, 2
        while os.path.lexists(self.at(name)):
            name, number = stamped(path, "-%d" % number), number + 1
        return name


def same(one, other):
    """Compare two files or links."""
    if os.path.islink(one) or os.path.islink(other):
        both = os.path.islink(one) and os.path.islink(other)
        return both and os.readlink(one) == os.readlink(other)
    return os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)
