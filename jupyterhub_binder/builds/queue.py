"""Order, positions and expected durations. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import median

from jupyterhub_binder.model import Build

Of = Callable[[str], int]
"""A number per user."""


def in_order(
    waiting: Sequence[Build], running: Collection[Build], *, share_of: Of = lambda _: 1
) -> list[Build]:
    """Return waiting builds in order of start.

    Fair queueing: users with the fewest earlier builds first, then the longest wait. A share of 2
    gives twice as many turns.
    """
    before = Counter(build.created_by for build in running)
    turns = []
    for build in sorted(waiting, key=lambda build: (build.created, build.id)):
        person = build.created_by
        turns.append((before[person] / share_of(person), build.created, build.id, build))
        before[person] += 1
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])]


def next_builds(
    waiting: Sequence[Build],
    running: Collection[Build],
    *,
    max_running: int,
    max_per_person: Of,
    share_of: Of = lambda _: 1,
    busy_keys: Collection[str] = (),
) -> list[Build]:
    """Return the builds that may begin now.

    Builds of `busy_keys` wait for the clean-up of an earlier one.
    """
    free = max_running - len(running)
    if free <= 0:
        return []
    theirs = Counter(build.created_by for build in running)
    chosen: list[Build] = []
    for build in in_order(waiting, running, share_of=share_of):
        if len(chosen) == free:
            break
        if (
            theirs[build.created_by] < max_per_person(build.created_by)
            and build.key not in busy_keys
        ):
            theirs[build.created_by] += 1
            chosen.append(build)
    return chosen


def expected_seconds(of_repository: Sequence[float], of_all: Sequence[float]) -> float | None:
    """Return the median of the repository's durations, else of all, or None."""
    known = of_repository or of_all
    return median(known) if known else None
