"""Finds and fetches a ref's current commit."""

# This runs under any image's Python, which has already loaded os.path.
# ruff: noqa: FURB188, PTH108, PTH118, SIM102, UP031

from __future__ import annotations

import contextlib
import os
import re
import time

from jupyterhub_binder.singleuser.gitsync.commands import SHA, NotInStep

STALE_SECONDS = 600
"""A pack that has not grown for this long is abandoned."""

FETCHED = "refs/jupyterhub-binder/fetched"


def fetch(git, ref, *options):
    """Return a ref's commit and tracking branch."""
    sha, full, branch = find(git, ref)
    if sha == git.ask("rev-parse", "--verify", "--quiet", FETCHED + "^{commit}"):
        return sha, branch
    sweep(git)
    arguments = ("--quiet", "--no-tags", "--no-recurse-submodules", *options, "--", git.url)
    git.run("fetch", *arguments, "+%s:%s" % (full or sha, FETCHED), limited=True)
    return git.text("rev-parse", "--verify", FETCHED + "^{commit}"), branch


def sweep(git):
    """Remove interrupted fetches; Git waits for weeks."""
    packs = os.path.join(git.dir, "objects", "pack")
    with contextlib.suppress(OSError):
        for entry in os.scandir(packs):
            if entry.name.startswith("tmp_") and entry.is_file(follow_symlinks=False):
                if time.time() - entry.stat().st_mtime > STALE_SECONDS:
                    os.unlink(entry.path)


def find(git, ref):
    """Ask for a ref's commit or tag, full name and branch."""
    if SHA.fullmatch(ref):
        return ref, "", "main"
    if not ref or ref.startswith("-") or re.search(r"[\x00-\x20~^:?*\[\\]|\.\.", ref):
        raise NotInStep("%r is not the name of a branch or a tag" % ref)
    names = ["refs/heads/" + ref, "refs/tags/" + ref]
    if ref.startswith("refs/"):
        names.append(ref)  # such as a pull request
    out = git.text("ls-remote", "--symref", "--", git.url, "HEAD", *names)
    found = {}
    for line in out.splitlines():
        value, _, name = line.partition("\t")
        key = name + "@" if value.startswith("ref: ") else name
        found[key] = value[5:] if value.startswith("ref: ") else value
    if ref in ("HEAD", "@") and "HEAD" in found:
        head = found.get("HEAD@", "HEAD")
        return found["HEAD"], head, branch_of(head)
    for name in names:
        if name in found:
            return found[name], name, branch_of(name)
    raise NotInStep("the repository no longer has a branch or tag %r" % ref)


def branch_of(name):
    """Return a ref's tracking branch."""
    return name[len("refs/heads/") :] if name.startswith("refs/heads/") else "main"
