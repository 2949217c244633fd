"""The words of the project, as frozen data: what is kept, what is passed, what is streamed.

No module here does any work: no input or output, no clock, no configuration.
Times are aware UTC; enums hold the strings that go over the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

# --- Where an environment comes from -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spec:
    """A repository at a ref as a person typed it; it may move.

    `repo` is the provider's own name for the repository, normalised and decoded:
    ``org/name`` (gh, gl), ``user/id`` (gist), a clone URL (git), a DOI (zenodo, figshare,
    dataverse), a resource's id (hydroshare), a dataset's URL (ckan).
    BinderHub's one text for both, ``org/name/ref``, is `RepoProvider.format_spec`.
    """

    provider: str
    repo: str
    ref: str = "HEAD"


def describe_ref(ref: str) -> str:
    """Return what a ref is called where it is a proposed change: ``pull request #12``.

    Empty for any other ref.
    """
    match ref.split("/"):
        case ["refs", "pull" | "pull-requests", number, _]:
            return f"pull request #{number}"
        case ["refs", "merge-requests", number, _]:
            return f"merge request !{number}"
    return ""


@dataclass(frozen=True, slots=True)
class Link:
    """What a pasted text was understood to mean."""

    spec: Spec
    path: str = ""
    """The file or folder to open, relative to the root of the repository with the content.

    That is `content_url`'s where there is one, else `spec`'s; empty for the root. What begins
    with a slash is no file, but an address below the server's own: ``/rstudio``.
    """
    tail: str = ""
    """Ref and path as one text, where only the repository knows which part is which.

    ``a/b/c`` out of ``…/tree/a/b/c``; `spec` and `path` are then a first guess, which
    `Providers.resolve_link` settles. Empty once settled.
    """
    content_url: str = ""
    """The repository that a person's files come from, where it is not the environment's own.

    A URL that git fetches, without credentials; empty where `spec` is the content too.
    """
    content_ref: str = ""
    """Its branch, tag or commit; empty for its default branch, and without `content_url`."""


class RefKind(StrEnum):
    """What a typed ref turned out to be."""

    HEAD = "head"
    BRANCH = "branch"
    TAG = "tag"
    COMMIT = "commit"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec whose ref has been asked for: `resolved_ref` never changes its content."""

    spec: Spec
    resolved_ref: str
    ref_kind: RefKind
    label: str
    """What a person recognises: ``github.com/org/name``."""
    repo_url: str
    """Where a person reads the repository."""
    clone_url: str
    """Where git fetches it, or where the record is; carries no credentials."""
    default_name: str
    """A name for the environment and for the folder of its files."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit, or the version of a record, that a resolved_ref names, as a fetch showed it."""

    sha: str
    subject: str
    time: datetime

    @property
    def short(self) -> str:
        """Return a sha's first seven digits; all of what is no sha, as a record's version."""
        return self.sha[:7] if len(self.sha) in (40, 64) else self.sha


# --- What a checkout says about its environment ---------------------------------------------


