"""Plans a merge outside the folder. On conflicts, the person's version stays."""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH108, PTH118, PTH123, B905, UP031

from __future__ import annotations

import contextlib
import json
import os
import tempfile

from jupyterhub_binder.singleuser.gitsync.commands import Failed
from jupyterhub_binder.singleuser.gitsync.trees import (
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

MAX_MERGED_BYTES = 32 * 2**20
"""Larger files are not merged by lines."""


def prepare(git, state, upstream, branch, stamp):
    """Return the plan; None if nothing changes."""
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
    """Return changed and removed files."""
    load_index(git, "mine", head)
    found = find_differences(git, "mine")
    changed = [path for path, letter in found.items() if letter != "D"]
    return changed, [path for path, letter in found.items() if letter == "D"]


def snapshot(git, changed, replaced):
    """Return the person's tree; `replaced` stands in for removed files."""
    stdin = b"".join(os.fsencode(path) + b"\0" for path in changed)
    git.run("update-index", "--add", "-z", "--stdin", stdin=stdin, index="mine")
    update_index(git, "mine", replaced)
    return git.text("write-tree", index="mine")


def find_base(git, head, upstream, known):
    """Return the common base's files.

    If upstream's history was rewritten, use the last commit brought: with the merge base, untouched
    files would never change again.
    """
    common = git.ask("merge-base", head, upstream)
    if known and git.holds("cat-file", "-e", known + "^{commit}"):
        if not git.holds("merge-base", "--is-ancestor", known, upstream):
            return read_tree(git, known)
        common = common or known
    return read_tree(git, common) if common else {}


def make_commit(git, state, head, upstream, mine, merged):
    """Commit the merge, after the person's edits."""
    own = head
    if merged == git.text("rev-parse", upstream + "^{tree}"):
        rewritten = head == state.get("upstream")
        if rewritten or git.holds("merge-base", "--is-ancestor", head, upstream):
            return upstream
    if mine != git.text("rev-parse", head + "^{tree}"):
        message = "Your changes before the update from the repository"
        own = git.text("commit-tree", mine, "-p", head, "-m", message)
    message = "Merge updates from the repository; your changes are kept"
    return git.text("commit-tree", merged, "-p", own, "-p", upstream, "-m", message)


class Merge:
    """Merges trees by file."""

    def __init__(self, git, mine, theirs, stamp):
        self.git = git
        self.mine = mine
        self.theirs = theirs
        self.stamp = stamp
        self.changes = {}
        self.aside = []
        """The person's files where upstream has a folder."""
        self.beside = {}
        """Where upstream's unmergeable files go."""
        self.notes = []

    def merge(self, base):
        """Decide about each file changed since `base`."""
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
            self.notes.append("%s: removed from the repository. Your version is kept." % path)
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
        """Return the object, and whether there was no conflict."""
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
            except Failed:  # not text
                return have, False
        if path.endswith(".ipynb") and not clean and not is_json(text):
            return have, False
        return self.git.text("hash-object", "-w", "--stdin", stdin=text), clean

    def _is_large(self, sha):
        return int(self.git.text("cat-file", "-s", sha)) > MAX_MERGED_BYTES

    def _write(self, folder, name, sha):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(self.git.run("cat-file", "blob", sha) if sha else b"")
        return path

    def _keep_beside(self, path, entry):
        name = stamped(path, "_upstream_" + self.stamp)
        self.beside[name] = entry
        self.notes.append(
            (
                "%s: you and the repository changed the same lines. Your version is kept; the "
                "repository's is in %s."
            )
            % (path, name)
        )

    def _follow_renames(self, base):
        lost = [p for p in base if p not in self.theirs and self.mine.get(p) not in (None, base[p])]
        if not lost:
            return
        for old, new in self._renames(base).items():
            if old in lost and new not in self.mine and self.mine[old][0] in REGULAR:
                self.notes = [n for n in self.notes if not n.startswith(old + ": ")]
                self._merge_text(old, new, base[old], self.mine[old], self.theirs[new])
                self.changes[old] = None
                self.notes.append("%s: the repository renamed it to %s." % (old, new))

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
        """Write the tree; its index stays as `merged`."""
        copy_index(self.git.path("mine"), self.git.path("merged"))
        update_index(self.git, "merged", self.changes)
        return self.git.text("write-tree", index="merged")


def is_json(text):
    """Test if a notebook is valid."""
    try:
        json.loads(text.decode("utf-8"))
    except ValueError:
        return False
    return True
