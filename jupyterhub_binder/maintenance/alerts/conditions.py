"""What an alert is about: from what was measured to whether it is on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from jupyterhub_binder.maintenance.health import Disk
from jupyterhub_binder.model.alerts import AlertName
from jupyterhub_binder.model.detections import Detection, Reports
from jupyterhub_binder.utils.terminal import shorten
from jupyterhub_binder.utils.units import format_bytes

_PERCENT_OF_LIMIT = 110
"""An alert about the disk ends with a tenth more than the limit, so that it does not flicker."""
_PERCENT_MORE = 5
_MINUTE_SECONDS = 60
_SHOWN_NAMES = 3
_NAME_CHARACTERS = 100
"""A process may choose what it is called."""


class Verdict(Enum):
    """Whether a condition holds."""

    BAD = "bad"
    BETWEEN = "between"
    """Not bad enough to begin an alert, not good enough to end one; or nothing is known."""
    GOOD = "good"
    OFF = "off"
    """An administrator has turned the condition off: its alert ends without a message."""


@dataclass(frozen=True, slots=True)
class AlertFinding:
    """One condition."""

    name: AlertName
    verdict: Verdict
    text: str
    """What is wrong and what to do; or what is right again."""


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """When alerts begin."""

    queue_minutes: float
    success_percent: float
    min_builds: int
    backup_hours: float
    expiry_days: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known now; None for what is not."""

    now: datetime
    disk: Disk | None = None
    oldest_wait_seconds: float | None = 0.0
    """0 if nothing waits; None while an administrator has paused builds."""
    built: int = 0
    failed: int = 0
    """Builds of the last hour."""
    reports: Reports = field(default_factory=Reports)
    last_backup: datetime | None = None
    certificate_host: str = ""
    """Empty without a public address with https."""
    certificate_expires: datetime | None = None
    token_expires: datetime | None = None
    token_refused: bool = False


def judge(measured: Measured, limits: AlertLimits) -> Iterator[AlertFinding]:
    """Yield a finding for each condition."""
    yield _disk(measured.disk)
    yield _queue(measured.oldest_wait_seconds, limits)
    yield _failures(measured.built, measured.failed, limits)
    yield _detector(measured.reports)
    yield _backup(measured, limits)
    yield _certificate(measured, limits)
    yield _token(measured, limits)


def _disk(disk: Disk | None) -> AlertFinding:
    if disk is None:
        return AlertFinding(AlertName.DISK, Verdict.BETWEEN, "")
    free, least = format_bytes(disk.free_bytes), format_bytes(disk.min_free_bytes)
    if disk.low:
        text = (
            f"Only {free} are free on the disk with the service's state (limit: {least}). "
            "Free some space on the page Overview."
        )
        return AlertFinding(AlertName.DISK, Verdict.BAD, text)
    enough = 100 * disk.free_bytes >= _PERCENT_OF_LIMIT * disk.min_free_bytes
    return AlertFinding(AlertName.DISK, _good(enough), f"{free} are free again.")


def _queue(seconds: float | None, limits: AlertLimits) -> AlertFinding:
    if seconds is None:
        return AlertFinding(AlertName.QUEUE, Verdict.BETWEEN, "")
    minutes = seconds / _MINUTE_SECONDS
    if minutes > limits.queue_minutes:
        text = (
            f"A build has waited for {minutes:.0f} minutes (limit: {limits.queue_minutes:g}). "
            "Raise Builds.max_running, or look on the page Queue for builds that hang."
        )
        return AlertFinding(AlertName.QUEUE, Verdict.BAD, text)
    good = minutes <= limits.queue_minutes / 2
    return AlertFinding(AlertName.QUEUE, _good(good), "Builds no longer wait too long.")


