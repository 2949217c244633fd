"""Who may use an environment besides its owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Right(StrEnum):
    """What a person may do with an environment; each right includes those before it."""

    LAUNCH = "launch"
    """See it, start servers in it, read its builds' logs."""
    MANAGE = "manage"
    """Also rename, build, update, choose a build, share."""
    OWN = "own"
    """Also delete it and give it away."""

    def covers(self, other: Right) -> bool:
        """Say whether this right includes another."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = tuple(Right)


class SubjectKind(StrEnum):
    """Whom a share names."""

    USER = "user"
    GROUP = "group"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A person, a group of the hub, or everyone at the hub."""

    kind: SubjectKind
    name: str = ""
    """Empty for everyone."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)


@dataclass(frozen=True, slots=True)
class Share:
    """A right of a subject."""

    subject: Subject
    right: Right
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class OthersUse:
    """How people other than the owner use an environment."""

    people: int = 0
    """How many have launched it."""
    launched: datetime | None = None
    """When one of them last did."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """An offer of an environment's ownership, until it is accepted, withdrawn or expired."""

    environment_id: str
    to: str
    by: str
    offered: datetime
    expires: datetime
