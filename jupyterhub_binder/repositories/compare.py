"""Finds what lies between two commits, in a mirror."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from jupyterhub_binder.model.upstream import ChangedFile, Comparison, NewCommit
from jupyterhub_binder.repositories.mirror import MAX_COMMITS, Mirror, literal
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.text import storable

MAX_SHOWN_COMMITS = 30
MAX_SHOWN_FILES = 50
_MAX_DIFF_LINES = 200
_MAX_LINE = 400
_LATEST_SECONDS = 253_370_764_800


async def compare(mirror: Mirror, old: str, new: str, recipe_paths: Sequence[str]) -> Comparison:
    """Compare two commits. Raises ProcessFailed and the host's errors."""
    await mirror.ensure_commits(old, new)
    count = int(await mirror.run("rev-list", "--count", f"{old}..{new}"))
    related = await _is_ancestor(mirror, old, new)
    files = await _changed_files(mirror, old, new)
    paths = [path for path in recipe_paths if path in files]
    return Comparison(
        count=min(count, MAX_COMMITS),
        more=not related and count > MAX_COMMITS,
        rewritten=not related and count <= MAX_COMMITS,
        commits=await _list_commits(mirror, old, new),
        file_count=len(files),
        files=tuple(sorted(files)[:MAX_SHOWN_FILES]),
        recipe=await _count_lines(mirror, old, new, paths),
        diff=await _diff(mirror, old, new, paths),
    )


async def _is_ancestor(mirror: Mirror, old: str, new: str) -> bool:
    try:
        await mirror.run("merge-base", "--is-ancestor", old, new)
    except ProcessFailed:
        return False
    return True


async def _list_commits(mirror: Mirror, old: str, new: str) -> tuple[NewCommit, ...]:
    out = await mirror.run(
        *("log", "--no-show-signature", f"--max-count={MAX_SHOWN_COMMITS}", "-z"),
        *("--format=%H%n%an%n%ct%n%s", f"{old}..{new}"),
    )
    return tuple(_read_commit(text) for text in out.split("\0") if text.count("\n") >= 3)


def _read_commit(text: str) -> NewCommit:
    sha, author, time, subject = text.split("\n", 3)
    seconds = int(time) if re.fullmatch(r"[0-9]{1,11}", time) else 0
    when = datetime.fromtimestamp(seconds if seconds < _LATEST_SECONDS else 0, UTC)
    return NewCommit(sha, _line(author, 100), _line(subject, 200), when)


def _line(text: str, most: int) -> str:
    # Only the beginning is taken apart: a message may have millions of words.
    return storable(" ".join(text[: 4 * most].split()))[:most]


_DIFF = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")


async def _changed_files(mirror: Mirror, old: str, new: str) -> frozenset[str]:
    out = await mirror.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)
    return frozenset(storable(path) for path in out.split("\0") if path)


async def _count_lines(
    mirror: Mirror, old: str, new: str, paths: Sequence[str]
) -> tuple[ChangedFile, ...]:
    if not paths:
        return ()
    out = await mirror.run(
        *("diff", "--numstat", "-z", *_DIFF, old, new, "--", *literal(paths)), ask_host=True
    )
    rows = (row.split("\t", 2) for row in out.split("\0") if row.count("\t") >= 2)
    return tuple(
        ChangedFile(storable(path), _number(added), _number(removed))
        for added, removed, path in rows
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


async def _diff(mirror: Mirror, old: str, new: str, paths: Sequence[str]) -> tuple[str, ...]:
    if not paths:
        return ()
    out = await mirror.run(
        *("diff", "--unified=2", *_DIFF, old, new, "--", *literal(paths)), ask_host=True
    )
    # A file of a hundred MB has millions of lines, so only the first are taken apart.
    first = out.split("\n", _MAX_DIFF_LINES)[:_MAX_DIFF_LINES]
    lines = [storable(line[:_MAX_LINE].rstrip("\r")) for line in first if line]
    return tuple(line for line in lines if not line.startswith(("index ", "diff --git ")))
