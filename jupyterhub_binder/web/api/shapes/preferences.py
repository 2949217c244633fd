"""The JSON objects of what a person prefers; see `shapes`."""

from __future__ import annotations

from jupyterhub_binder.web.api.shapes import Path, shape


@shape
class ApplicationJSON:
    """A program in an environment that shows itself in a browser."""

    name: str
    path: str
    """Below the server's address: /rstudio; empty: what the environment's settings open"""


@shape
class PreferenceJSON:
    """What you prefer in one environment."""

    pinned: bool
    """Whether it stands at the top of your list"""
    opens: str
    """The path of the application that the pages open; empty: as in the environment's settings"""
    applications: tuple[ApplicationJSON, ...]
    """What the current build has; empty if its packages are unknown"""


@shape
class PreferenceBody:
    """What to change."""

    pinned: bool | None = None
    """Whether it stands at the top of your list"""
    opens: Path | None = None
    """The path of one of its applications; empty: as in the environment's settings"""
