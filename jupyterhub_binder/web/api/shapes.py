"""The JSON objects of the REST API, one frozen class per object.

`make openapi` generates the schemas: `EnvironmentJSON` becomes `Environment`, and a field's
docstring its description. An answer has every field. In a body or query, a field with a default is
optional, and null counts as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar, dataclass_transform

from jupyterhub_binder.admin.rules import MAX_REASON_CHARACTERS
from jupyterhub_binder.backends.base import HostState
from jupyterhub_binder.environments.service import Limit
from jupyterhub_binder.model import (
    BuildState,
    ContentMode,
    EnvironmentState,
    Hold,
    LaunchState,
    Phase,
    RefKind,
    Severity,
    UpdateMode,
)
from jupyterhub_binder.model.failures import Owner, WayKind
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.utils.validation import (
    MAX_ADDRESS_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PATH_CHARACTERS,
    MAX_PERSON_CHARACTERS,
    MAX_REF_CHARACTERS,
    MAX_SEARCH_CHARACTERS,
    MAX_SERVER_CHARACTERS,
    clean_path,
    clean_server_name,
)
from jupyterhub_binder.utils.wire import OMIT_NONE

T = TypeVar("T")

PAGE_LIMIT = 200
"""The most items that one answer lists."""
LARGEST_INTEGER = 2**31 - 1


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def shape(kind: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass."""
    return dataclass(frozen=True, kw_only=True)(kind)


@dataclass(frozen=True, slots=True)
class TextLine:
    """One stripped line of text."""

    max_length: int
    min_length: int = 0
    clean: Callable[[str], str] = str
    """Normalises the text. Raises InvalidInput."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        least = {"minLength": self.min_length} if self.min_length else {}
        return {**handler(core), **least, "maxLength": self.max_length}


@dataclass(frozen=True, slots=True)
class Between:
    """A number with bounds."""

    minimum: int = 0
    maximum: int = LARGEST_INTEGER

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        most = {} if self.maximum == LARGEST_INTEGER else {"maximum": self.maximum}
        return {**handler(core), "minimum": self.minimum, **most}


@dataclass(frozen=True, slots=True)
class Items:
    """A list of objects with a maximum length."""

    maximum: int

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        """Return the JSON Schema."""
        return {**handler(core), "maxItems": self.maximum}


Count = Annotated[int, Between()]
Number = Annotated[int, Between(1)]
Seconds = Annotated[float, Between()]
Address = Annotated[str, TextLine(MAX_ADDRESS_CHARACTERS, min_length=1)]
Ref = Annotated[str, TextLine(MAX_REF_CHARACTERS)]
Path = Annotated[str, TextLine(MAX_PATH_CHARACTERS, clean=clean_path)]
Person = Annotated[str, TextLine(MAX_PERSON_CHARACTERS)]
Search = Annotated[str, TextLine(MAX_SEARCH_CHARACTERS)]
ServerName = Annotated[str, TextLine(MAX_SERVER_CHARACTERS, clean=clean_server_name)]


# --- Common ---------------------------------------------------------------------------------------


@shape
class NamedJSON:
    """An environment's id and name."""

    id: str
    name: str


