"""The plan of a merge: what becomes of every file that upstream or the person changed.

Works on trees, beside the folder, which stays as it is. Where both changed the same, the
person's stays. What the plan says is carried out by `move`.
"""

# It runs under any image's Python: os.path is there already.
# ruff: noqa: PTH108, PTH118, PTH123, B905, UP031

from __future__ import annotations

import contextlib
import json
import os
import tempfile

from jupyterhub_binder.gitsync.commands import Failed
from jupyterhub_binder.gitsync.trees import (
    GITLINK,
    REGULAR,
    copy_index,
    find_differences,
    load_index,
    parents,
    read_tree,
    stamped,
    update_index,
)

MOST_MERGED_BYTES = 32 * 2**20
"""A file larger than this is merged as a whole."""


def prepare(git, state, upstream, branch, stamp):
    """Return what is to be done to the folder, with all that it needs in git; None for nothing."""
    head = git.text("rev-parse", "--verify", "HEAD^{commit}")
    theirs = read_tree(git, upstream)
    changed, gone = find_edits(git, head)
    restored = [path for path in gone if path in theirs]
    news = not git.holds("merge-base", "--is-ancestor", upstream, head)
    if not news and not restored:
        return None
    mine = snapshot(git, changed, {path: theirs.get(path) for path in gone})
    merge = Merge(git, read_tree(git, mine), theirs, stamp)
    if news:
        merge.merge(find_base(git, head, upstream, state.get("upstream", "")))
    merged = merge.write()
    commit = make_commit(git, state, head, upstream, mine, merged) if news else ""
    return {
        "head": head,
        "commit": commit,
        "mine": mine,
        "merged": merged,
        "restored": restored,
        "aside": merge.aside,
        "beside": merge.beside,
        "notes": merge.notes,
        "upstream": upstream,
        "branch": state["branch"],
        "theirs": branch,
        "stamp": stamp,
    }


def find_edits(git, head):
    """Return the tracked files that the person changed, and those that are gone."""
    load_index(git, "mine", head)
    found = find_differences(git, "mine")
    changed = [path for path, letter in found.items() if letter != "D"]
    return changed, [path for path, letter in found.items() if letter == "D"]


def snapshot(git, changed, replaced):
    """Return the tree of what the person has, `replaced` being put in for what is gone."""
    stdin = b"".join(os.fsencode(path) + b"\0" for path in changed)
    git.run("update-index", "--add", "-z", "--stdin", stdin=stdin, index="mine")
    update_index(git, "mine", replaced)
    return git.text("write-tree", index="mine")


def find_base(git, head, upstream, known):
    """Return the files of the commit from which both came, as far as anybody remembers.

    Where upstream's history was rewritten, what was brought last is better than what the two
    histories still have in common: else files that nobody touched would never change again.
    """
    common = git.ask("merge-base", head, upstream)
    if known and git.holds("cat-file", "-e", known + "^{commit}"):
        if not git.holds("merge-base", "--is-ancestor", known, upstream):
            return read_tree(git, known)
        common = common or known
    return read_tree(git, common) if common else {}


def make_commit(git, state, head, upstream, mine, merged):
    """Return the commit of a merge; the person's edits get one of their own before it."""
    own = head
    if merged == git.text("rev-parse", upstream + "^{tree}"):
        rewritten = head == state.get("upstream")
        if rewritten or git.holds("merge-base", "--is-ancestor", head, upstream):
            return upstream
    if mine != git.text("rev-parse", head + "^{tree}"):
        message = "Your changes, before new ones of the repository came"
        own = git.text("commit-tree", mine, "-p", head, "-m", message)
    message = "Merge what is new in the repository; what you changed stays"
    return git.text("commit-tree", merged, "-p", own, "-p", upstream, "-m", message)