class Severity(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know before a build; a problem would make it fail."""

    severity: Severity
    code: str
    message: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A configuration file of a checkout, in repo2docker's terms."""

    path: str
    kind: str
    """The file's base name, such as ``environment.yml``."""
    used: bool
    """False where another file takes precedence over it."""
    text: str = ""
    """Its content where it is text and small enough, decoded with replacement."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The configuration files of a checkout, and what repo2docker's rules make of them."""

    directory: str = ""
    """Which folder holds them: ``""``, ``binder`` or ``.binder``."""
    buildpack: str = "python"
    """The repo2docker build pack that would claim the checkout, in lower case."""
    files: tuple[RecipeFile, ...] = ()
    python: str = ""
    """The Python version asked for, ``3.11``; empty where none is."""
    packages: tuple[str, ...] = ()
    """Requirement lines asked for by name, in order."""
    unpinned: tuple[str, ...] = ()
    """Those of `packages` that name no exact version."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class RecipeAction:
    """What a backend will do with one configuration file."""

    path: str
    supported: bool
    action: str
    """One short sentence: ``Installs 14 packages`` or ``This hub cannot install apt packages``."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a backend makes of a recipe: an action a file, and what speaks against a build."""

    actions: tuple[RecipeAction, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Return the findings that would make a build fail."""
        return tuple(f for f in self.findings if f.severity is Severity.PROBLEM)


# --- Builds -----------------------------------------------------------------------------------


class Phase(StrEnum):
    """BinderHub's phases, in their order; the last two end a build."""

    WAITING = "waiting"
    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"
    BUILT = "built"
    FAILED = "failed"


class BuildState(StrEnum):
    """Where one build stands."""

    PENDING = "pending"
    RUNNING = "running"
    BUILT = "built"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Say whether this state is the last one."""
        return self not in (BuildState.PENDING, BuildState.RUNNING)


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One line of a build's log.

    `seq` counts from 1 without gaps. `message` has no newline; one that ends in a carriage
    return is provisional: the next event of the build is shown in its place.
    """

    seq: int
    time: datetime
    phase: Phase
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a build or a launch did not succeed, in words for a person."""

    code: str
    message: str
    seq: int | None = None
    """The line of the log that decided it."""


@dataclass(frozen=True, slots=True)
class Build:
    """One attempt of one backend to make the image of a repository at a resolved_ref."""

    id: str
    base_key: str
    """What two people share: same key, one build (`slugs.content_key`)."""
    generation: int
    """How often the same content was built anew on request; every image has a name of its own."""
    spec: Spec
    resolved_ref: str
    label: str
    repo_url: str
    clone_url: str
    options: Mapping[str, Any]
    backend: str
    state: BuildState
    phase: Phase
    created: datetime
    created_by: str
    started: datetime | None = None
    finished: datetime | None = None
    image: str | None = None
    size_bytes: int | None = None
    lines: int = 0
    reason: Reason | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """What the backend last said it would need to take this build up again or clean up."""
    attempts: int = 0
    """How often a backend has begun it: more than one after a restart of the service."""

    @property
    def key(self) -> str:
        """Return what names the image: the shared key, and the generation after the first."""
        return f"{self.base_key}-{self.generation}" if self.generation else self.base_key

    @property
    def resolved(self) -> Resolved:
        """Return what it was made of, in the form in which a provider answers."""
        return Resolved(
            spec=self.spec,
            resolved_ref=self.resolved_ref,
            ref_kind=RefKind.COMMIT,
            label=self.label,
            repo_url=self.repo_url,
            clone_url=self.clone_url,
            default_name=self.label.rpartition("/")[2],
        )

    @property
    def duration_seconds(self) -> float | None:
        """Return the seconds from start to end; None where it had no start, or has no end."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()


# --- Environments -----------------------------------------------------------------------------


class EnvironmentState(StrEnum):
    """What a person can do with an environment; derived, never stored."""

    UNBUILT = "unbuilt"
    QUEUED = "queued"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ContentMode(StrEnum):
    """What happens to the repository's files when a server starts."""

    COPY = "copy"
    """Copied once into the home; from then on they are the person's."""
    SYNC = "sync"
    """Kept in step: what is new in the repository comes, what the person changed stays."""
    LEAVE = "leave"
    """Not brought into the home at all."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """An environment's wish for a build: build `number` of that environment."""

    environment_id: str
    number: int
    build: Build
    requested: datetime
    requested_by: str
    withdrawn: datetime | None = None
    """Set when the person cancelled; the build goes on while anybody else wants it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a person keeps: a name, a repository and ref, options, and its current build."""

    id: str
    owner: str
    name: str
    spec: Spec
    label: str
    repo_url: str
    path: str
    """What opens at a start, relative to the repository's root; as in `Link`."""
    content: ContentMode
    directory: str
    """The folder of the home that takes the repository's files."""
    options: Mapping[str, Any]
    created: datetime
    updated: datetime
    current: BuildRequest | None = None
    """The build that a server starts from."""
    latest: BuildRequest | None = None
    """The newest request, whatever became of it."""
    launched: datetime | None = None
    deleted: datetime | None = None
    """Set by delete; undone by restore until the purge."""
    content_url: str = ""
    """The repository of the person's files, as in `Link`; empty where it is the environment's."""
    content_ref: str = ""

    @property
    def state(self) -> EnvironmentState:
        """Derive the state from the newest request."""
        if self.latest is None:
            return EnvironmentState.UNBUILT
        if self.latest.withdrawn is not None:
            return EnvironmentState.CANCELLED
        return _STATE_OF_BUILD[self.latest.build.state]


_STATE_OF_BUILD = {
    BuildState.PENDING: EnvironmentState.QUEUED,
    BuildState.RUNNING: EnvironmentState.BUILDING,
    BuildState.BUILT: EnvironmentState.READY,
    BuildState.FAILED: EnvironmentState.FAILED,
    BuildState.CANCELLED: EnvironmentState.CANCELLED,
}


# --- Launches ---------------------------------------------------------------------------------


class LaunchState(StrEnum):
    """Where one launch stands."""

    PENDING = "pending"
    """The build is not ready yet."""
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Say whether this state is the last one."""
        return self not in (LaunchState.PENDING, LaunchState.STARTING)


@dataclass(frozen=True, slots=True)
class Launch:
    """One person's request to start a (named) server from an environment."""

    id: str
    environment_id: str
    user: str
    server_name: str
    """The hub's name of the server; empty for the default one."""
    path: str
    """What opens, relative to the repository's root; as in `Link`."""
    state: LaunchState
    created: datetime
    build_id: str | None = None
    progress: int = 0
    """In percent, as the hub's spawner says it."""
    message: str = ""
    url: str | None = None
    """Where the server answers, from the hub's root; set once ready."""
    finished: datetime | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What the hub needs to start a server in an environment; it trusts only the service's."""

    environment_id: str
    environment_name: str
    state: EnvironmentState
    build_id: str | None
    image: str | None
    """Set once there is a build to start from; ``venv:<name>`` or a container image's name."""
    content: ContentMode
    directory: str
    path: str
    repo_url: str
    resolved_ref: str
    ref: str = "HEAD"
    ref_url: str = ""
    """Where a person reads the repository as it was built."""
    request: str = ""
    """BinderHub's link to it, below the service's address: ``v2/gh/org/name/main``."""
    persistent_request: str = ""
    """The same at the resolved_ref; empty where nothing was resolved yet."""
    content_url: str = ""
    """Where git fetches the files; empty where they are no git repository's."""
    content_ref: str = ""
    """The branch, tag or commit that they follow."""
    content_elsewhere: bool = False
    """Whether the files are another repository's than the image's own."""


# --- People -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """Who asks: a person of the hub, as the hub described them."""

    name: str
    admin: bool = False
    groups: tuple[str, ...] = ()
    can_build: bool = True


# --- What passes between builds and backends ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What a backend is given to build from."""

    build: Build
    recipe: Recipe
    checkout: Path | None
    """The hardened checkout, for backends with `needs_checkout`; theirs to read, not to keep."""


@dataclass(frozen=True, slots=True)
class Line:
    """A backend's output: one line of the log, without its newline."""

    phase: Phase
    text: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A backend's note to itself, stored before the next step begins.

    Given back as `Build.checkpoint` after a restart; small, and JSON.
    """

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """What a backend leaves behind and a spawner can start; always a build's last yield."""

    name: str
    """A container image's name, or ``venv:<name>``."""
    size_bytes: int | None = None


BackendOutput = Line | Checkpoint | Image

Order = Literal["recent", "name"]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a longer list."""

    items: tuple[T, ...]
    total: int
    offset: int
    limit: int
