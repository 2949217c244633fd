"""Keeps a folder in a home in sync with a Git repository.

Runs in the person's server with Git and Python 3.8 or later. A person's changes are never lost.
"""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: PTH103, PTH108, PTH112, PTH114, PTH118, PTH123, UP031

from __future__ import annotations

import contextlib
import os
import time

from jupyterhub_binder.singleuser.gitsync.commands import SHA, Failed, HomeGit, NotInStep, explained
from jupyterhub_binder.singleuser.gitsync.meanwhile import Meanwhile
from jupyterhub_binder.singleuser.gitsync.merge import prepare
from jupyterhub_binder.singleuser.gitsync.move import carry_out, heal
from jupyterhub_binder.singleuser.gitsync.state import (
    NOTES,
    read_json,
    readable,
    settle,
    write_json,
    write_notes,
)
from jupyterhub_binder.singleuser.gitsync.upstream import fetch

__all__ = ["NOTES", "Meanwhile", "NotInStep", "clone", "readable", "sync"]

STALE_SECONDS = 600
"""An older index.lock has no owner."""

MARK = "jupyterhub-binder\n"
"""Content of our locks, which are linked into place, so never partial."""

_UNDER_WAY = {
    "MERGE_HEAD": "git merge --abort",
    "CHERRY_PICK_HEAD": "git cherry-pick --abort",
    "REVERT_HEAD": "git revert --abort",
    "BISECT_LOG": "git bisect reset",
    "rebase-merge": "git rebase --abort",
    "rebase-apply": "git rebase --abort",
}
"""Files of unfinished operations, and how to abort."""


def clone(folder, *, url, ref, seconds, max_bytes, env=None):
    """Clone into a new, empty folder; return the commit. Raises NotInStep."""
    git = HomeGit(folder, url=url, seconds=seconds, max_bytes=max_bytes, env=env)
    with explained():
        begin(git)
        upstream, branch = fetch(git, ref, "--depth=1")
        git.run("update-ref", "refs/heads/" + branch, upstream)
        git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
        git.run("read-tree", upstream)
        git.run("checkout-index", "--all", "--force", "--quiet", limited=True)
        git.run("update-index", "-q", "--refresh")
        settle(git, upstream, branch)
    return upstream


def begin(git):
    """Make the repository."""
    git.run("init", "--quiet", "--template=")
    os.makedirs(git.path(), exist_ok=True)
    git.run("config", "remote.origin.url", git.url)
    git.run("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")


def sync(folder, *, url, ref, base="", seconds, max_bytes, env=None, now=None, late=lambda: False):
    """Merge upstream's changes; return the commit and messages for the person.

    `base` is used if the folder does not record its commit. If `late` returns True after the fetch,
    the person may be working in the folder, so the merge waits for the next start. Raises NotInStep
    and leaves the folder unchanged.
    """
    git = HomeGit(folder, url=url, seconds=seconds, max_bytes=max_bytes, env=env)
    stamp = time.strftime("%Y%m%d%H%M%S", now or time.localtime())
    with explained():
        state = adopt(git, ref, base)
        check(git, state)
        upstream, branch = fetch(git, ref)
        if late():
            if upstream == state["upstream"]:
                return upstream, []
            raise NotInStep(
                "the updates arrived too late for this start. The next start applies them"
            )
        with held(git):
            heal(git)
            plan = prepare(git, state, upstream, branch, stamp)
            notes = carry_out(git, plan) if plan else []
        if not plan:
            settle(git, upstream, state["branch"], branch)
    if notes:
        write_notes(git, notes)
    return upstream, notes


def adopt(git, ref, base):
    """Return the state; prepare a copied folder."""
    if os.path.lexists(git.dir) and (os.path.islink(git.dir) or not os.path.isdir(git.dir)):
        raise NotInStep("its .git is not a folder, so it is managed by other means")
    known = read_json(git.path("state.json"))
    if known.get("branch"):
        return known
    head = git.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not head:
        return adopt_files(git, ref, base)
    os.makedirs(git.path(), exist_ok=True)
    branch = git.ask("symbolic-ref", "--short", "--quiet", "HEAD")
    if not branch:
        branch = attach(git, head, base)
    there = base and git.holds("merge-base", "--is-ancestor", base, head)
    state = {"upstream": base if there else "", "branch": branch}
    write_json(git.path("state.json"), state)
    return state


def attach(git, head, base):
    """Put a copy on a branch; return its name."""
    if head != base:
        raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")
    for branch in ("main", "main-binder"):
        if git.ask("rev-parse", "--verify", "--quiet", "refs/heads/" + branch) in ("", head):
            git.run("update-ref", "refs/heads/" + branch, head)
            git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
            return branch
    raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")


def adopt_files(git, ref, base):
    """Make a repository from files."""
    begin(git)
    upstream, branch = fetch(git, ref, "--depth=1")
    start = upstream
    if SHA.fullmatch(base) and base != upstream:
        with contextlib.suppress(Failed):
            git.run("fetch", "--quiet", "--no-tags", "--depth=1", "--", git.url, base, limited=True)
            start = base
    git.run("update-ref", "refs/heads/" + branch, start)
    git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
    git.run("read-tree", start)
    settle(git, start, branch)
    return read_json(git.path("state.json"))


def check(git, state):
    """Raise NotInStep during another Git operation."""
    for name, command in _UNDER_WAY.items():
        if os.path.lexists(os.path.join(git.dir, name)):
            what = command.split()[1]
            raise NotInStep(
                "a git %s is in progress there. Finish it, or abort it: %s" % (what, command)
            )
    branch = git.ask("symbolic-ref", "--short", "--quiet", "HEAD")
    if branch != state["branch"]:
        raise NotInStep(
            "it is on %s, not on the branch %r, which is the one that is updated. In a terminal "
            "there: git switch %s"
            % (
                "the branch %r" % branch if branch else "no branch",
                state["branch"],
                state["branch"],
            )
        )


@contextlib.contextmanager
def held(git):
    """Hold Git's own lock."""
    lock, marked = os.path.join(git.dir, "index.lock"), git.path("lock")
    with open(marked, "w", encoding="ascii") as file:
        file.write(MARK)
    if os.path.lexists(lock) and is_stale(lock):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)
    try:
        os.link(marked, lock)
    except FileExistsError:
        raise NotInStep(
            "git is running there, or was interrupted. Start the server again in ten minutes"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)


def is_stale(lock):
    """Recognise our own or a very old lock."""
    with contextlib.suppress(OSError), open(lock, "rb") as file:
        mine = file.read(100) == MARK.encode("ascii")
        return mine or time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
    return False
