"""What administrators decide and look back at, as frozen data: rules, limits, draining, audit.

As `model`, which has the words of everybody's work, no module here does any work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

SERVICE = ""
"""Who acted where nobody did: the service by itself. No person has this name."""


class RuleKind(StrEnum):
    """What a rule says of the repositories that it matches."""

    BAN = "ban"
    ALLOW = "allow"
    """Once there is one such rule, only what one of them matches may be built."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Repositories that may, or may not, be built and launched."""

    kind: RuleKind
    pattern: str
    """A repository's address as `providers.identity` writes it; ``*`` stands for any text."""
    reason: str = ""
    """What people are told whose repository is refused."""
    id: str = ""
    """Empty for a rule of the configuration, which only the configuration can change."""
    created: datetime | None = None
    created_by: str = ""


class LimitName(StrEnum):
    """What a person may have of something."""

    ENVIRONMENTS = "environments"
    """Environments kept."""
    BUILDS = "builds"
    """Builds waiting or running."""
    RUNNING = "running"
    """Builds running at once."""
    SHARE = "share"
    """Turns in the queue, next to somebody who has 1."""


class Holder(StrEnum):
    """Whose limits they are."""

    PERSON = "person"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class LimitOverride:
    """Limits of one person or group that differ from everybody's."""

    holder: Holder
    name: str
    values: Mapping[LimitName, int]
    updated: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class Drain:
    """No build begins any more, until an administrator says so: an upgrade is near."""

    message: str
    """What everybody reads on every page."""
    since: datetime
    by: str


class Action(StrEnum):
    """What the audit log tells of."""

    ENVIRONMENT_CREATE = "environment.create"
    ENVIRONMENT_DELETE = "environment.delete"
    ENVIRONMENT_RESTORE = "environment.restore"
    ENVIRONMENT_SHARE = "environment.share"
    BUILD_FORCE = "build.force"
    BUILD_CANCEL = "build.cancel"
    RULE_ADD = "rule.add"
    RULE_REMOVE = "rule.remove"
    RULE_HIT = "rule.hit"
    LIMIT_SET = "limit.set"
    DRAIN_BEGIN = "drain.begin"
    DRAIN_END = "drain.end"
    CLEANUP_IMAGES = "cleanup.images"
    CLEANUP_LOGS = "cleanup.logs"
    CLEANUP_LAUNCHES = "cleanup.launches"
    CLEANUP_AUDIT = "cleanup.audit"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what when. Written once, changed never, and never with a secret in it."""

    time: datetime
    actor: str
    action: Action
    target: str = ""
    """What it was done to: an id, a pattern, a name."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """More for programs and people, small, and JSON."""
    id: int = 0
    """Rises with each entry; settled by the store."""


@dataclass(frozen=True, slots=True)
class PersonUse:
    """What one person did in a period, and has now."""

    name: str
    builds: int = 0
    """Begun on their wish, in the period."""
    build_seconds: float = 0.0
    """That those took which have ended."""
    launches: int = 0
    """In the period."""
    environments: int = 0
    """Kept now."""
    image_bytes: int = 0
    """Of the images that these need now, each counted once for the person."""
