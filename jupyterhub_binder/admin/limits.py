"""Limits: defaults, those of new people, and overrides for groups and users.

Other parts register the defaults from their options, and enforce them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from traitlets import Dict, Float, Integer, TraitError, validate
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.errors import InvalidInput, LimitReached
from jupyterhub_binder.model import User
from jupyterhub_binder.model.admin import Action, Holder, LimitName, LimitOverride
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS, one_line

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

_NEW = {LimitName.ENVIRONMENTS, LimitName.BUILDS, LimitName.RUNNING}
_MAX_MET = 100_000


@dataclass(frozen=True, slots=True)
class Chosen:
    """A limit and its source."""

    value: int
    source: Holder | None = None
    """None for the default."""
    group: str = ""
    until: datetime | None = None
    """When a limit of new people ends for this one."""


def choose(
    name: LimitName, default: int, *, own: LimitOverride | None, groups: Iterable[LimitOverride]
) -> Chosen:
    """Choose the user's own limit, else the largest of their groups, else the default."""
    if own is not None and name in own.values:
        return Chosen(own.values[name], Holder.PERSON)
    given = [(each.values[name], each.name) for each in groups if name in each.values]
    if given:
        value, group = max(given)
        return Chosen(value, Holder.GROUP, group)
    return Chosen(default)


def clean_values(values: Mapping[LimitName, int | None]) -> dict[LimitName, int]:
    """Return the limits that are set. Raises InvalidInput."""
    kept = {name: value for name, value in values.items() if value is not None}
    for name, value in kept.items():
        if not LEAST[name] <= value <= MOST[name]:
            raise InvalidInput(
                "'%(name)s' must be between %(least)s and %(most)s.",
                name=name,
                least=LEAST[name],
                most=MOST[name],
                detail={"field": name},
            )
    return kept


