"""Made-up usage: many launches and builds, counted as the service counts them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

from jupyterhub_binder.model import Build, BuildState, Phase, Reason, Spec
from jupyterhub_binder.model.failures import Explanation, Owner
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.usage import LaunchOutcome, Period, read_period
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.usage_counting import EndedLaunch, Tally

QUARTERS = {"2026Q1": 118_083, "2026Q2": 249_750, "2026Q3": 417_048}
"""Sessions of a persistent hub in three quarters, as it reported them."""
ORIGINS = ("binder-a", "binder-b", "venv")
PROVIDERS = ("gh", "gh", "gh", "gh", "gh", "gh", "gl", "zenodo", "git")
_CAUSES = (
    ("pip-conflict", Owner.REPOSITORY),
    ("uv-package-missing", Owner.REPOSITORY),
    ("git-host-unknown", Owner.NETWORK),
    ("disk-full", Owner.HUB),
)
_PEOPLE = 9_000
_REPOSITORIES = 20_000


async def fill(
    store: Store,
    quarters: Mapping[str, int],
    *,
    repositories: int = _REPOSITORIES,
    failures: bool = True,
) -> None:
    """Count as many sessions in each quarter, and some failures and builds."""
    tally = Tally()
    for number, (name, sessions) in enumerate(quarters.items()):
        period = read_period(name)
        source = random.Random(number)
        for launch in make_launches(source, period, sessions, repositories):
            tally.add_launch(launch)
        if failures:
            _add_failures(tally, source, period, max(1, sessions // 50))
    await store._database.run(tally.store)


def make_launches(
    source: random.Random, period: Period, count: int, repositories: int
) -> Iterator[EndedLaunch]:
    """Yield sessions, spread evenly over a period; few repositories have most."""
    begin = datetime.combine(period.first, time(), UTC)
    step = timedelta(days=(period.end - period.first).days) / count
    for number in range(count):
        repository = int(repositories * source.random() ** 4)
        named = repository % 20 != 7
        with_build = number % 12 == 0
        yield EndedLaunch(
            at=begin + step * number,
            user=f"person-{int(_PEOPLE * source.random() ** 2)}",
            outcome=LaunchOutcome.READY,
            origin=ORIGINS[int(3 * source.random() ** 2)],
            provider=PROVIDERS[repository % len(PROVIDERS)],
            repository_key=f"gh:org/repo-{repository}" if named else "",
            label=f"github.com/org/repo-{repository}" if named else "",
            seconds=source.lognormvariate(5 if with_build else 1.8, 0.6),
            with_build=with_build,
        )


def _add_failures(tally: Tally, source: random.Random, period: Period, count: int) -> None:
    begin = datetime.combine(period.first, time(), UTC)
    step = timedelta(days=(period.end - period.first).days) / count
    outcomes: Sequence[BuildState] = [*[BuildState.BUILT] * 8, BuildState.FAILED]
    for number in range(count):
        at = begin + step * number
        tally.add_build(_build(source, at, source.choice(outcomes)))
        if number % 9 == 0:
            tally.add_launch(
                EndedLaunch(at, "ada", LaunchOutcome.FAILED, "venv", "gh", code="start_failed")
            )


def _build(source: random.Random, at: datetime, state: BuildState) -> Build:
    build = Build(
        id="b",
        base_key="k",
        generation=0,
        spec=Spec("gh", "org/repo", "main"),
        resolved_ref="a" * 40,
        label="github.com/org/repo",
        repo_url="https://github.com/org/repo",
        clone_url="https://github.com/org/repo",
        options={},
        backend="fake",
        state=state,
        phase=Phase.BUILT,
        created=at,
        created_by="ada",
        started=at - timedelta(seconds=source.lognormvariate(4.5, 0.7)),
        finished=at,
    )
    if state is not BuildState.FAILED:
        return build
    rule, owner = source.choice(_CAUSES)
    explanation = Explanation(rule=rule, owner=owner)
    return replace(build, reason=Reason("build_failed", Message("No."), explanation=explanation))
