"""Keeps a folder of a person's home in step with a git repository: `clone` once, then `sync`.

Runs inside the person's server as `content` does, which owns when and for which folder:
standard library and git only, Python 3.8 and later. What the person wrote always stays.
`commands` runs git, `upstream` asks the host, `merge` makes a plan beside the folder, and
`move` carries it out, so that a start that is cut off anywhere is finished by the next one.
`meanwhile` is for what takes longer than a start.
"""

# It runs under any image's Python: os.path is there already.
# ruff: noqa: PTH103, PTH108, PTH112, PTH114, PTH118, PTH123, UP031

from __future__ import annotations

import contextlib
import os
import time

from jupyterhub_binder.gitsync.commands import SHA, Failed, Git, NotInStep, explained
from jupyterhub_binder.gitsync.meanwhile import Meanwhile
from jupyterhub_binder.gitsync.merge import prepare
from jupyterhub_binder.gitsync.move import carry_out, heal
from jupyterhub_binder.gitsync.state import (
    NOTES,
    read_json,
    readable,
    settle,
    write_json,
    write_notes,
)
from jupyterhub_binder.gitsync.upstream import fetch

__all__ = ["NOTES", "Meanwhile", "NotInStep", "clone", "readable", "sync"]

STALE_SECONDS = 600
"""An index.lock as old as this belongs to nobody any more."""

MARK = "jupyterhub-binder\n"
"""What a lock of ours says; it is linked into place, so that it never says less."""

_UNDER_WAY = {
    "MERGE_HEAD": "git merge --abort",
    "CHERRY_PICK_HEAD": "git cherry-pick --abort",
    "REVERT_HEAD": "git revert --abort",
    "BISECT_LOG": "git bisect reset",
    "rebase-merge": "git rebase --abort",
    "rebase-apply": "git rebase --abort",
}
"""Git's signs of work that is half done, and what gives it up."""


def clone(folder, *, url, ref, seconds, most_bytes, env=None):
    """Bring a repository into a new, empty folder; return its commit. Raises NotInStep."""
    git = Git(folder, url=url, seconds=seconds, most_bytes=most_bytes, env=env)
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
    """Make the repository of a folder."""
    git.run("init", "--quiet", "--template=")
    os.makedirs(git.path(), exist_ok=True)
    git.run("config", "remote.origin.url", git.url)
    git.run("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")


def sync(folder, *, url, ref, base="", seconds, most_bytes, env=None, now=None, late=lambda: False):
    """Bring upstream's changes into a folder that was brought earlier.

    `base` is the commit that it was brought at, where the folder itself does not remember. Where
    it is `late` when all has been fetched, somebody is at work in the folder already: what was
    fetched waits for the next time.
    Returns the commit that it is in step with, and what the person should know, as sentences.
    Raises NotInStep, with the folder as it was.
    """
    git = Git(folder, url=url, seconds=seconds, most_bytes=most_bytes, env=env)
    stamp = time.strftime("%Y%m%d%H%M%S", now or time.localtime())
    with explained():
        state = adopt(git, ref, base)
        check(git, state)
        upstream, branch = fetch(git, ref)
        if late():
            if upstream == state["upstream"]:
                return upstream, []
            raise NotInStep(
                "what is new came too late for this start. The next one puts it in place"
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
    """Return what the folder remembers; one that was copied once is made ready to be merged."""
    if os.path.lexists(git.dir) and (os.path.islink(git.dir) or not os.path.isdir(git.dir)):
        raise NotInStep("its .git is not a folder, so somebody else takes care of it")
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
    """Put a copy that is on no branch, as images have it, on one; return its name."""
    if head != base:
        raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")
    for branch in ("main", "main-binder"):
        if git.ask("rev-parse", "--verify", "--quiet", "refs/heads/" + branch) in ("", head):
            git.run("update-ref", "refs/heads/" + branch, head)
            git.run("symbolic-ref", "HEAD", "refs/heads/" + branch)
            return branch
    raise NotInStep("it is on no branch. In a terminal there: git switch -c NAME")


def adopt_files(git, ref, base):
    """Make a repository of files that came without one."""
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
    """Raise NotInStep where the person is at work with git in the folder."""
    for name, command in _UNDER_WAY.items():
        if os.path.lexists(os.path.join(git.dir, name)):
            what = command.split()[1]
            raise NotInStep(
                "a git %s is under way there. Finish it, or give it up: %s" % (what, command)
            )
    branch = git.ask("symbolic-ref", "--short", "--quiet", "HEAD")
    if branch != state["branch"]:
        raise NotInStep(
            "it is on %s, not on the branch %r that is kept in step. In a terminal there: "
            "git switch %s"
            % (
                "the branch %r" % branch if branch else "no branch",
                state["branch"],
                state["branch"],
            )
        )


@contextlib.contextmanager
def held(git):
    """Hold git's own lock, so that nobody else's git changes the folder meanwhile."""
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
            "git is at work there, or was cut off. Start the server again in ten minutes"
        ) from None
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)


def is_stale(lock):
    """Say whether a lock is one that a start of ours left, or as old as nothing takes."""
    with contextlib.suppress(OSError), open(lock, "rb") as file:
        mine = file.read(100) == MARK.encode("ascii")
        return mine or time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
    return False
