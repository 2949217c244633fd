"""An administrator's home page: what runs, what failed, and what needs a hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from jupyterhub_binder._version import __version__
from jupyterhub_binder.admin import columns
from jupyterhub_binder.admin.people import fetch_at_limit
from jupyterhub_binder.builds.service import QueueState
from jupyterhub_binder.maintenance.advisories import checked_on
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.maintenance.software import Installed
from jupyterhub_binder.model.admin import LimitName
from jupyterhub_binder.model.detections import Detection
from jupyterhub_binder.model.overview import Totals
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.pages.admin import attention
from jupyterhub_binder.web.pages.admin.base import AdminPage
from jupyterhub_binder.web.pages.views import BuildView, HostView

_SHOWN_BUILDS = 5
_SHOWN_REASONS = 5
_SHOWN_PEOPLE = 8
_FAILURE_DAYS = 7
_LIMIT_TITLES = {LimitName(column.name): column.title for column in columns.LIMITS}


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure of today beside the same hours a week ago."""

    title: Message
    now: int
    before: int
    path: str = ""
    """The page with the details."""

    @property
    def change(self) -> str:
        """``+12``, ``-3``, ``0``."""
        return f"{self.now - self.before:+d}" if self.now != self.before else "0"


def compare(now: Totals, before: Totals, day: date) -> list[Compared]:
    """Return the rows of the table; `day` is today."""
    built, failed = (f"admin/builds?state={state}&since={day}" for state in ("built", "failed"))
    return [
        Compared(Message("Builds that succeeded"), now.built, before.built, built),
        Compared(Message("Builds that failed"), now.failed, before.failed, failed),
        Compared(Message("Launches"), now.launches, before.launches, "admin/use?days=7"),
        Compared(Message("Launches that failed"), now.failed_launches, before.failed_launches),
        Compared(Message("People who launched"), now.people, before.people, "admin/use?days=7"),
    ]


def oldest_wait(queue: QueueState, now: datetime) -> float | None:
    """Return for how many seconds the oldest waiting build has waited."""
    oldest = min((build.created for build in queue.waiting), default=None)
    return (now - oldest).total_seconds() if oldest else None


class HomePage(AdminPage):
    """``/admin``."""

    async def get(self) -> None:
        """Show the state of everything, each figure with the page to act on it."""
        services, now = self.services, utc_now()
        queue = services.builds.queue()
        active = (*queue.running, *queue.waiting)
        week, hosts = timedelta(days=7), services.backend.statuses()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        today = await services.store.fetch_totals(since=midnight, until=now)
        before = await services.store.fetch_totals(since=midnight - week, until=now - week)
        failures = await services.store.list_recent_failures(
            since=now - timedelta(days=_FAILURE_DAYS), limit=_SHOWN_REASONS
        )
        people = await fetch_at_limit(services.store, services.limits, active)
        installed = await services.software.list()
        parts = await services.health()
        self.render_tab(
            "home",
            version=__version__,
            hub_version=_hub_version(installed),
            concerns=self._concerns(parts, installed, await services.detections.list_open()),
            wrong=[message for message in parts.values() if message],
            running=len(queue.running),
            waiting=len(queue.waiting),
            max_running=services.builds.max_running,
            oldest_wait=oldest_wait(queue, now),
            day=now.date(),
            today=today,
            compared=compare(today, before, now.date()),
            builds=[
                BuildView(build, await self.fetch_progress(build))
                for build in active[:_SHOWN_BUILDS]
            ],
            failures=failures,
            failure_days=_FAILURE_DAYS,
            people=people[:_SHOWN_PEOPLE],
            more_people=max(0, len(people) - _SHOWN_PEOPLE),
            limit_titles=_LIMIT_TITLES,
            hosts=[HostView(host) for host in hosts],
            backend=services.backend,
            disk=self._disk(),
            cleanup=services.cleanup,
            installed=installed,
            advisories_checked=checked_on(),
            state=services.drain.state,
            refresh=30 if active else None,
        )

    def _concerns(
        self,
        parts: Mapping[str, str | None],
        installed: Sequence[Installed],
        reports: tuple[Detection, ...],
    ) -> list[attention.Concern]:
        services = self.services
        return attention.worst_first(
            (
                *attention.of_health(parts),
                *attention.of_reports(reports),
                *attention.of_hosts(services.backend.statuses()),
                *attention.of_software(tuple(installed)),
                *attention.of_cleanup(services.cleanup.problem),
                *attention.of_alerts(services.alerts.on, services.alerts.deliveries),
                *attention.of_checks(services.alerts.problem, stopped=services.alerts.stopped),
                *attention.of_drain(services.drain.state),
            )
        )

    def _disk(self) -> Disk | None:
        """Return the disk; None if it can't be read, which the health says too."""
        try:
            return self.services.disk()
        except OSError:
            return None


def _hub_version(installed: Sequence[Installed]) -> str:
    found = (each.version for each in installed if each.of_hub and each.package == "jupyterhub")
    return next(found, "")


class FreeAction(AdminPage):
    """``POST /admin/cleanup``."""

    async def post(self) -> None:
        """Begin to remove the images that nobody uses."""
        self.services.cleanup.free(self.me)
        self.redirect(f"{self.prefix}admin#disk", status=303)
