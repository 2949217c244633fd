"""The columns of administrators' tables, for pages, CSV and the command line alike.

A column's name is that of a field of the REST API's answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jupyterhub_binder.model.admin import LimitName
from jupyterhub_binder.model.text import Message


class Unit(StrEnum):
    """How a column's values are shown."""

    TEXT = "text"
    COUNT = "count"
    SECONDS = "seconds"
    BYTES = "bytes"
    TIME = "time"
    COMMIT = "commit"
    DAY = "day"
    SHARE = "share"
    """0.5 for 50 %."""
    CHANGE = "change"
    """0.5 for +50 %."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    title: Message
    unit: Unit = Unit.TEXT


USE = (
    Column("name", Message("Person")),
    Column("builds", Message("Builds"), Unit.COUNT),
    Column("build_seconds", Message("Build time"), Unit.SECONDS),
    Column("launches", Message("Launches"), Unit.COUNT),
    Column("environments", Message("Environments"), Unit.COUNT),
    Column("image_bytes", Message("Images"), Unit.BYTES),
)
LIMITS = (
    Column(LimitName.ENVIRONMENTS, Message("Environments"), Unit.COUNT),
    Column(LimitName.BUILDS, Message("Builds waiting or running"), Unit.COUNT),
    Column(LimitName.RUNNING, Message("Builds running at once"), Unit.COUNT),
    Column(LimitName.SHARE, Message("Share of the queue"), Unit.COUNT),
)
OVERRIDES = (Column("holder", Message("Applies to")), Column("name", Message("Name")), *LIMITS)
CHOSEN = (
    Column("name", Message("Limit")),
    Column("limit", Message("Value"), Unit.COUNT),
    Column("source", Message("From")),
    Column("group", Message("Group")),
    Column("until", Message("Until")),
)
QUEUE = (
    Column("id", Message("Build")),
    Column("state", Message("State")),
    Column("label", Message("Repository")),
    Column("resolved_ref", Message("Commit"), Unit.COMMIT),
    Column("requested_by", Message("Person")),
    Column("people", Message("People"), Unit.COUNT),
)
HISTORY = (
    *QUEUE[:5],
    Column("created", Message("Created"), Unit.TIME),
    Column("why", Message("Reason")),
)
ENVIRONMENTS = (
    Column("id", Message("Environment")),
    Column("owner", Message("Person")),
    Column("name", Message("Name")),
    Column("state", Message("State")),
    Column("label", Message("Repository")),
    Column("ref", Message("Ref")),
    Column("launched", Message("Last launch"), Unit.TIME),
)
FEATURED = (
    Column("id", Message("Environment")),
    Column("subject", Message("For")),
    Column("name", Message("Name")),
    Column("owner", Message("Person")),
    Column("label", Message("Repository")),
    Column("text", Message("Text")),
)
RULES = (
    Column("id", Message("Rule")),
    Column("kind", Message("Kind")),
    Column("pattern", Message("Pattern")),
    Column("reason", Message("Reason")),
    Column("created_by", Message("Person")),
    Column("created", Message("Created"), Unit.TIME),
)
DETECTIONS = (
    Column("id", Message("Report")),
    Column("repository", Message("Repository")),
    Column("person", Message("Person")),
    Column("program", Message("Program")),
    Column("confirmed", Message("Confirmed")),
    Column("times", Message("Times"), Unit.COUNT),
    Column("last", Message("Last"), Unit.TIME),
)
FAILURES = (
    Column("times", Message("Builds"), Unit.COUNT),
    Column("kind", Message("Kind")),
    Column("message", Message("Reason")),
    Column("line", Message("Line")),
    Column("last", Message("Last"), Unit.TIME),
    Column("build_id", Message("Newest build")),
)
HOSTS = (
    Column("name", Message("Name")),
    Column("state", Message("State")),
    Column("running", Message("Running"), Unit.COUNT),
    Column("built", Message("Built"), Unit.COUNT),
    Column("build_failures", Message("Failed builds"), Unit.COUNT),
    Column("host_failures", Message("Failures of the host"), Unit.COUNT),
    Column("reason", Message("Reason")),
)
AUDIT = (
    Column("time", Message("Time"), Unit.TIME),
    Column("actor", Message("Person")),
    Column("action", Message("Action")),
    Column("target", Message("Target")),
    Column("detail", Message("Details")),
)
