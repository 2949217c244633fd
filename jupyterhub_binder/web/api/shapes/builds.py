"""The JSON objects about builds; see `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from jupyterhub_binder.model import (
    BuildState,
    Phase,
)
from jupyterhub_binder.utils.wire import OMIT_NONE
from jupyterhub_binder.web.api.shapes import (
    Count,
    NamedJSON,
    Number,
    ReasonJSON,
    Seconds,
    SpecJSON,
    shape,
)


@shape
class BuildSummaryJSON:
    """A build, as one environment's build of a number."""

    id: str
    number: Number | None
    """Counts the environment's builds, from 1"""
    state: BuildState
    phase: Phase
    resolved_ref: str
    """The commit, or a record's version; it never changes"""
    ref: str
    created: datetime
    started: datetime | None
    finished: datetime | None
    size_bytes: Count | None
    reused: bool
    """Whether it uses the image of an earlier build with the same configuration files"""
    packages_from: datetime | None
    """When the image was made, and so from when its packages are"""
    withdrawn: datetime | None
    """When the person cancelled"""
    reason: ReasonJSON | None
    queue_position: Number | None
    """1 is next; null once it runs"""
    step: str
    """what a running build does now, such as `running postBuild`; empty if only its phase is known"""
    expected_seconds: Seconds | None
    elapsed_seconds: Seconds | None


@shape
class BuildLinksJSON:
    """A build's addresses."""

    self: str
    events: str
    log: str
    cancel: str
    page: str


@shape
class BuildJSON(BuildSummaryJSON, SpecJSON):
    """A build, as one person sees it."""

    ref: str
    """As it was typed; it may move"""
    options: Mapping[str, Any]
    backend: str
    lines: Count
    people: Count | None
    """How many people want it"""
    environment: NamedJSON | None
    """Your environment that it is for"""
    requested_by: str | None = field(default=None, metadata=OMIT_NONE)
    """Only for those who may manage the environment"""
    links: BuildLinksJSON


@shape
class LogQuery:
    """After which log line to continue."""

    after: Count = 0
    """The last sequence number seen"""


@shape
class DownloadQuery:
    """How a browser shows the answer."""

    download: str | None = None
    """If present, a browser saves the answer as a file"""
