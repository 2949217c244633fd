"""The JSON objects about launches and servers; see `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from jupyterhub_binder.model import (
    LaunchState,
)
from jupyterhub_binder.web.api.shapes import (
    Between,
    NamedJSON,
    Number,
    Path,
    ProfileName,
    ReasonJSON,
    ServerName,
    shape,
)


@shape
class LaunchBody:
    """A server to start."""

    server_name: ServerName = ""
    """Empty for the default server"""
    path: Path | None = None
    """What opens; default: the environment's setting"""
    restart: bool = False
    """Stop a running server of this name first"""
    profile: ProfileName | None = None
    """The slug of one of the hub's profiles, or empty for the hub's default. It is remembered.
    Default: the one that you chose last for this environment"""
    profile_options: Mapping[str, Any] | None = None
    """The profile's options: the value of each by its name"""


@shape
class LaunchLinksJSON:
    """A launch's addresses."""

    self: str
    events: str
    cancel: str
    page: str


@shape
class LaunchJSON:
    """One start of a server."""

    id: str
    environment: NamedJSON
    server_name: str
    path: str
    profile: str
    """The hub's profile; empty for the hub's default"""
    state: LaunchState
    build_id: str | None
    progress: Annotated[int, Between(0, 100)]
    message: str
    url: str | None
    """The server's address, once it is ready"""
    created: datetime
    finished: datetime | None
    reason: ReasonJSON | None
    links: LaunchLinksJSON


@shape
class ServerJSON:
    """A running server."""

    name: str
    """Empty for the default server"""
    display_name: str
    ready: bool
    url: str | None
    environment: NamedJSON | None
    build_number: Number | None
    """The environment's build that it runs in; null if unknown"""
    outdated: bool
    """Whether the next start would use another build"""
    started: datetime | None
