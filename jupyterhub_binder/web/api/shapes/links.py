"""The JSON objects about pasted links and their previews; see `shapes`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from jupyterhub_binder.model import (
    RefKind,
    Severity,
)
from jupyterhub_binder.web.api.shapes import (
    Address,
    Count,
    NamedJSON,
    Path,
    Ref,
    Seconds,
    SpecJSON,
    TextLine,
    shape,
)


@shape
class LinkBody:
    """A repository, as `url` or as `provider` and `spec`."""

    url: Address | None = None
    """A repository's address in any form; or give provider and spec"""
    provider: Annotated[str, TextLine(20, min_length=1)] | None = None
    spec: Address | None = None
    """BinderHub's text after the prefix: owner/name/ref"""
    ref: Ref | None = None
    """Replaces the ref in url or spec"""
    path: Path | None = None
    """What opens: relative to the repository's root, or below the server's address: /rstudio"""


@shape
class CommitJSON:
    """A commit."""

    sha: str
    subject: str
    time: datetime


@shape
class RecipeFileJSON:
    """A configuration file."""

    path: str
    kind: str
    used: bool
    """False if another file takes precedence"""
    supported: bool
    action: str
    """What the backend does with it"""


@shape
class RecipeJSON:
    """The configuration files that decide the image."""

    directory: str
    """Where the configuration files are: '', binder or .binder"""
    buildpack: str
    python: str
    packages: Count
    unpinned: tuple[str, ...]
    files: tuple[RecipeFileJSON, ...]


@shape
class FindingJSON:
    """A note or warning about a repository."""

    severity: Severity
    code: str
    message: str
    path: str


@shape
class WayJSON:
    """A backend that can make the environment."""

    backend: str
    made: str
    """What happens: made as a folder"""
    expected_seconds: Seconds | None


@shape
class PreviewJSON(SpecJSON):
    """What a link would build."""

    path: str
    """What opens: relative to the repository's root, or below the server's address: /rstudio"""
    content_url: str
    """The git repository of the files; empty if they are the environment's own"""
    content_ref: str
    """The branch, tag or commit of content_url"""
    resolved_ref: str
    ref_kind: RefKind
    default_branch: str
    """The name of the branch behind the ref HEAD; empty if unknown"""
    commit: CommitJSON | None
    name: str
    """A name for the environment"""
    directory: str
    """The folder in the home directory for the files"""
    recipe: RecipeJSON
    findings: tuple[FindingJSON, ...]
    built: bool
    """Whether somebody has already built this"""
    expected_seconds: Seconds | None
    earlier_builds: Count
    backend: str
    """What makes it"""
    why: str
    """Why this one of several backends: apt.txt"""
    ways: tuple[WayJSON, ...]
    """All backends that can, in order; empty if this hub has only one"""
    kept: NamedJSON | None
    """Your environment of this repository, if you have one"""
