"""The JSON objects of what a person can open and prefers; see `shapes`."""

from __future__ import annotations

from typing import Literal

from jupyterhub_binder.web.api.shapes import Count, PageQuery, Path, Search, shape


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


@shape
class FilesQuery(PageQuery):
    """Which files."""

    search: Search = ""
    """Only paths that contain these words"""


@shape
class RepositoryFileJSON:
    """A file that people open first."""

    path: str
    """In the repository; `path` of a launch opens it"""
    kind: Literal["readme", "notebook"]


@shape
class RepositoryFilesJSON:
    """The README and the notebooks of an environment's repository."""

    known: bool
    """False if there is no build, if servers get other files, or if the service has no copy"""
    resolved_ref: str | None
    """The commit that has these files: the current build's"""
    items: tuple[RepositoryFileJSON, ...]
    total: Count
    """Of all that were found; if there are more than 1,000 notebooks, the others can't be listed"""
    offset: Count
    limit: Count
