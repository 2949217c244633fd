"""What is known of the repositories that environments follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from jupyterhub_binder.model import Reason, Spec


@dataclass(frozen=True, slots=True)
class NewCommit:
    """One of the newer commits."""

    sha: str
    author: str
    subject: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file of the recipe that differs."""

    path: str
    added: int | None
    """Lines; None if it is no text."""
    removed: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What lies between two commits. Bounded; texts are the repository's own."""

    count: int = 0
    """Newer commits, up to a limit; 0 if unknown."""
    more: bool = False
    """Whether there are more than that."""
    rewritten: bool = False
    """Whether the older commit is not among the newer one's ancestors, as far as is known."""
    commits: tuple[NewCommit, ...] = ()
    """The newest ones."""
    file_count: int = 0
    files: tuple[str, ...] = ()
    """Some of the files that differ."""
    recipe: tuple[ChangedFile, ...] = ()
    diff: tuple[str, ...] = ()
    """The lines of a unified diff of the recipe's files."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The newest commit of one ref of one repository, for all who follow it."""

    spec: Spec
    resolved_ref: str = ""
    """The commit or the record's version; empty while unknown."""
    checked: datetime | None = None
    """When the host last said it."""
    due: datetime | None = None
    """When to ask again."""
    failures: int = 0
    """In a row."""
    reason: Reason | None = None
    """Why the host could not be asked."""


@dataclass(frozen=True, slots=True)
class UpstreamChange:
    """What the newest commit would change for a build."""

    from_key: str
    """The build's `base_key`."""
    resolved_ref: str
    needs_build: bool
    """False if an image of the same recipe exists."""
    comparison: Comparison = field(default_factory=Comparison)


@dataclass(frozen=True, slots=True)
class Newer:
    """What an environment's page says of its repository."""

    upstream: Upstream
    change: UpstreamChange | None = None
    """None while it is not known what changes."""
    expected_seconds: float | None = None
    """Of a build."""