class Limits(LoggingConfigurable):
    """The limits of users and groups."""

    new_people = Dict(
        Integer(),
        help="""
        Stricter limits for people whom the service has seen for the first time a short while ago.

        The keys are ``environments``, ``builds`` (waiting or running) and ``running`` (builds at the
        same time). The limits don't apply to administrators, to people with a limit of their own,
        and to members of a group with one. They never raise a limit. Default: none. Example:
        ``{"environments": 3, "builds": 1}``. ``"builds": 0`` lets new people build nothing.
        """,
    ).tag(config=True)

    new_people_hours = Float(
        24,
        min=0,
        help="How long a person counts as new for `new_people`, in hours. Default: 24.",
    ).tag(config=True)

    def __init__(self, *, store: Store, audit: Audit, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit
        self._defaults: dict[LimitName, Callable[[], int]] = {LimitName.SHARE: lambda: 1}
        self._overrides: dict[tuple[Holder, str], LimitOverride] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self.changed: Signal[[]] = Signal()
        """Sent after a change that may move builds in the queue."""
        self._barred: set[str] = set()
        """Who could not build when they were last seen."""
        self._met: set[str] = set()
        """Whose first visit was looked up."""
        self._new: dict[str, datetime] = {}
        """When the newest people were seen first."""

    @validate("new_people")
    def _are_limits(self, proposal: Any) -> dict[str, int]:
        try:
            given = {LimitName(name): value for name, value in proposal.value.items()}
            if given.keys() - _NEW:
                raise ValueError
            clean_values(given)
        except (ValueError, InvalidInput) as error:
            raise TraitError(
                "Limits.new_people: give numbers for environments, builds or running; at least 1 for "
                "running."
            ) from error
        return proposal.value

    async def start(self) -> None:
        """Read overrides and what is known of people."""
        await self._read()
        self._groups = dict(await self._store.list_groups())
        self._barred = set(await self._store.list_barred())
        since = utc_now() - timedelta(hours=self.new_people_hours)
        self._new = dict(await self._store.list_people_since(since))

    async def _read(self) -> None:
        self._overrides = {
            (each.holder, each.name): each for each in await self._store.list_limit_overrides()
        }

    def register(self, name: LimitName, default: Callable[[], int]) -> None:
        """Register a default."""
        self._defaults[name] = default

    async def see(self, user: User) -> None:
        """Store a user's groups and right to build, for builds that begin after they have left.

        The first time also counts as the user's first visit.
        """
        if user.name not in self._met:
            await self._meet(user)
        known = self._groups.get(user.name, ()), user.name not in self._barred
        if known == (user.groups, user.can_build):
            return
        self._groups[user.name] = user.groups
        (self._barred.discard if user.can_build else self._barred.add)(user.name)
        await self._store.put_groups(user.name, user.groups, can_build=user.can_build)
        if self._overrides:
            self.changed.send()

    async def _meet(self, user: User) -> None:
        first = await self._store.meet_person(user.name, utc_now())
        if len(self._met) >= _MAX_MET:
            self._met.clear()
        self._met.add(user.name)
        self._new[user.name] = first
        if user.admin or self.new_until(user.name) is None:
            self._new.pop(user.name, None)

    def recall(self, person: str) -> User:
        """Return a user who is not here, with the groups and the right of the last visit."""
        return User(person, groups=self.groups_of(person), can_build=person not in self._barred)

    # --- Asking -----------------------------------------------------------------------------

    def value(self, name: LimitName, person: str) -> int:
        """Return one limit."""
        if not self._overrides and person not in self._new:
            return self._defaults[name]()
        return self._chosen(name, person).value

    def of(self, person: str) -> dict[LimitName, Chosen]:
        """Return all limits of a user."""
        return {name: self._chosen(name, person) for name in self._defaults}

    def _chosen(self, name: LimitName, person: str) -> Chosen:
        overrides = self._overrides
        groups = [overrides.get((Holder.GROUP, group)) for group in self.groups_of(person)]
        chosen = choose(
            name,
            self._defaults[name](),
            own=overrides.get((Holder.PERSON, person)),
            groups=[each for each in groups if each is not None],
        )
        strict = self.new_people.get(name, chosen.value)
        if chosen.source is None and strict < chosen.value and (until := self.new_until(person)):
            return Chosen(strict, until=until)
        return chosen

    def new_until(self, person: str) -> datetime | None:
        """Return when a person stops to count as new; None for others."""
        first = self._new.get(person)
        if first is None:
            return None
        until = first + timedelta(hours=self.new_people_hours)
        if until > utc_now():
            return until
        del self._new[person]
        return None

    def reached(self, name: LimitName, person: str, message: Message, *, used: int) -> LimitReached:
        """Return the error of a person who has reached a limit, which says when a strict one ends."""
        chosen = self._chosen(name, person)
        detail: dict[str, Any] = {"limit": chosen.value, "used": used}
        if chosen.until is not None:
            ends = f"{chosen.until:%Y-%m-%d %H:%M}"
            note = Message(
                "This limit is for new people. For you it ends on %(time)s UTC.", time=ends
            )
            message = Message.joined(message, note)
            detail["until"] = chosen.until.isoformat(timespec="seconds")
        return LimitReached(message, detail=detail)

    def groups_of(self, person: str) -> tuple[str, ...]:
        """Return the last known groups."""
        return self._groups.get(person, ())

    @property
    def defaults(self) -> dict[LimitName, int]:
        """Return the defaults."""
        return {name: default() for name, default in self._defaults.items()}

    @property
    def overrides(self) -> tuple[LimitOverride, ...]:
        """Return overrides, groups first."""
        return tuple(self._overrides[key] for key in sorted(self._overrides))

    # --- Changing -----------------------------------------------------------------------------

    async def set(
        self, user: User, holder: Holder, name: str, values: Mapping[LimitName, int | None]
    ) -> LimitOverride:
        """Set overrides; None removes one. Raises InvalidInput."""
        name = one_line(name)
        if not name or len(name) > MAX_PERSON_CHARACTERS:
            person, group = Message("Name the person."), Message("Name the group.")
            missing = person if holder is Holder.PERSON else group
            raise InvalidInput(missing, detail={"field": "name"})
        override = LimitOverride(holder, name, clean_values(values), utc_now(), user.name)
        await self._store.put_limit_override(override)
        await self._read()
        self.changed.send()
        await self._audit.record(
            user.name, Action.LIMIT_SET, name, holder=holder, limits=dict(override.values)
        )
        return override
