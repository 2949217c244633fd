"""The JSON objects of alerts. See `shapes`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from jupyterhub_binder.model.alerts import AlertName
from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS
from jupyterhub_binder.web.api.shapes import TextLine, shape


@shape
class AlertJSON:
    """An alert that is on."""

    name: AlertName
    text: str
    """What is wrong and what to do"""
    since: datetime


@shape
class DestinationJSON:
    """Who is told about alerts."""

    name: str
    shown: str
    """The host of a webhook, or the receivers of e-mail"""
    sent: datetime | None
    """When the last message was sent, since the service started"""
    problem: str
    """Why the last message failed; empty if it did not"""


@shape
class AlertsJSON:
    """The alerts that are on, and who is told."""

    items: tuple[AlertJSON, ...]
    destinations: tuple[DestinationJSON, ...]


@shape
class AlertTestBody:
    """Where to send a test message."""

    destination: Annotated[str, TextLine(MAX_NAME_CHARACTERS)] = ""
    """The name of a destination; empty for all"""