@shape
class PageJSON(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    total: Count
    offset: Count
    limit: Number


@shape
class ListJSON(Generic[T]):
    """A whole list."""

    items: tuple[T, ...]


@shape
class PageQuery:
    """Which part of a list."""

    offset: Count = 0
    """How many items to skip"""
    limit: Annotated[int, Between(1, PAGE_LIMIT)] = 50
    """The maximum number of items"""


@shape
class EmptyBody:
    """No fields."""


@shape
class ProblemJSON:
    """What went wrong."""

    code: str
    """Stable, for programs"""
    message: str
    """What happened, and what to do about it"""
    detail: Mapping[str, Any]


@shape
class ErrorJSON:
    """The answer to a request that failed."""

    error: ProblemJSON


@shape
class WayOutJSON:
    """A way out of a failure."""

    kind: WayKind
    """`again` and `newest` are builds to request; `open` is a page; `admin` is for an administrator; `advice` is a sentence"""
    label: str
    url: str | None
    """The page to open"""


@shape
class ReasonJSON:
    """Why something did not succeed."""

    code: str
    message: str
    seq: Number | None
    """The log line that decided it"""
    rule: str | None
    """The rule that explains it, of a failed build"""
    owner: Owner | None
    """Who can remove the cause"""
    line: str | None
    """The decisive line"""
    actions: tuple[WayOutJSON, ...]
    """Ways out, best first"""
    fingerprint: str | None
    """The same for failures of one kind that no rule explains"""


@shape
class SpecJSON:
    """A repository and a ref."""

    provider: str
    """The provider's prefix: gh, gl, gist, git, zenodo, figshare, hydroshare, dataverse, ckan"""
    repo: str
    """The provider's name of the repository"""
    ref: str
    """As it was typed; it may move"""
    spec: str
    """BinderHub's text of repository and ref"""
    label: str
    """The repository's name for people: github.com/owner/name"""
    repo_url: str
    """The repository's web page"""


# --- The service ----------------------------------------------------------------------------------


@shape
class UserJSON:
    """The person who asks."""

    name: str
    admin: bool
    groups: tuple[str, ...]


@shape
class PermissionsJSON:
    """What the person may do."""

    build: bool
    admin: bool


@shape
class LimitsJSON:
    """The person's limits."""

    environments: Limit
    builds: Limit


@shape
class BackendNameJSON:
    """What makes the builds."""

    name: str
    description: str
    health: str | None
    """What is wrong; null if builds work now"""


@shape
class ProviderJSON:
    """A kind of host of repositories."""

    prefix: str
    name: str
    placeholder: str
    default_ref: str


@shape
class HubJSON:
    """The hub."""

    url: str
    named_servers: bool


@shape
class InfoJSON:
    """Who asks, what they may do, and what the service offers."""

    version: str
    user: UserJSON
    permissions: PermissionsJSON
    limits: LimitsJSON
    backend: BackendNameJSON
    providers: tuple[ProviderJSON, ...]
    hub: HubJSON
    drain: str | None
    """Why builds are paused; null if they are not"""


@shape
class CheckJSON:
    """One check of the service's health."""

    service: str
    ok: bool
    message: str | None


@shape
class HealthJSON:
    """Whether the service works."""

    ok: bool
    draining: bool
    """Whether an administrator has paused builds"""
    checks: tuple[CheckJSON, ...]


@shape
class BuilderInfoJSON:
    """What a BinderHub client looks for."""

    name: str


@shape
class VersionsJSON:
    """Which versions run."""

    jupyterhub_binder: str
    jupyterhub: str
    builder: str
    binderhub: str
    builder_info: BuilderInfoJSON


# --- Links and previews ---------------------------------------------------------------------------


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
    kept: NamedJSON | None
    """Your environment of this repository, if you have one"""


# --- Builds ---------------------------------------------------------------------------------------


@shape
class BuildSummaryJSON:
    """A build, as one environment's build of a number."""

    id: str
    number: Number | None
    """Counts the environment's builds, from 1"""
    state: BuildState
    phase: Phase
    resolved_ref: str
    """The commit, or a record's version; it never changes"""
    ref: str
    created: datetime
    started: datetime | None
    finished: datetime | None
    size_bytes: Count | None
    reused: bool
    """Whether it uses the image of an earlier build with the same configuration files"""
    packages_from: datetime | None
    """When the image was made, and so from when its packages are"""
    withdrawn: datetime | None
    """When the person cancelled"""
    reason: ReasonJSON | None
    queue_position: Number | None
    """1 is next; null once it runs"""
    step: str
    """what a running build does now, such as `running postBuild`; empty if only its phase is known"""
    expected_seconds: Seconds | None
    elapsed_seconds: Seconds | None


@shape
class BuildLinksJSON:
    """A build's addresses."""

    self: str
    events: str
    log: str
    cancel: str
    page: str


@shape
class BuildJSON(BuildSummaryJSON, SpecJSON):
    """A build, as one person sees it."""

    ref: str
    """As it was typed; it may move"""
    options: Mapping[str, Any]
    backend: str
    lines: Count
    people: Count | None
    """How many people want it"""
    environment: NamedJSON | None
    """Your environment that it is for"""
    requested_by: str | None = field(default=None, metadata=OMIT_NONE)
    """Only for those who may manage the environment"""
    links: BuildLinksJSON


@shape
class LogQuery:
    """After which log line to continue."""

    after: Count = 0
    """The last sequence number seen"""


@shape
class DownloadQuery:
    """How a browser shows the answer."""

    download: str | None = None
    """If present, a browser saves the answer as a file"""


# --- Environments ---------------------------------------------------------------------------------


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
    """The backend's options; see its documentation"""
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
    path: Path | None = None
    """What opens: relative to the repository's root, or below the server's address: /rstudio"""


@shape
class BuildAgainBody:
    """Another build of an environment."""

    ref: Ref | None = None
    """Move to this ref; default: resolve the current ref again"""
    force: bool = False
    """Build even if this commit is already built"""


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


# --- Launches -------------------------------------------------------------------------------------


@shape
class LaunchBody:
    """A server to start."""

    server_name: ServerName = ""
    """Empty for the default server"""
    path: Path | None = None
    """What opens; default: the environment's setting"""
    restart: bool = False
    """Stop a running server of this name first"""


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


# --- Backends -------------------------------------------------------------------------------------


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
