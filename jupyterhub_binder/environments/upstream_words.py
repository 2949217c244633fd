"""Says in words what is newer: ``3 new commits · requirements.txt: +2 -1 · rebuild about 40 s``."""

from __future__ import annotations

from collections.abc import Iterator

from jupyterhub_binder.model import Environment, Hold
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.upstream import ChangedFile, Comparison, Newer

_MAX_FILES = 3


def describe(newer: Newer) -> Message:
    """Return one line."""
    return Message.joined(*_parts(newer), by=" · ")


def describe_hold(environment: Environment) -> Message:
    """Say why an environment is not updated by itself for now."""
    if environment.held is Hold.ROLLBACK and environment.current:
        return Message(
            "Updates are paused because you chose build %(number)s.",
            number=environment.current.number,
        )
    paused = Message("Updates are paused because two builds in a row failed.")
    latest = environment.latest
    reason = latest.build.reason if latest else None
    return Message.joined(paused, reason.message) if reason else paused


def _parts(newer: Newer) -> Iterator[Message]:
    change = newer.change
    yield _count(change.comparison if change else Comparison())
    if change is None:
        return
    yield from _recipe(change.comparison.recipe)
    if not change.needs_build:
        files_only = not change.comparison.recipe and change.comparison.count
        if files_only:
            yield Message("only files changed, no build needed")
        else:
            yield Message("its image exists, no build needed")
    elif newer.expected_seconds:
        yield Message("rebuild about %(time)s", time=about(newer.expected_seconds))
    else:
        yield Message("needs a build")


def _count(of: Comparison) -> Message:
    if of.more:
        return Message("more than %(num)s new commits", num=of.count)
    if of.rewritten and of.count:
        return Message.counted(
            "1 other commit, because the history was rewritten",
            "%(num)s other commits, because the history was rewritten",
            of.count,
        )
    if of.count:
        return Message.counted("1 new commit", "%(num)s new commits", of.count)
    return Message("newer version available")


def _recipe(files: tuple[ChangedFile, ...]) -> Iterator[Message]:
    for file in files[:_MAX_FILES]:
        if file.added is None or file.removed is None:
            yield Message("%(path)s changed", path=file.path)
        else:
            yield Message(
                "%(path)s: +%(added)s \N{MINUS SIGN}%(removed)s",
                path=file.path,
                added=file.added,
                removed=file.removed,
            )
    if len(files) > _MAX_FILES:
        yield Message.counted("1 more file", "%(num)s more files", len(files) - _MAX_FILES)


def about(seconds: float) -> Message:
    """Return a rough duration: ``40 s``, ``3 min``."""
    if seconds < 90:
        return Message("%(count)s s", count=_rounded(seconds))
    return Message("%(count)s min", count=round(seconds / 60))


def _rounded(seconds: float) -> int:
    return 10 * round(seconds / 10) if seconds > 20 else max(1, round(seconds))