class Merge:
    """Merges two trees, file by file; where both changed the same, the person's stays."""

    def __init__(self, git, mine, theirs, stamp):
        self.git = git
        self.mine = mine
        self.theirs = theirs
        self.stamp = stamp
        self.changes = {}
        self.aside = []
        """Files of the person in whose place upstream has a folder."""
        self.beside = {}
        """Where upstream's version of a file goes that could not be merged."""
        self.notes = []

    def merge(self, base):
        """Find out what becomes of every file that upstream changed since `base`."""
        for path in sorted(set(base) | set(self.theirs)):
            was, new = base.get(path), self.theirs.get(path)
            if was != new and self.mine.get(path) != new:
                self._merge_one(path, was, self.mine.get(path), new)
        self._follow_renames(base)
        self._make_way()

    def _merge_one(self, path, was, have, new):
        if have == was or (have is None and new is not None):
            self.changes[path] = new
        elif have is None or new is None:
            self.notes.append("%s: the repository has it no more. Yours stays." % path)
        elif have[0] in REGULAR and new[0] in REGULAR:
            self._merge_text(path, path, was, have, new)
        elif GITLINK not in (have[0], new[0]):
            self._keep_beside(path, new)

    def _merge_text(self, path, into, was, have, new):
        sha, clean = self.merge_blobs(path, was[1] if was else None, have[1], new[1])
        mode = new[0] if was and have[0] == was[0] else have[0]
        self.changes[into] = (mode, sha)
        if not clean:
            self._keep_beside(into, new)

    def merge_blobs(self, path, was, have, new):
        """Return the object of both versions in one, and whether they did not collide."""
        if new in (was, have):
            return have, True
        if have == was:
            return new, True
        if any(self._is_large(sha) for sha in (was, have, new) if sha):
            return have, False
        with tempfile.TemporaryDirectory(dir=self.git.path()) as folder:
            files = [
                self._write(folder, name, sha)
                for name, sha in (("mine", have), ("base", was), ("theirs", new))
            ]
            try:
                self.git.run("merge-file", "-p", *files)
                clean = True
            except Failed:
                clean = False
            try:
                text = self.git.run("merge-file", "--ours", "-p", *files)
            except Failed:  # not a text
                return have, False
        if path.endswith(".ipynb") and not clean and not is_json(text):
            return have, False
        return self.git.text("hash-object", "-w", "--stdin", stdin=text), clean

    def _is_large(self, sha):
        return int(self.git.text("cat-file", "-s", sha)) > MOST_MERGED_BYTES

    def _write(self, folder, name, sha):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(self.git.run("cat-file", "blob", sha) if sha else b"")
        return path

    def _keep_beside(self, path, entry):
        name = stamped(path, "_upstream_" + self.stamp)
        self.beside[name] = entry
        self.notes.append(
            "%s: you and the repository changed the same. Yours stays; the repository's is in %s."
            % (path, name)
        )

    def _follow_renames(self, base):
        """Let edits follow a file that upstream gave another name."""
        lost = [p for p in base if p not in self.theirs and self.mine.get(p) not in (None, base[p])]
        if not lost:
            return
        for old, new in self._renames(base).items():
            if old in lost and new not in self.mine and self.mine[old][0] in REGULAR:
                self.notes = [n for n in self.notes if not n.startswith(old + ": ")]
                self._merge_text(old, new, base[old], self.mine[old], self.theirs[new])
                self.changes[old] = None
                self.notes.append("%s: the repository calls it %s now." % (old, new))

    def _renames(self, base):
        trees = [self._tree_of(files) for files in (base, self.theirs)]
        words = self.git.words(
            "diff-tree", "-r", "-z", "-M", "--diff-filter=R", "--name-status", *trees
        )
        return dict(zip(words[1::3], words[2::3]))

    def _tree_of(self, files):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.git.path("tree"))
        update_index(self.git, "tree", files)
        return self.git.text("write-tree", "--missing-ok", index="tree")

    def _make_way(self):
        """Settle what cannot be both a file and a folder: what the person has stays."""
        final = dict(self.mine)
        for path, entry in self.changes.items():
            if entry is None:
                final.pop(path, None)
            else:
                final[path] = entry
        folders = {folder for path in final for folder in parents(path)}
        for path in sorted(path for path in final if path in folders):
            if path in self.changes:
                del self.changes[path]
                self._keep_beside(path, self.theirs[path])
            else:
                self.changes[path] = None
                self.aside.append(path)

    def write(self):
        """Return the merged tree; its index stays, as `merged`."""
        copy_index(self.git.path("mine"), self.git.path("merged"))
        update_index(self.git, "merged", self.changes)
        return self.git.text("write-tree", index="merged")


def is_json(text):
    """Say whether a notebook can still be read."""
    try:
        json.loads(text.decode("utf-8"))
    except ValueError:
        return False
    return True
