"""The admins' part with things that were made up: little, nothing, or a thousand rows of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from jupyterhub_binder.admin.usage import UseOrder, find, in_order
from jupyterhub_binder.admin.usage_reports import UsageReports
from jupyterhub_binder.maintenance.alerts.destinations import Destination
from jupyterhub_binder.maintenance.alerts.outbox import AlertDelivery
from jupyterhub_binder.maintenance.archive.service import Archive
from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.maintenance.images import DiskUse
from jupyterhub_binder.maintenance.software import Installed
from jupyterhub_binder.model import Environment, Page, User
from jupyterhub_binder.model.admin import (
    Action,
    FailureKind,
    Holder,
    LimitName,
    LimitOverride,
    PersonUse,
    Rule,
    RuleKind,
)
from jupyterhub_binder.model.alerts import Alert, AlertName, Notice
from jupyterhub_binder.model.detections import Detection
from jupyterhub_binder.model.overview import RecentFailures, Totals
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.usage import LaunchOutcome, PeriodKind, period_of
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.build_lists import BuildPart
from jupyterhub_binder.store.usage_counting import EndedLaunch, Tally
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from tests.kit.canned import HOSTILE, NOW, PREFIX, all_states, serve
from tests.kit.parts import AdminParts
from tests.kit.usage import fill as fill_usage

ROOT = User("root", admin=True)


class MadeUpUsage:
    """Stands for what people use."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def fetch(self, *, order: UseOrder, search: str = "", **_: Any) -> list[PersonUse]:
        return in_order(find(self._uses(), search), order)

    def _uses(self) -> tuple[PersonUse, ...]:
        names = ["ada", HOSTILE, *(f"student-{n:04}" for n in range(self._rows - 2))]
        return tuple(
            PersonUse(name, 500 - n % 400, 61.5 * n, n * 3, n % 90, n * 412_000_000)
            for n, name in enumerate(names[: self._rows], 1)
        )


class MadeUpStore:
    """Stands for what the database counts."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def list_failure_kinds(
        self, *, known: bool, offset: int = 0, limit: int = 50
    ) -> Page[FailureKind]:
        failed = [e.latest.build for e in all_states() if e.latest and e.latest.build.reason]
        kinds = tuple(
            FailureKind(
                f"rule-{n}" if known else f"{n:012x}", known, 4000 - n, NOW, failed[n % len(failed)]
            )
            for n in range(self._rows)
        )
        return Page(kinds[offset : offset + limit], len(kinds), offset, limit)

    async def list_builds(self, *_: Any, limit: int, **__: Any) -> BuildPart:
        made = [e.latest.build for e in all_states() if e.latest]
        found = tuple(
            replace(made[n % len(made)], id=f"b{n:09}", created_by=HOSTILE if n == 1 else "ada")
            for n in range(min(self._rows, limit))
        )
        return BuildPart(found, "b000000049" if self._rows > limit else "", self._rows > limit)

    async def fetch_totals(self, *, until: datetime, **_: Any) -> Totals:
        if not self._rows:
            return Totals()
        if NOW - until > timedelta(days=1):
            return Totals(180, 9, 402, 3, 91)
        return Totals(212, 31, 388, 12, 97)

    async def list_recent_failures(self, *, limit: int, **_: Any) -> tuple[RecentFailures, ...]:
        page = await self.list_failure_kinds(known=True, limit=limit)
        return tuple(RecentFailures(kind.key, kind.times, kind.newest) for kind in page.items)

    async def list_large_owners(self, *, limit: int, **_: Any) -> tuple[tuple[str, int], ...]:
        names = [HOSTILE * 4, "ada", *(f"student-{n:04}" for n in range(self._rows))]
        return tuple((name, 10_000 + n) for n, name in enumerate(names[: self._rows]))[:limit]


class MadeUpCleanup:
    """Stands for the clean-up."""

    budget_bytes = 200 * 10**9
    unused_days = 30.0
    freeing = False

    def __init__(self, rows: int) -> None:
        self.problem = HOSTILE if rows == 1000 else ""
        self.disk_use = DiskUse(rows, rows * 10**9, 3 * 10**9, rows // 2, rows // 2 * 10**9, NOW)

    def free(self, user: User) -> None:
        self.freeing = True


class MadeUpAlerts:
    """Stands for the alerts: all of them, with destinations that work and that fail."""

    stopped = False
    problem = ""

    def __init__(self, rows: int) -> None:
        text = "No build of the last hour succeeded. " + HOSTILE
        names = AlertName if rows else ()
        self.on = tuple(Alert(name, text, NOW - timedelta(hours=5), NOW) for name in names)
        chat = AlertDelivery(Place("chat", "hooks.example.org"), sent=NOW)
        down = "hooks.example.org answered with status 404."
        fails = AlertDelivery(Place(HOSTILE * 4, "x" * 200), problem=down)
        self.deliveries = (chat, fails, AlertDelivery(Place("email", "ops@example.org")))[
            : rows or 0
        ]

    async def test(self, name: str) -> tuple[AlertDelivery, ...]:
        return tuple(each for each in self.deliveries if each.destination.name == name)


class MadeUpDetections:
    """Stands for the reports of a detector."""

    def __init__(self, rows: int) -> None:
        kinds = (
            {"repository": "github.com/org/name", "user": "ada", "confirmed": True, "times": 12},
            {"repository": HOSTILE * 4, "user": HOSTILE * 4, "server_name": HOSTILE},
            {"user": "ada", "program": HOSTILE},
            {"named": "https://github.com/org/other", "environment_id": "e000000001"},
        )
        self._found = tuple(
            Detection(**{"id": f"r{n:09}", "time": NOW, "last": NOW, **kinds[n % len(kinds)]})
            for n in range(min(rows, 20))
        )

    async def list_open(self) -> tuple[Detection, ...]:
        return self._found


class Place(Destination):
    """Sends nothing."""

    async def send(self, notice: Notice) -> None:
        """Do nothing."""


class MadeUpSoftware:
    """Stands for the versions: old ones, if there is anything at all."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    async def list(self) -> tuple[Installed, ...]:
        here = Installed("jupyterhub-binder", "0.1.0", Message("this service"))
        if not self._rows:
            return (here,)
        return (
            Installed("jupyterhub", "5.4.4", Message("the hub"), of_hub=True),
            Installed("oauthenticator", "17.4.0", Message("the hub's authenticator"), of_hub=True),
            here,
            Installed("binderhub", "1.0.0-0.dev", Message("the BinderHub %(name)s", name=HOSTILE)),
        )


