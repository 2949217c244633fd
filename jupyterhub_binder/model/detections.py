"""What a detector of forbidden programs has reported, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DetectionState(StrEnum):
    """What became of a report."""

    OPEN = "open"
    """It waits for an administrator."""
    BANNED = "banned"
    """The repository was banned at once."""
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Detection:
    """One report, with all its repetitions."""

    id: str
    time: datetime
    last: datetime
    times: int = 1
    user: str = ""
    """As the detector named it, like the next three."""
    server_name: str = ""
    environment_id: str = ""
    named: str = ""
    """The address of a repository."""
    program: str = ""
    """What was found."""
    repository: str = ""
    """As rules name it; empty if it is not known."""
    confirmed: bool = False
    """Whether the hub says that the server runs this repository."""
    state: DetectionState = DetectionState.OPEN

    @property
    def title(self) -> str:
        """What it is about, as far as that is known."""
        return self.repository or self.named or self.user or self.environment_id


@dataclass(frozen=True, slots=True)
class Reports:
    """What an alert says about reports."""

    open: tuple[Detection, ...] = ()
    banned: tuple[Detection, ...] = ()
    """At once, in the last hour."""
