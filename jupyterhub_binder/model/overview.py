"""What an administrator's home page counts, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from jupyterhub_binder.model import Build


@dataclass(frozen=True, slots=True)
class Totals:
    """What ended or began in a period."""

    built: int = 0
    failed: int = 0
    """Builds."""
    launches: int = 0
    failed_launches: int = 0
    """Of these launches."""
    people: int = 0
    """Who launched something."""


@dataclass(frozen=True, slots=True)
class RecentFailures:
    """Builds that failed lately for one reason."""

    key: str
    """A rule's id, else a fingerprint, else the reason's code."""
    times: int
    newest: Build
