"""What is reported about a launch that succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LaunchOrigin:
    """Where a launch was requested."""

    host: str = ""
    """This hub's, as the request names it."""
    request_origin: str = ""
    """The request's Origin header, else its Sec-Fetch-Site header."""


@dataclass(frozen=True, slots=True)
class LaunchEvent:
    """A launch that succeeded, without its person."""

    launch_id: str
    time: datetime
    """When the server was ready."""
    provider: str
    """The prefix."""
    spec: str
    """As in a BinderHub link after the prefix, with the ref."""
    resolved_ref: str
    clone_url: str
    """Empty for records."""
    repo_url: str
    origin: LaunchOrigin
