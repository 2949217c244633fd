"""How much each person may have: everybody's limits, those of groups, and a person's own.

Which of them holds is decided by a pure function, `choose`. Defaults are options of the parts
whose limits they are, which register them here; administrators change the others while the
service runs. Holding people to their limits is the business of those parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import MOST_PERSON_CHARACTERS, one_line
from jupyterhub_binder.model import User
from jupyterhub_binder.oversight import Action, Holder, LimitName, LimitOverride
from jupyterhub_binder.store import Store

LEAST = {
    LimitName.ENVIRONMENTS: 0,
    LimitName.BUILDS: 0,
    LimitName.RUNNING: 1,
    LimitName.SHARE: 1,
}
MOST = {
    LimitName.ENVIRONMENTS: 1_000_000,
    LimitName.BUILDS: 1_000_000,
    LimitName.RUNNING: 10_000,
    LimitName.SHARE: 1000,
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A limit, and where it comes from."""

    value: int
    source: Holder | None = None
    """None for everybody's."""
    group: str = ""
    """Which of a person's groups gives it, if one does."""


def choose(
    name: LimitName, default: int, *, own: LimitOverride | None, groups: Iterable[LimitOverride]
) -> Chosen:
    """Say which limit holds: a person's own, else the largest of their groups', else the default.

    Pure.
    """
    if own is not None and name in own.values:
        return Chosen(own.values[name], Holder.PERSON)
    given = [(each.values[name], each.name) for each in groups if name in each.values]
    if given:
        value, group = max(given)
        return Chosen(value, Holder.GROUP, group)
    return Chosen(default)


def clean_values(values: Mapping[LimitName, int | None]) -> dict[LimitName, int]:
    """Return the limits that are set, each within its bounds. Raises InvalidInput."""
    kept = {name: value for name, value in values.items() if value is not None}
    for name, value in kept.items():
        if not LEAST[name] <= value <= MOST[name]:
            raise InvalidInput(
                f"'{name}' must be between {LEAST[name]} and {MOST[name]}.", detail={"field": name}
            )
    return kept


class Limits(LoggingConfigurable):
    """Everybody's limits."""

    def __init__(self, *, store: Store, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit
        self._defaults: dict[LimitName, Callable[[], int]] = {LimitName.SHARE: lambda: 1}
        self._overrides: dict[tuple[Holder, str], LimitOverride] = {}
        self._groups: dict[str, tuple[str, ...]] = {}

    async def start(self) -> None:
        """Read the limits, and the groups that people were last seen in."""
        await self._read()
        self._groups = dict(await self._store.list_groups())

    async def _read(self) -> None:
        self._overrides = {
            (each.holder, each.name): each for each in await self._store.list_limit_overrides()
        }

    def register(self, name: LimitName, default: Callable[[], int]) -> None:
        """Say where everybody's limit is found."""
        self._defaults[name] = default

    async def see(self, user: User) -> None:
        """Note which groups a person has now: their builds wait longer than they stay."""
        if self._groups.get(user.name, ()) == user.groups:
            return
        self._groups[user.name] = user.groups
        await self._store.put_groups(user.name, user.groups)

    # --- Asking -----------------------------------------------------------------------------

    def value(self, name: LimitName, person: str) -> int:
        """Return one limit of a person."""
        if not self._overrides:
            return self._defaults[name]()
        return self._chosen(name, person).value

    def of(self, person: str) -> dict[LimitName, Chosen]:
        """Return a person's limits, each with where it comes from."""
        return {name: self._chosen(name, person) for name in self._defaults}

    def _chosen(self, name: LimitName, person: str) -> Chosen:
        overrides = self._overrides
        groups = [overrides.get((Holder.GROUP, group)) for group in self.groups_of(person)]
        return choose(
            name,
            self._defaults[name](),
            own=overrides.get((Holder.PERSON, person)),
            groups=[each for each in groups if each is not None],
        )

    def groups_of(self, person: str) -> tuple[str, ...]:
        """Return the groups that a person was last seen in."""
        return self._groups.get(person, ())

    @property
    def defaults(self) -> dict[LimitName, int]:
        """Return everybody's limits."""
        return {name: default() for name, default in self._defaults.items()}

    @property
    def overrides(self) -> tuple[LimitOverride, ...]:
        """Return the limits of groups and people that differ, groups first, by name."""
        return tuple(self._overrides[key] for key in sorted(self._overrides))

    # --- Changing -----------------------------------------------------------------------------

    async def set(
        self, user: User, holder: Holder, name: str, values: Mapping[LimitName, int | None]
    ) -> LimitOverride:
        """Keep the limits of a person or a group; None leaves one to the others that hold.

        Raises InvalidInput.
        """
        name = one_line(name)
        if not name or len(name) > MOST_PERSON_CHARACTERS:
            raise InvalidInput(f"Name the {holder}.", detail={"field": "name"})
        override = LimitOverride(holder, name, clean_values(values), utc_now(), user.name)
        await self._store.put_limit_override(override)
        await self._read()
        await self._audit.record(
            user.name, Action.LIMIT_SET, name, holder=holder, limits=dict(override.values)
        )
        return override
