"""An administrator's home page: what runs, what failed, and what needs a hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from jupyterhub_binder.admin import columns
from jupyterhub_binder.maintenance.advisories import checked_on
from jupyterhub_binder.model.admin import LimitName
from jupyterhub_binder.model.overview import Totals
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.web.overview import FAILURE_DAYS, fetch_overview
from jupyterhub_binder.web.pages.admin.base import AdminPage
from jupyterhub_binder.web.pages.views import BuildView, HostView

_SHOWN_BUILDS = 5
_SHOWN_PEOPLE = 8
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


class HomePage(AdminPage):
    """``/admin``."""

    async def get(self) -> None:
        """Show the state of everything, each figure with the page to act on it."""
        services = self.services
        overview = await fetch_overview(services)
        active = (*overview.running, *overview.waiting)
        day = overview.time.date()
        self.render_tab(
            "home",
            overview=overview,
            wrong=any(overview.parts.values()),
            day=day,
            compared=compare(overview.today, overview.week_ago, day),
            builds=[
                BuildView(build, await self.fetch_progress(build))
                for build in active[:_SHOWN_BUILDS]
            ],
            failure_days=FAILURE_DAYS,
            people=overview.people[:_SHOWN_PEOPLE],
            more_people=max(0, len(overview.people) - _SHOWN_PEOPLE),
            limit_titles=_LIMIT_TITLES,
            hosts=[HostView(host) for host in overview.hosts],
            backend=services.backend,
            cleanup=services.cleanup,
            advisories_checked=checked_on(),
            refresh=30 if active else None,
        )


class FreeAction(AdminPage):
    """``POST /admin/cleanup``."""

    async def post(self) -> None:
        """Begin to remove the images that nobody uses."""
        self.services.cleanup.free(self.me)
        self.redirect(f"{self.prefix}admin#disk", status=303)
