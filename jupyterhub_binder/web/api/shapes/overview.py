"""The JSON objects of the administrators' overview. See `shapes`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from jupyterhub_binder.model.admin import LimitName
from jupyterhub_binder.web.api.shapes import Count, Number, ReasonJSON, Seconds, shape
from jupyterhub_binder.web.api.shapes.admin import DrainJSON
from jupyterhub_binder.web.api.shapes.backends import BackendJSON
from jupyterhub_binder.web.api.shapes.service import CheckJSON


@shape
class ConcernJSON:
    """Something that needs attention."""

    severity: Literal["bad", "warn"]
    title: str
    text: str
    """What is wrong, and mostly what to do"""
    page: str | None
    """The path of the page on which to act"""


@shape
class TotalsJSON:
    """What ended (builds) or began (launches) in a period."""

    built: Count
    failed: Count
    """Builds that failed"""
    launches: Count
    failed_launches: Count
    people: Count
    """Who launched something"""


@shape
class RecentFailuresJSON:
    """Builds that failed lately for one reason."""

    kind: str
    """A rule's id, else a fingerprint, else the reason's code"""
    times: Number
    build_id: str
    """The newest of these builds"""
    label: str
    """Its repository"""
    last: datetime | None
    reason: ReasonJSON | None


@shape
class AtLimitJSON:
    """A person who has reached a limit."""

    person: str
    limit: LimitName
    used: Count
    most: Count


@shape
class DiskJSON:
    """The disk of the service's state."""

    total_bytes: Count
    free_bytes: Count
    min_free_bytes: Count
    """Below this, the service warns"""


@shape
class ImagesJSON:
    """What images take, and what a clean-up could free."""

    images: Count
    image_bytes: Count
    cache_bytes: Count
    """Of the cache of packages"""
    removable: Count
    """Images that a clean-up would remove now"""
    removable_bytes: Count
    measured: datetime


@shape
class AdvisoryJSON:
    """A known vulnerability."""

    ids: tuple[str, ...]
    severity: str
    summary: str
    fixed: str
    """The first version without it"""
    url: str


@shape
class SoftwareJSON:
    """A package that runs here."""

    package: str
    version: str
    where: str
    """Where it is installed"""
    advisories: tuple[AdvisoryJSON, ...]


@shape
class OverviewJSON:
    """The state of everything, for administrators."""

    time: datetime
    version: str
    hub_version: str | None
    attention: tuple[ConcernJSON, ...]
    """What needs attention, the worst first; empty if nothing does"""
    checks: tuple[CheckJSON, ...]
    drain: DrainJSON
    """With the numbers of running and waiting builds"""
    max_running: Number
    """How many builds run at once"""
    oldest_wait_seconds: Seconds | None
    """For how long the oldest waiting build has waited"""
    today: TotalsJSON
    """Since midnight in UTC"""
    week_ago: TotalsJSON
    """In the same hours a week ago"""
    failure_days: Number
    """The period of `failures`"""
    failures: tuple[RecentFailuresJSON, ...]
    """The most frequent reasons of failed builds"""
    people_at_limit: tuple[AtLimitJSON, ...]
    """At most 200"""
    people_at_limit_total: Count
    disk: DiskJSON | None
    """Null if it can't be read"""
    images: ImagesJSON | None
    """Null if they have not been measured yet"""
    backends: tuple[BackendJSON, ...]
    software: tuple[SoftwareJSON, ...]
    advisories_checked: str
    """The day on which this version's list of known vulnerabilities was made"""
