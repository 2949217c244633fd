"""Why a build failed, whose business that is, and the ways out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jupyterhub_binder.model.text import Message


class Owner(StrEnum):
    """Who can remove the cause."""

    REPOSITORY = "repository"
    HUB = "hub"
    NETWORK = "network"


class WayKind(StrEnum):
    """What a way out does."""

    AGAIN = "again"
    """Build the same commit again."""
    NEWEST = "newest"
    """Build the newest commit of the ref."""
    PYTHON = "python"
    """Build with another Python."""
    OPEN = "open"
    """Open a file at its host."""
    ADMIN = "admin"
    """Copy what an administrator needs."""
    ADVICE = "advice"
    """A sentence, because nothing can be done from here."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way out of a failure."""

    kind: WayKind
    label: Message
    url: str = ""
    """Where `OPEN` leads."""
    python: str = ""
    """The version for `PYTHON`, such as ``3.11``."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the rules say about a failure."""

    rule: str = ""
    """The rule's id; empty if none applies."""
    owner: Owner | None = None
    line: str = ""
    """The decisive line, as text."""
    ways: tuple[Way, ...] = ()
    fingerprint: str = ""
    """The same for failures of one kind; only where no rule applies."""
