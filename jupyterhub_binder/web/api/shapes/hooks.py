"""The JSON objects of prebuilds: webhooks, schedules and what came of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from jupyterhub_binder.environments.hooks import MAX_SECRET_CHARACTERS, MAX_TOKEN_CHARACTERS
from jupyterhub_binder.environments.schedules import MAX_CRON_CHARACTERS, MAX_ZONE_CHARACTERS
from jupyterhub_binder.model.prebuild import CommitState, HookHost, Outcome, PrebuildCause
from jupyterhub_binder.web.api.shapes import Number, TextLine, shape


@shape
class DeliveryJSON:
    """What a webhook received."""

    time: datetime
    event: str
    """In the host's words"""
    outcome: Outcome
    """accepted: the service will look at the repository"""
    number: Number | None
    """The build that came of it"""
    message: str
    """Why nothing came of it; may be empty"""


@shape
class CommitReportJSON:
    """A status that was sent to the host."""

    time: datetime
    """Of the last attempt"""
    commit: str
    number: Number
    """The environment's build that the commit has"""
    state: CommitState | None
    """The state that was sent; null while the service tries again"""
    message: str
    """Why the host did not take it; empty if it did"""


@shape
class HookJSON:
    """A webhook."""

    id: str
    url: str
    """The address that the host calls; its path if the hub's public URL is not configured"""
    host: HookHost
    """gitea: also Forgejo, Codeberg and Gogs"""
    created: datetime
    deliveries: tuple[DeliveryJSON, ...]
    """The newest first, at most 20"""
    token_set: datetime | None
    """When the token for commit statuses was set; null without one. The token is never told"""
    report: CommitReportJSON | None
    """The last status that was sent"""


@shape
class HookSecretJSON:
    """A webhook with its secret, which is told only once."""

    id: str
    url: str
    """The address that the host calls; its path if the hub's public URL is not configured"""
    host: HookHost
    secret: str


@shape
class ScheduleJSON:
    """When the service checks the repository by itself."""

    cron: str
    time_zone: str
    words: str
    """The schedule in English"""
    next: tuple[datetime, ...]
    """The next three times"""


@shape
class LookJSON:
    """The last look at the repository."""

    time: datetime
    cause: PrebuildCause
    outcome: Outcome
    number: Number | None
    """The build that came of it"""
    message: str
    """Why nothing came of it; may be empty"""


@shape
class PrebuildJSON:
    """What builds an environment ahead, and what happened last."""

    hooks: tuple[HookJSON, ...]
    schedule: ScheduleJSON | None
    pending: datetime | None
    """Since when a look at the repository waits"""
    last: LookJSON | None


Secret = Annotated[str, TextLine(MAX_SECRET_CHARACTERS)]


@shape
class HookBody:
    """A webhook to create."""

    host: Literal["github", "gitlab", "gitea"]
    secret: Secret | None = None
    """Default: the service makes one"""


@shape
class SecretBody:
    """Another secret."""

    secret: Secret | None = None
    """Default: the service makes one"""


@shape
class TokenBody:
    """A token for commit statuses. No answer has it."""

    token: Annotated[str, TextLine(MAX_TOKEN_CHARACTERS, min_length=1)]


@shape
class ScheduleBody:
    """A schedule."""

    cron: Annotated[str, TextLine(MAX_CRON_CHARACTERS)] = ""
    """minute, hour, day of the month, month, day of the week; empty for no schedule"""
    time_zone: Annotated[str, TextLine(MAX_ZONE_CHARACTERS)] = "UTC"
    """As the IANA names it: Europe/Berlin"""
