"""The JSON objects about environments; see `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from jupyterhub_binder.admin.rules import MAX_REASON_CHARACTERS
from jupyterhub_binder.model import (
    ContentMode,
    EnvironmentState,
    Hold,
    UpdateMode,
)
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_NAME_CHARACTERS,
)
from jupyterhub_binder.web.api.shapes import (
    BackendName,
    Count,
    Number,
    PageQuery,
    Path,
    Person,
    PythonVersion,
    ReasonJSON,
    Ref,
    Search,
    Seconds,
    SpecJSON,
    TextLine,
    shape,
)
from jupyterhub_binder.web.api.shapes.builds import BuildSummaryJSON
from jupyterhub_binder.web.api.shapes.links import LinkBody


@shape
class EnvironmentLinksJSON:
    """An environment's addresses."""

    self: str
    page: str
    builds: str
    launches: str
    upstream: str


@shape
class ChangedFileJSON:
    """A configuration file that a newer commit changes."""

    path: str
    added: Count | None
    """Lines; null if it is no text"""
    removed: Count | None


@shape
class NewerJSON:
    """What the repository has newer than the current build."""

    resolved_ref: str
    summary: str
    """In words: 3 new commits · requirements.txt: +2 -1 · rebuild about 40 s"""
    checked: datetime
    """When the host last said it"""
    count: Count
    """Newer commits; 0 if unknown"""
    more: bool
    """Whether there are more than `count`"""
    rewritten: bool
    """Whether the branch no longer contains the current build's commit"""
    needs_build: bool | None
    """Whether an update makes a new image; null while it is not known"""
    expected_seconds: Seconds | None
    """Of a build"""
    file_count: Count
    recipe: tuple[ChangedFileJSON, ...]


@shape
class UpdatesHoldJSON:
    """A pause of updates, until the owner resumes them."""

    code: Hold
    message: str


@shape
class NewCommitJSON:
    """A newer commit."""

    sha: str
    author: str
    subject: str
    time: datetime


@shape
class NewerDetailJSON(NewerJSON):
    """What is newer, with commits and differences. All lists are limited."""

    commits: tuple[NewCommitJSON, ...]
    """The newest first"""
    files: tuple[str, ...]
    """Files that differ"""
    diff: tuple[str, ...]
    """The lines of a unified diff of the configuration files"""


@shape
class UpstreamJSON:
    """What is known of what an environment follows."""

    follows: bool
    """False for a commit, and without a build"""
    checked: datetime | None
    """When the host last answered"""
    due: datetime | None
    """From when the host is asked again, when somebody looks or in the background"""
    reason: ReasonJSON | None
    """Why the host did not answer"""
    newer: NewerDetailJSON | None
    """Null if the current build has the newest commit"""


@shape
class EnvironmentJSON(SpecJSON):
    """An environment, with its current and its newest build."""

    id: str
    name: str
    owner: str
    default_branch: str
    """The name of the branch behind the ref HEAD; empty if unknown"""
    right: Right
    """What you may do: launch it, also manage it, or own it"""
    path: str
    """What opens: relative to the repository's root, or below the server's address: /rstudio"""
    content: ContentMode
    content_url: str
    """The git repository of the files; empty if they are the environment's own"""
    content_ref: str
    """The branch, tag or commit of content_url"""
    directory: str
    """The folder in your home directory for the repository's files"""
    options: Mapping[str, Any]
    state: EnvironmentState
    """The state of the newest build"""
    status: EnvironmentState
    """What the environment is: ready if servers can start, even if a newer build runs or failed"""
    created: datetime
    updated: datetime
    launched: datetime | None
    """When you last started a server in it"""
    deleted: datetime | None
    current: BuildSummaryJSON | None
    """The build that servers start from"""
    latest: BuildSummaryJSON | None
    """The newest build, in any state"""
    newer: NewerJSON | None
    """What the repository has newer than the current build, as far as is known"""
    updates: UpdateMode
    """What happens when the repository has a newer commit: never, ask, or auto"""
    hold: UpdatesHoldJSON | None
    """Why automatic updates are paused"""
    links: EnvironmentLinksJSON


@shape
class ListQuery(PageQuery):
    """Which environments, in which order."""

    search: Search = ""
    """Part of a name or a repository"""
    order: Literal["recent", "name"] = "recent"
    """The order"""


@shape
class EnvironmentsQuery(ListQuery):
    """Which of a person's environments."""

    owner: Person = ""
    """You: only yours. For admins also another person, or * for everyone. Default: yours, then
    those that are shared with you"""
    deleted: Literal["0", "1"] = "0"
    """1 lists deleted environments that can still be restored"""


@shape
class _ContentBody:
    name: Annotated[str, TextLine(MAX_NAME_CHARACTERS, min_length=1)] | None = None
    content: ContentMode | None = None
    """Default: sync for another repository's files, otherwise copy"""
    content_url: Annotated[str, TextLine(MAX_ADDRESS_CHARACTERS)] | None = None
    """The git repository of the files, as pasted; empty: the environment's own"""
    content_ref: Ref | None = None
    """Its branch, tag or commit; empty: its default branch"""


@shape
class CreateBody(LinkBody, _ContentBody):
    """A new environment."""

    options: Mapping[str, Any] | None = None
    """The backend's options; see its documentation. `backend` names one of several"""
    build: bool = True
    """Whether to build at once"""
    reuse: bool = False
    """Update your environment of the same repository, ref and files instead, if you have one"""


@shape
class UpdateBody(_ContentBody):
    """Changes to an environment."""

    updates: UpdateMode | None = None
    """What happens when the repository has a newer commit"""
    resume: bool = False
    """End a pause of updates"""
    python: PythonVersion | None = None
    """The version of the next builds, such as 3.11; empty: the repository's own"""
    backend: BackendName | None = None
    """What makes the next builds, of several backends; empty: the first that can"""
    path: Path | None = None
    """What opens: relative to the repository's root, or below the server's address: /rstudio"""


@shape
class BuildAgainBody:
    """Another build of an environment."""

    ref: Ref | None = None
    """Move to this ref; default: resolve the current ref again"""
    force: bool = False
    """Build even if this commit is already built"""
    python: PythonVersion | None = None
    """Build with this version from now on, such as 3.11; empty: the repository's own"""
    backend: BackendName | None = None
    """Build with this one of several backends from now on; empty: with the first that can"""


@shape
class CurrentBody:
    """The build that servers start from."""

    number: Number
    reason: Annotated[str, TextLine(MAX_REASON_CHARACTERS)] = ""
    """Why, in your words; kept with the change"""


@shape
class StartQuery:
    """Which of the person's servers is to start."""

    server_name: str = ""
    """The server's name; default: the default server"""
