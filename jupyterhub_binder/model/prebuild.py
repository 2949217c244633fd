"""Prebuilds: what makes an environment's newest commit built before anybody asks, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jupyterhub_binder.model.text import Message


class HookHost(StrEnum):
    """The kind of host that sends a hook's deliveries."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    """Gitea, Forgejo (Codeberg) and Gogs."""


class Outcome(StrEnum):
    """What became of a delivery, or of a look at the repository."""

    ACCEPTED = "accepted"
    """The service will look."""
    PING = "ping"
    """The host tries the hook out."""
    IGNORED = "ignored"
    """An event that moves no branch."""
    REPEATED = "repeated"
    """Seen before."""
    REFUSED = "refused"
    """The signature is wrong."""
    BUILDING = "building"
    """A build was requested."""
    NOTHING_NEW = "nothing_new"
    FAILED_BEFORE = "failed_before"
    """The newest commit was tried, and failed."""
    ON_HOLD = "on_hold"
    """The owner has to resume updates first."""
    NOT_BUILT = "not_built"
    """A rule, a right or the host forbids it."""


class PrebuildCause(StrEnum):
    """Why the service looks at a repository."""

    HOOK = "hook"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Hook:
    """An address that a host calls when something is pushed."""

    id: str
    environment_id: str
    host: HookHost
    sealed: str
    """The secret, encrypted. It is shown once, when it is made."""
    created: datetime
    created_by: str
    token: str | None = None
    """The token for commit statuses, encrypted with what it is for. It is never shown."""
    token_set: datetime | None = None


class CommitState(StrEnum):
    """What a commit's status says."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"
    """There will be no result."""


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What a hook's host is told about a commit: the state of an environment's build."""

    hook_id: str
    sha: str
    number: int
    """The environment's build that the commit has."""
    context: str
    """What the status is called at the host."""
    told: CommitState | None = None
    """The state that was sent last."""
    time: datetime | None = None
    """When it was sent."""
    message: Message | None = None
    """Why the host did not take it."""
    done: bool = False
    """Whether nothing more will be sent."""
    id: int = 0
    """Ascending; assigned by the store."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A call of a hook."""

    hook_id: str
    time: datetime
    event: str
    """In the host's words."""
    outcome: Outcome
    number: int | None = None
    """The build that came of it."""
    message: Message | None = None
    """Why nothing came of it."""
    id: int = 0
    """Ascending; assigned by the store."""


@dataclass(frozen=True, slots=True)
class Prebuild:
    """What an environment is built ahead by, what waits, and what happened last."""

    environment_id: str
    cron: str = ""
    """The schedule; empty for none."""
    time_zone: str = "UTC"
    due: datetime | None = None
    """When the schedule comes next."""
    pending: datetime | None = None
    """Since when a look waits; a newer one takes its place."""
    cause: PrebuildCause = PrebuildCause.HOOK
    """Of what waits."""
    delivery: int = 0
    """The newest delivery that waits."""
    not_before: datetime | None = None
    """When to try what waits again."""
    last: datetime | None = None
    """When the service last looked."""
    last_cause: PrebuildCause = PrebuildCause.HOOK
    outcome: Outcome | None = None
    number: int | None = None
    message: Message | None = None
