"""Alerts as frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlertName(StrEnum):
    """What an alert is about."""

    DISK = "disk"
    QUEUE = "queue"
    FAILURES = "failures"
    DETECTOR = "detector"
    BACKUP = "backup"
    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - the name of an alert


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is on."""

    name: AlertName
    text: str
    """What is wrong and what to do, in English."""
    since: datetime
    said: datetime
    """When the last message about it was sent."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message."""

    event: str
    """``begins``, ``ends``, ``reminder`` or ``test``."""
    alert: str
    subject: str
    text: str
    time: str
    """ISO 8601, in UTC."""


@dataclass(frozen=True, slots=True)
class WaitingNotice:
    """A message on its way to one destination."""

    destination: str
    notice: Notice
    id: int = 0
    """Ascending; assigned by the store."""
