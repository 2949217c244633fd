"""Who is next: the order of waiting builds, their places, and how long a build may take.

Pure functions of what waits and what runs; `builds` acts on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from statistics import median

from jupyterhub_binder.model import Build


def in_order(waiting: Sequence[Build], running: Collection[Build]) -> list[Build]:
    """Return the waiting builds in the order in which they will begin.

    Fair among people: whoever has the fewest builds before this one goes first, then whoever
    has waited longest. Ten builds of one person do not hold up the first one of another.
    """
    before = Counter(build.created_by for build in running)
    turns = []
    for build in sorted(waiting, key=lambda build: (build.created, build.id)):
        turns.append((before[build.created_by], build.created, build.id, build))
        before[build.created_by] += 1
    return [turn[-1] for turn in sorted(turns, key=lambda turn: turn[:3])]


def next_builds(
    waiting: Sequence[Build],
    running: Collection[Build],
    *,
    most: int,
    most_per_person: int,
    busy_keys: Collection[str] = (),
) -> list[Build]:
    """Return the builds that may begin now.

    `busy_keys` are content keys whose earlier build is still cleaning up after itself.
    """
    free = most - len(running)
    theirs = Counter(build.created_by for build in running)
    chosen: list[Build] = []
    for build in in_order(waiting, running):
        if len(chosen) >= free:
            break
        if theirs[build.created_by] < most_per_person and build.key not in busy_keys:
            theirs[build.created_by] += 1
            chosen.append(build)
    return chosen


def expected_seconds(of_repository: Sequence[float], of_all: Sequence[float]) -> float | None:
    """Return what a build should take: the median of the repository's, else of all; or None."""
    known = of_repository or of_all
    return median(known) if known else None