def _failures(built: int, failed: int, limits: AlertLimits) -> AlertFinding:
    total = built + failed
    if total < limits.min_builds:
        # Without builds nothing is known; after a night the alert need not wait for them.
        return AlertFinding(
            AlertName.FAILURES, _good(not total), "No build failed in the last hour."
        )
    percent = 100 * built / total
    if percent < limits.success_percent:
        text = (
            f"{failed} of {total} builds failed in the last hour; {percent:.0f} % succeeded "
            f"(limit: {limits.success_percent:g} %). The page Failures has the reasons."
        )
        return AlertFinding(AlertName.FAILURES, Verdict.BAD, text)
    good = percent >= min(100, limits.success_percent + _PERCENT_MORE)
    text = f"{percent:.0f} % of {total} builds succeeded in the last hour."
    return AlertFinding(AlertName.FAILURES, _good(good), text)


def _detector(reports: Reports) -> AlertFinding:
    if not (reports.open or reports.banned):
        text = "No detector report waits for a decision."
        return AlertFinding(AlertName.DETECTOR, Verdict.GOOD, text)
    sentences = []
    if reports.open:
        named = _names(reports.open)
        sentences.append(
            f"The detector reported forbidden programs: {named}. Decide on the page Rules."
        )
    if reports.banned:
        sentences.append(f"Banned after a report of the detector: {_names(reports.banned)}.")
    return AlertFinding(AlertName.DETECTOR, Verdict.BAD, " ".join(sentences))


def _names(found: tuple[Detection, ...]) -> str:
    names = list(dict.fromkeys(each.title for each in found))
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(shorten(name, _NAME_CHARACTERS) for name in names[:_SHOWN_NAMES]) + more


def _backup(measured: Measured, limits: AlertLimits) -> AlertFinding:
    last = measured.last_backup
    if not limits.backup_hours:
        return AlertFinding(AlertName.BACKUP, Verdict.OFF, "")
    if last is None:
        return AlertFinding(AlertName.BACKUP, Verdict.BETWEEN, "")
    if measured.now - last > timedelta(hours=limits.backup_hours):
        text = (
            f"The last backup of the database was made on {last:%Y-%m-%d %H:%M} UTC. Find out why "
            "jupyterhub-binder db backup no longer runs."
        )
        return AlertFinding(AlertName.BACKUP, Verdict.BAD, text)
    return AlertFinding(AlertName.BACKUP, Verdict.GOOD, "The database was backed up again.")


def _certificate(measured: Measured, limits: AlertLimits) -> AlertFinding:
    expires, host = measured.certificate_expires, measured.certificate_host
    if not host:
        return AlertFinding(AlertName.CERTIFICATE, Verdict.OFF, "")
    if expires is None:
        return AlertFinding(AlertName.CERTIFICATE, Verdict.BETWEEN, "")
    if expires - measured.now < timedelta(days=limits.expiry_days):
        verb = "expired" if expires <= measured.now else "expires"
        text = f"The certificate of {host} {verb} at {expires:%Y-%m-%d %H:%M} UTC. Renew it."
        return AlertFinding(AlertName.CERTIFICATE, Verdict.BAD, text)
    text = f"The certificate of {host} is valid until {expires:%Y-%m-%d}."
    return AlertFinding(AlertName.CERTIFICATE, Verdict.GOOD, text)


def _token(measured: Measured, limits: AlertLimits) -> AlertFinding:
    if measured.token_refused:
        text = (
            "The hub does not accept the service's token, so nobody can log in. Restart the hub, "
            "then the service, so that both read the same token."
        )
        return AlertFinding(AlertName.TOKEN, Verdict.BAD, text)
    expires = measured.token_expires
    if expires is not None and expires - measured.now < timedelta(days=limits.expiry_days):
        text = f"The service's token expires on {expires:%Y-%m-%d}. Make a new one in the hub."
        return AlertFinding(AlertName.TOKEN, Verdict.BAD, text)
    return AlertFinding(AlertName.TOKEN, Verdict.GOOD, "The hub accepts the service's token.")


def _good(good: bool) -> Verdict:
    return Verdict.GOOD if good else Verdict.BETWEEN
