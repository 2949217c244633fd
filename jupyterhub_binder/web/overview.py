"""What administrators look at first: for the page, the REST API and the command line alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jupyterhub_binder._version import __version__
from jupyterhub_binder.admin.people import AtLimit, fetch_at_limit
from jupyterhub_binder.backends.base import HostStatus
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.maintenance.images import DiskUse
from jupyterhub_binder.maintenance.software import Installed
from jupyterhub_binder.model import Build
from jupyterhub_binder.model.admin import Drain
from jupyterhub_binder.model.overview import RecentFailures, Totals
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web import attention
from jupyterhub_binder.web.attention import Concern
from jupyterhub_binder.web.services import Services

FAILURE_DAYS = 7
_MAX_REASONS = 5
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of everything."""

    time: datetime
    version: str
    hub_version: str
    """Empty if the hub has not said it."""
    concerns: tuple[Concern, ...]
    """What needs attention, the worst first."""
    parts: Mapping[str, str | None]
    """What is wrong with each part of the service."""
    drain: Drain | None
    running: tuple[Build, ...]
    waiting: tuple[Build, ...]
    max_running: int
    launches: int
    """Under way."""
    today: Totals
    """Since midnight in UTC."""
    week_ago: Totals
    """In the same hours a week ago."""
    failures: tuple[RecentFailures, ...]
    """Of the last `FAILURE_DAYS`, the most frequent first."""
    people: tuple[AtLimit, ...]
    hosts: tuple[HostStatus, ...]
    disk: Disk | None
    """None if it can't be read, which `parts` says too."""
    disk_use: DiskUse | None
    """None before it was measured."""
    installed: tuple[Installed, ...]

    @property
    def oldest_wait_seconds(self) -> float | None:
        """For how long the oldest waiting build has waited."""
        oldest = min((build.created for build in self.waiting), default=None)
        return (self.time - oldest).total_seconds() if oldest else None


async def fetch_overview(services: Services) -> Overview:
    """Return the overview. Raises StoreUnavailable."""
    store, queue, now = services.store, services.builds.queue(), utc_now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    installed = tuple(await services.software.list())
    parts = await services.health()
    return Overview(
        time=now,
        version=__version__,
        hub_version=_hub_version(installed),
        concerns=await _fetch_concerns(services, parts, installed),
        parts=parts,
        drain=services.drain.state,
        running=queue.running,
        waiting=queue.waiting,
        max_running=services.builds.max_running,
        launches=services.launches.under_way,
        today=await store.fetch_totals(since=midnight, until=now),
        week_ago=await store.fetch_totals(since=midnight - _WEEK, until=now - _WEEK),
        failures=await store.list_recent_failures(
            since=now - timedelta(days=FAILURE_DAYS), limit=_MAX_REASONS
        ),
        people=await fetch_at_limit(store, services.limits, (*queue.running, *queue.waiting)),
        hosts=tuple(services.backend.statuses()),
        disk=_disk(services),
        disk_use=services.cleanup.disk_use,
        installed=installed,
    )


async def _fetch_concerns(
    services: Services, parts: Mapping[str, str | None], installed: tuple[Installed, ...]
) -> tuple[Concern, ...]:
    alerts = services.alerts
    return attention.worst_first(
        (
            *attention.of_health(parts),
            *attention.of_reports(await services.detections.list_open()),
            *attention.of_hosts(services.backend.statuses()),
            *attention.of_software(installed),
            *attention.of_cleanup(services.cleanup.problem),
            *attention.of_archive(services.archive.problem),
            *attention.of_alerts(alerts.on, alerts.deliveries),
            *attention.of_checks(alerts.problem, stopped=alerts.stopped),
            *attention.of_drain(services.drain.state),
        )
    )


def _disk(services: Services) -> Disk | None:
    try:
        return services.disk()
    except OSError:
        return None


def _hub_version(installed: tuple[Installed, ...]) -> str:
    found = (each.version for each in installed if each.of_hub and each.package == "jupyterhub")
    return next(found, "")
