"""Who has reached a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.model import Build
from jupyterhub_binder.model.admin import LimitName
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.store import Store

_MAX_OWNERS = 1000
"""Of those with the most environments."""


@dataclass(frozen=True, slots=True)
class AtLimit:
    """A person who can't have more."""

    person: str
    limit: LimitName
    used: int
    value: int


async def fetch_at_limit(
    store: Store, limits: Limits, active: Iterable[Build]
) -> tuple[AtLimit, ...]:
    """Return who has reached a limit of builds (`active`: the unfinished ones) or environments."""
    owners = await store.list_large_owners(least=_least(limits), limit=_MAX_OWNERS)
    building = Counter(build.created_by for build in active)
    used = (
        *((person, LimitName.BUILDS, count) for person, count in building.most_common()),
        *((person, LimitName.ENVIRONMENTS, count) for person, count in owners),
    )
    return tuple(
        AtLimit(person, limit, count, value)
        for person, limit, count in used
        if person != HUB_OWNER and count >= (value := limits.value(limit, person))
    )


def _least(limits: Limits) -> int:
    """Return the smallest number of environments that may be a person's limit."""
    name = LimitName.ENVIRONMENTS
    known = (limits.defaults, limits.new_people, *(each.values for each in limits.overrides))
    return max(1, min(values[name] for values in known if name in values))