async def fill(admin: AdminParts, store: Store, rows: int) -> None:
    """Keep rules, limits and entries of the audit log; the first ones are the odd ones."""
    admin.rules.banned = {"github.com/miners/*": "It mines coins."}
    reasons = ["It mines coins.", HOSTILE, ""]
    for n in range(rows):
        pattern = f"github.com/org-{n}/{'x' * 90 if n == 1 else 'name'}"
        await store.put_rule(
            Rule(
                RuleKind.BAN, pattern, reasons[n % 3], new_id(), NOW, HOSTILE if n == 1 else "root"
            )
        )
        await store.put_limit_override(
            LimitOverride(
                Holder.GROUP if n % 2 else Holder.PERSON,
                HOSTILE if n == 1 else f"name-{n:04}",
                {LimitName.ENVIRONMENTS: 10 + n, LimitName.SHARE: 1 + n % 3},
                NOW,
                "root",
            )
        )
        actions = list(Action)
        admin.audit.note(
            HOSTILE if n == 1 else f"admin-{n % 9}",  # of one person few are kept an hour
            actions[n % len(actions)],
            "github.com/org/name" * (1 + n % 7),
            repository="github.com/org/name",
            for_everybody=bool(n % 2),
            limits={"builds": n},
        )
    await store.put_groups("ada", ("name-0001", "astronomy"))
    admin.limits.register(LimitName.ENVIRONMENTS, lambda: 100)
    admin.limits.register(LimitName.BUILDS, lambda: 10)
    admin.limits.register(LimitName.RUNNING, lambda: 2)


async def _count_sessions(store: Store, rows: int) -> None:
    """Count sessions in this quarter and those before; the names of some are odd."""
    quarter = period_of(PeriodKind.QUARTER, utc_now().date())
    quarters = [quarter]
    for _ in range(4):
        quarters.insert(0, quarters[0].before)
    await fill_usage(store, {each.name: rows * n for n, each in enumerate(quarters, 10)})
    tally = Tally()
    at = datetime.combine(quarter.first, time(), UTC)
    for n in range(12):
        origin, label = (HOSTILE * 4, HOSTILE * 4) if n == 1 else (f"binder-{n}", f"host/{n}")
        tally.add_launch(
            EndedLaunch(at, "ada", LaunchOutcome.READY, origin, "gh", label, label, seconds=n)
        )
    await store._database.run(tally.store)


def environments(rows: int) -> tuple[Environment, ...]:
    """Return environments of many people."""
    states = all_states()
    return tuple(
        replace(states[n % len(states)], id=f"e{n:09}", owner=f"student-{n:04}")
        for n in range(rows)
    )


@asynccontextmanager
async def admin_pages(folder: Path, rows: int) -> AsyncIterator[tuple[str, AdminParts]]:
    """Serve the admins' pages; give their address, and what stands behind them."""
    store = await Store.open(f"sqlite:///{folder}/binder.sqlite")
    admin = AdminParts.make(store=store, providers=Providers(git=Git()))
    await fill(admin, store, rows)
    await admin.start()
    shown = environments(rows) if rows != 3 else all_states()
    if rows:
        await _count_sessions(store, rows)
    made_up = {
        "usage": MadeUpUsage(rows),
        "usage_reports": UsageReports(store=store, public=True),
        "store": MadeUpStore(rows),
        "cleanup": MadeUpCleanup(rows),
        "software": MadeUpSoftware(rows),
        "archive": Archive(store=store, providers=Providers(git=Git()), audit=admin.audit),
        "alerts": MadeUpAlerts(rows),
        "detections": MadeUpDetections(rows),
        "disk": lambda: Disk(512 * 10**9, 41 * 10**9, 10**9),
    }
    server, port = serve(shown, admin={**vars(admin), **made_up})
    try:
        yield f"http://127.0.0.1:{port}{PREFIX}", admin
    finally:
        server.stop()
        await admin.stop()
        await store.close()
