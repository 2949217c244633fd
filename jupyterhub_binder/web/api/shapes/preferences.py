"""The JSON objects of what a person can open and prefers; see `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from jupyterhub_binder.web.api.shapes import Count, PageQuery, Path, ProfileName, Search, shape


@shape
class ApplicationJSON:
    """A program in an environment that shows itself in a browser."""

    name: str
    path: str
    """Below the server's address: /rstudio; empty: what the environment's settings open"""


@shape
class ProfileOptionJSON:
    """A choice within a profile, such as an amount of memory."""

    name: str
    label: str
    choices: Mapping[str, str]
    """The label of each value"""
    default: str


@shape
class ProfileJSON:
    """Resources that the hub offers you for a server: one of KubeSpawner's profiles."""

    slug: str
    name: str
    description: str
    default: bool
    options: tuple[ProfileOptionJSON, ...]


@shape
class PreferenceJSON:
    """What you prefer in one environment."""

    pinned: bool
    """Whether it stands at the top of your list"""
    opens: str
    """The path of the application that the pages open; empty: as in the environment's settings"""
    applications: tuple[ApplicationJSON, ...]
    """What the current build has; empty if its packages are unknown"""
    profile: str
    """The slug of the profile that you chose last; empty: the hub's default"""
    profile_options: Mapping[str, str]
    """Its options"""
    profiles: tuple[ProfileJSON, ...]
    """What the hub offers you; empty if it has no profiles or does not say so"""


@shape
class PreferenceBody:
    """What to change."""

    pinned: bool | None = None
    """Whether it stands at the top of your list"""
    opens: Path | None = None
    """The path of one of its applications; empty: as in the environment's settings"""
    profile: ProfileName | None = None
    """The slug of one of the hub's profiles; empty: the hub's default"""
    profile_options: Mapping[str, Any] | None = None
    """Its options: the value of each by its name"""


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
