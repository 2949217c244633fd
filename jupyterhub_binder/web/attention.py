"""What an administrator should look at, as sentences with a page to act on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.maintenance.alerts.outbox import AlertDelivery
from jupyterhub_binder.maintenance.software import Installed, spawner_differs
from jupyterhub_binder.model.admin import Drain
from jupyterhub_binder.model.alerts import Alert, AlertName
from jupyterhub_binder.model.detections import Detection
from jupyterhub_binder.model.text import Message

_ALERT_PATHS: Mapping[AlertName, tuple[str, Message]] = {
    AlertName.QUEUE: ("admin/queue", Message("Show the queue")),
    AlertName.FAILURES: ("admin/failures", Message("Show all failures")),
    AlertName.BACKUP: ("admin/alerts", Message("Show the alerts")),
    AlertName.CERTIFICATE: ("admin/alerts", Message("Show the alerts")),
}


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing to look at."""

    kind: Literal["bad", "warn"]
    word: Message
    text: str
    path: str = ""
    """Where one acts on it, below the service's prefix or an anchor of the overview."""
    action: Message | str = ""


def of_health(parts: Mapping[str, str | None]) -> Iterator[Concern]:
    """Yield the parts of the service that don't work."""
    paths = {
        "backend": ("admin/backends", Message("Show the backends")),
        "disk": ("#disk", Message("Show the disk")),
    }
    for part, wrong in parts.items():
        if wrong:
            path, action = paths.get(part.partition(" ")[0], ("", ""))
            yield Concern("bad", Message("Not working"), wrong, path, action)


def of_drain(drain: Drain | None) -> Iterator[Concern]:
    """Yield a drain that is on."""
    if drain is not None:
        text = Message("New builds wait: %(person)s has paused them.", person=drain.by)
        yield Concern("warn", Message("Paused"), text, "admin/drain", Message("Resume builds"))


def of_hosts(hosts: Iterable[HostStatus]) -> Iterator[Concern]:
    """Yield the BinderHubs that get no builds."""
    for host in hosts:
        if host.state is HostState.FAILED:
            text = Message(
                "%(name)s gets no builds. %(reason)s", name=host.name, reason=host.reason
            )
            action = Message("Show the backends")
            yield Concern("bad", Message("Unavailable"), text, "admin/backends", action)


def of_software(installed: tuple[Installed, ...]) -> Iterator[Concern]:
    """Yield packages with known holes, and a hub with another version of this package."""
    for each in installed:
        if found := each.advisories:
            text = Message.counted(
                "%(package)s %(version)s of %(where)s has %(num)s known vulnerability.",
                "%(package)s %(version)s of %(where)s has %(num)s known vulnerabilities.",
                len(found),
                package=each.package,
                version=each.version,
                where=each.where,
            )
            severe = {"high", "critical"} & {one.severity for one in found}
            kind = "bad" if severe else "warn"
            yield Concern(kind, Message("Vulnerable"), text, "#versions", Message("Show which"))
    if other := spawner_differs(installed):
        text = Message(
            "The hub has jupyterhub-binder %(other)s, this service %(own)s. Install the same "
            "version in both.",
            other=other,
            own=__version__,
        )
        yield Concern("warn", Message("Versions differ"), text, "#versions", Message("Show both"))


def of_reports(reports: tuple[Detection, ...]) -> Iterator[Concern]:
    """Yield that a detector's reports wait for a decision."""
    if reports:
        text = Message.counted(
            "A detector reported a forbidden program in %(name)s.",
            "A detector sent %(num)s reports of forbidden programs, the last about %(name)s.",
            len(reports),
            name=reports[0].title,
        )
        yield Concern("bad", Message("Report"), text, "admin/rules#reports", Message("Decide"))


def of_cleanup(problem: str) -> Iterator[Concern]:
    """Yield why the last clean-up failed."""
    if problem:
        yield Concern("warn", Message("No clean-up"), problem, "#disk", Message("Show the disk"))


def of_archive(problem: str) -> Iterator[Concern]:
    """Yield why the archive of launches waits."""
    if problem:
        yield Concern("warn", Message("No archive"), problem)


def of_alerts(on: Iterable[Alert], deliveries: Iterable[AlertDelivery]) -> Iterator[Concern]:
    """Yield alerts that are on, except those that other parts say, and who can't be told."""
    for alert in on:
        if alert.name not in (AlertName.DISK, AlertName.TOKEN, AlertName.DETECTOR):
            path, action = _ALERT_PATHS[alert.name]
            yield Concern("bad", Message("Alert"), alert.text, path, action)
    for each in deliveries:
        if each.problem:
            text = Message(
                "Alerts don't reach %(name)s. %(why)s",
                name=each.destination.name,
                why=each.problem,
            )
            action = Message("Show the alerts")
            yield Concern("bad", Message("Alert not sent"), text, "admin/alerts", action)


def of_checks(problem: str, *, stopped: bool) -> Iterator[Concern]:
    """Yield that alerts are not checked."""
    action = Message("Show the alerts")
    if stopped:
        text = Message("Alerts are no longer checked. The log says why. Restart the service.")
        yield Concern("bad", Message("Not working"), text, "admin/alerts", action)
    elif problem:
        yield Concern("warn", Message("No alerts"), problem, "admin/alerts", action)


def worst_first(concerns: Iterable[Concern]) -> tuple[Concern, ...]:
    """Sort, and leave out repetitions."""
    return tuple(sorted(dict.fromkeys(concerns), key=lambda each: each.kind != "bad"))
