"""What administrators decide and review, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from jupyterhub_binder.model import Build

SERVICE = ""
"""The service itself as an actor. No user has this name."""


class RuleKind(StrEnum):
    """Whether a rule bans or allows, and what."""

    BAN = "ban"
    BAN_PERSON = "ban_person"
    ALLOW = "allow"
    """With any such rule, all other repositories are refused."""

    @property
    def bans(self) -> bool:
        """Whether such a rule refuses what it matches."""
        return self is not RuleKind.ALLOW


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows or bans repositories, or bans a person."""

    kind: RuleKind
    pattern: str
    """An address as in `repositories.identity`; ``*`` matches any text. For a person: the name."""
    reason: str = ""
    id: str = ""
    """Empty for a rule from the configuration."""
    created: datetime | None = None
    created_by: str = ""
    shows_reason: bool = True
    """Whether the reason is shown to people who are refused."""


class LimitName(StrEnum):
    """What is limited per user."""

    ENVIRONMENTS = "environments"
    BUILDS = "builds"
    """Waiting or running."""
    RUNNING = "running"
    SHARE = "share"
    """Turns in the queue, relative to a user with 1."""


class Holder(StrEnum):
    """Whose limits they are."""

    PERSON = "person"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """A user's or group's own limits."""

    holder: Holder
    name: str
    values: Mapping[LimitName, int]
    updated: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class Drain:
    """A pause of new builds before an upgrade."""

    message: str
    """Shown on every page."""
    since: datetime
    by: str


class Action(StrEnum):
    """What the audit log records."""

    ENVIRONMENT_CREATE = "environment.create"
    ENVIRONMENT_DELETE = "environment.delete"
    ENVIRONMENT_RESTORE = "environment.restore"
    ENVIRONMENT_SHARE = "environment.share"
    ENVIRONMENT_FEATURE = "environment.feature"
    ENVIRONMENT_OFFER = "environment.offer"
    ENVIRONMENT_TRANSFER = "environment.transfer"
    BUILD_FORCE = "build.force"
    BUILD_CANCEL = "build.cancel"
    BUILD_CHOOSE = "build.choose"
    BUILD_AUTO = "build.auto"
    HOOK_CREATE = "hook.create"
    HOOK_ROTATE = "hook.rotate"
    HOOK_DELETE = "hook.delete"
    HOOK_TOKEN_SET = "hook.token.set"  # noqa: S105 - a name
    HOOK_TOKEN_REMOVE = "hook.token.remove"  # noqa: S105 - a name
    SCHEDULE_SET = "schedule.set"
    BUILD_PREBUILD = "build.prebuild"
    RULE_ADD = "rule.add"
    RULE_REMOVE = "rule.remove"
    RULE_HIT = "rule.hit"
    DETECTION_REPORT = "detection.report"
    DETECTION_DISMISS = "detection.dismiss"
    SERVERS_STOP = "servers.stop"
    LIMIT_SET = "limit.set"
    DRAIN_BEGIN = "drain.begin"
    DRAIN_END = "drain.end"
    CLEANUP_IMAGES = "cleanup.images"
    CLEANUP_LOGS = "cleanup.logs"
    CLEANUP_LAUNCHES = "cleanup.launches"
    CLEANUP_AUDIT = "cleanup.audit"
    ARCHIVE_WRITE = "archive.write"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, and when. Immutable, without secrets."""

    time: datetime
    actor: str
    action: Action
    target: str = ""
    """An id, pattern or name."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Small JSON."""
    id: int = 0
    """Ascending; assigned by the store."""


@dataclass(frozen=True, slots=True)
class PersonUse:
    """One user's usage in a period."""

    name: str
    builds: int = 0
    build_seconds: float = 0.0
    """Of finished builds."""
    launches: int = 0
    environments: int = 0
    """Now, regardless of the period."""
    image_bytes: int = 0
    """Needed now; each image counts once."""


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Failed builds of one kind."""

    key: str
    """A fingerprint, or a rule's id."""
    known: bool
    """Whether a rule explains it."""
    times: int
    first: datetime | None
    newest: Build
