"""The JSON objects about backends; see `shapes`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from jupyterhub_binder.backends.base import HostState
from jupyterhub_binder.web.api.shapes import Between, Count, shape


@shape
class HostJSON:
    """The state of one of the backend's BinderHubs."""

    name: str
    url: str
    weight: Annotated[float, Between()]
    state: HostState
    reason: str | None
    """What is wrong; null if nothing is"""
    checked: datetime | None
    """When it was last asked"""
    version: str | None
    providers: tuple[str, ...] | None
    """Prefixes; null if it does not say"""
    running: Count
    built: Count
    """Since the service started, as the next two"""
    build_failures: Count
    """Builds that failed because of their repository"""
    host_failures: Count
    """Builds that it could not accept or finish"""


@shape
class BackendJSON:
    """A build backend."""

    name: str
    description: str
    health: str | None
    """What is wrong; null if nothing is"""
    hosts: tuple[HostJSON, ...]
    """The BinderHubs that it sends builds to"""
