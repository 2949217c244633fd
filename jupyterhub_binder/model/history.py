"""What happened to an environment's current build, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeCause(StrEnum):
    """Why another build became current."""

    ASKED = "asked"
    """Somebody asked for a build, and it succeeded."""
    BY_ITSELF = "by_itself"
    """The service built it without being asked."""
    ROLLED_BACK = "rolled_back"
    """Somebody chose an earlier build."""
    CHOSEN = "chosen"
    """Somebody chose a later build."""


def cause_of(from_number: int | None, to_number: int) -> ChangeCause:
    """Return what it means that somebody chooses a build."""
    earlier = from_number is not None and to_number < from_number
    return ChangeCause.ROLLED_BACK if earlier else ChangeCause.CHOSEN


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an environment's current build. It is never altered or removed."""

    environment_id: str
    number: int
    """Counts the environment's changes, from 1."""
    from_number: int | None
    """The build that was current before; None for the first one."""
    to_number: int
    by: str
    cause: ChangeCause
    reason: str
    """In a person's words; may be empty."""
    time: datetime
