"""Who is next: the order of waiting builds, their places, and how long a build may take.

Pure functions of what waits and what runs; `builds` acts on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import median

from jupyterhub_binder.model import Build

Of = Callable[[str], int]
"""A number of each person, by name."""


def in_order(
    waiting: Sequence[Build], running: Collection[Build], *, share_of: Of = lambda _: 1
) -> list[Build]:
    """Return the waiting builds in the order in which they will begin.

    Fair among people: whoever has the fewest builds before this one goes first, then whoever
    has waited longest. Ten builds of one person do not hold up the first one of another. Of
    somebody with a share of 2 twice as many come first.
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
    most: int,
    most_of: Of,
    share_of: Of = lambda _: 1,
    busy_keys: Collection[str] = (),
) -> list[Build]:
    """Return the builds that may begin now: `most` in all, `most_of` each person.

    `busy_keys` are content keys whose earlier build is still cleaning up after itself.
    """
    free = most - len(running)
    theirs = Counter(build.created_by for build in running)
    chosen: list[Build] = []
    for build in in_order(waiting, running, share_of=share_of):
        if len(chosen) >= free:
            break
        if theirs[build.created_by] < most_of(build.created_by) and build.key not in busy_keys:
            theirs[build.created_by] += 1
            chosen.append(build)
    return chosen


def expected_seconds(of_repository: Sequence[float], of_all: Sequence[float]) -> float | None:
    """Return what a build should take: the median of the repository's, else of all; or None."""
    known = of_repository or of_all
    return median(known) if known else None
