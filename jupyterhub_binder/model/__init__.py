"""The vocabulary: frozen data, aware UTC times, enums that hold the wire strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from jupyterhub_binder.model.condafile import CondaFile
from jupyterhub_binder.model.failures import Explanation
from jupyterhub_binder.model.history import ChangeCause
from jupyterhub_binder.model.inventory import Inventory
from jupyterhub_binder.model.lockfile import LockFile
from jupyterhub_binder.model.profiles import ProfileChoice
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.model.text import Message

T = TypeVar("T")

# --- Where an environment comes from -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spec:
    """A repository at a ref as typed; the ref may move.

    `repo` is the provider's normalised name: ``owner/name`` (gh, gl), ``user/id`` (gist), a clone URL
    (git), a DOI (zenodo, figshare, dataverse), a resource id (hydroshare), a dataset URL (ckan).
    """

    provider: str
    repo: str
    ref: str = "HEAD"


PUBLISHED_IMAGES = "docker"
"""The provider prefix of images that a registry has already."""
SHORT_SHA = re.compile(r"[0-9a-f]{7,39}")
"""What may be the beginning of a commit's SHA."""


def repository_key(spec: Spec) -> str:
    """Return the repository's name without its ref: one for ``X``, ``X.git`` and ``X/.git``."""
    repo = spec.repo.removesuffix(".git").rstrip("/") if spec.provider == "git" else spec.repo
    return f"{spec.provider}:{repo}".lower()


def describe_ref(ref: str) -> str:
    """Describe a change request's ref: ``pull request #12``, or ""."""
    match ref.split("/"):
        case ["refs", "pull" | "pull-requests", number, _]:
            return Message("pull request #%(number)s", number=number)
        case ["refs", "merge-requests", number, _]:
            return Message("merge request !%(number)s", number=number)
    return ""


@dataclass(frozen=True, slots=True)
class Link:
    """The meaning of a pasted text."""

    spec: Spec
    path: str = ""
    """Below `content_url`, else `spec`; with a leading slash, a server address: ``/rstudio``."""
    tail: str = ""
    """Ref and path as one text, ``a/b/c`` of ``…/tree/a/b/c``.

    `spec` and `path` are then a guess, which `Providers.resolve_link` corrects.
    """
    content_url: str = ""
    """Where git fetches the files, without credentials; empty if from `spec`."""
    content_ref: str = ""
    """A branch, tag or commit; empty for the default branch."""


class RefKind(StrEnum):
    """What a typed ref turned out to be."""

    HEAD = "head"
    BRANCH = "branch"
    TAG = "tag"
    COMMIT = "commit"
    VERSION = "version"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec whose `resolved_ref` never changes its content."""

    spec: Spec
    resolved_ref: str
    ref_kind: RefKind
    label: str
    """For people: ``github.com/owner/name``."""
    repo_url: str
    clone_url: str
    """Without credentials."""
    default_name: str
    default_branch: str = ""
    """Its name, if the default branch was asked for and the host tells."""

    @property
    def published_image(self) -> str:
        """The image's name by digest, for `PUBLISHED_IMAGES`."""
        return f"{self.clone_url.removeprefix('https://')}@sha256:{self.resolved_ref}"

    @property
    def follow(self) -> str:
        """The ref to follow. A short commit SHA is completed, because Git can't fetch it."""
        short = SHORT_SHA.fullmatch(self.spec.ref) and self.resolved_ref.startswith(self.spec.ref)
        return self.resolved_ref if short else self.spec.ref


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit, or the record's version, behind a resolved_ref."""

    sha: str
    subject: str
    time: datetime

    @property
    def short(self) -> str:
        """A shortened sha, or a record's version."""
        return self.sha[:7] if len(self.sha) in (40, 64) else self.sha


# --- What a checkout says about its environment ---------------------------------------------


class Severity(StrEnum):
    """How much a finding matters."""

    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before a build. A problem would make it fail."""

    severity: Severity
    code: str
    message: Message
    path: str = ""


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A configuration file of a checkout, in repo2docker's terms."""

    path: str
    kind: str
    """The base name."""
    used: bool
    """False if another file takes precedence."""


@dataclass(frozen=True, slots=True)
class RecipeInput:
    """A file whose bytes decide the image."""

    path: str
    kind: str
    """As in `RecipeFile`; empty for a file that another one includes."""
    checksum: str
    """SHA-256; empty if the file can't be read."""


@dataclass(frozen=True, slots=True)
class RequirementLine:
    """A line of pip's format, without comments and with continuations joined."""

    path: str
    """The file with the line."""
    text: str
    option: str = ""
    """Such as ``-e``, if it begins with one."""
    value: str = ""
    """What follows the option."""
    constraint: bool = False
    folder: str = ""
    """Where pip runs; relative paths start there."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The configuration files, read by repo2docker's rules.

    Previews and builds know of the files only what is here, so that both decide alike.
    """

    directory: str = ""
    """``""``, ``binder`` or ``.binder``."""
    buildpack: str = "python"
    """In lower case."""
    files: tuple[RecipeFile, ...] = ()
    language: str = ""
    """What runtime.txt names, such as ``python`` or ``r``."""
    python: str = ""
    """Such as ``3.11`` or ``>=3.10,<3.12``; empty if unspecified."""
    preferred_python: str = ""
    """What .python-version names: the version to choose if there is a choice."""
    lock: LockFile | None = None
    """The lock file that decides the packages, if one does."""
    packages: tuple[str, ...] = ()
    """Package names with versions, for display."""
    unpinned: tuple[str, ...] = ()
    requirements: tuple[RequirementLine, ...] = ()
    """For pip, with included files."""
    conda: tuple[str, ...] = ()
    """conda packages except Python."""
    conda_file: CondaFile | None = None
    """The file with what conda installs, if one is used."""
    conda_lock: CondaFile | None = None
    """The lock that names each conda package in one version, if one is used."""
    post_build: str = ""
    """The start of the script."""
    submodules: tuple[str, ...] = ()
    """Their paths."""
    lfs: tuple[str, ...] = ()
    """Patterns of files that Git LFS keeps elsewhere."""
    findings: tuple[Finding, ...] = ()
    inputs: tuple[RecipeInput, ...] = ()
    """The used files and those that they include."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that make any build fail."""
        return tuple(f for f in self.findings if f.severity is Severity.PROBLEM)


@dataclass(frozen=True, slots=True)
class RecipeAction:
    """What a backend will do with one configuration file."""

    path: str
    supported: bool
    action: Message
    """A sentence: ``Installs 14 packages``."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A backend's view of a recipe."""

    actions: tuple[RecipeAction, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that would make a build fail."""
        return tuple(f for f in self.findings if f.severity is Severity.PROBLEM)


# --- Builds -----------------------------------------------------------------------------------


class Phase(StrEnum):
    """BinderHub's phases, in order; the last two end a build."""

    WAITING = "waiting"
    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"
    BUILT = "built"
    FAILED = "failed"


class BuildState(StrEnum):
    """The state of a build."""

    PENDING = "pending"
    RUNNING = "running"
    BUILT = "built"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether this state is final."""
        return self not in (BuildState.PENDING, BuildState.RUNNING)


@dataclass(frozen=True, slots=True)
class BuildEvent:
    """One line of a build's log.

    `seq` counts from 1 without gaps. `message` has no newline. A message that ends in a carriage
    return is provisional: the next event replaces it.
    """

    seq: int
    time: datetime
    phase: Phase
    message: str


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a build or launch did not succeed."""

    code: str
    message: Message
    seq: int | None = None
    """The log line that shows it."""
    explanation: Explanation | None = None
    """Of a failed build."""
    hint: str = ""
    """A sentence of the backend that follows any explanation; not stored."""


@dataclass(frozen=True, slots=True)
class Build:
    """One attempt to build the image of a repository at a resolved_ref."""

    id: str
    base_key: str
    """The content key (`utils.names.content_key`): one build per key, for all users."""
    generation: int
    """How often this content was rebuilt on request."""
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
    """What the backend needs to resume or clean up."""
    attempts: int = 0
    """More than 1 after a restart of the service."""
    forced: bool = False
    """Whether it must make a new image, even of a known recipe."""
    recipe_digest: str | None = None
    """As `repositories.recipe.digest`; None before the fetch, and if no other build may use it."""
    reused_key: str | None = None
    """The `image_key` of the earlier build whose image it uses."""
    packages_from: datetime | None = None
    """When the image was made; None before."""

    @property
    def key(self) -> str:
        """The build's key: `base_key`, plus any generation above 0."""
        return f"{self.base_key}-{self.generation}" if self.generation else self.base_key

    @property
    def image_key(self) -> str:
        """The key by which the backend finds the image: of the build that made it."""
        return self.reused_key or self.key

    @property
    def resolved(self) -> Resolved:
        """The resolved repository."""
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
        """From start to end."""
        if self.started is None or self.finished is None:
            return None
        return (self.finished - self.started).total_seconds()


# --- Environments -----------------------------------------------------------------------------


class EnvironmentState(StrEnum):
    """Derived, never stored."""

    UNBUILT = "unbuilt"
    QUEUED = "queued"
    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ContentMode(StrEnum):
    """How a repository's files come to the home."""

    COPY = "copy"
    """Copied to the home once."""
    SYNC = "sync"
    """Updated from the repository; the user's changes stay."""
    LEAVE = "leave"


class UpdateMode(StrEnum):
    """What happens when the repository has a newer commit."""

    NEVER = "never"
    """Nobody is asked or told."""
    ASK = "ask"
    """The page says so; the user decides."""
    AUTO = "auto"
    """It is built, and becomes current if the build succeeds."""


class Hold(StrEnum):
    """Why an environment's automatic updates are paused."""

    ROLLBACK = "rollback"
    """The user chose an earlier build."""
    FAILURES = "failures"
    """Two builds in a row failed."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """Build `number` of an environment."""

    environment_id: str
    number: int
    build: Build
    requested: datetime
    requested_by: str
    withdrawn: datetime | None = None
    """The build continues while other users want it."""
    cause: ChangeCause = ChangeCause.ASKED
    """Why the build becomes current when it succeeds."""
    reason: str = ""
    """As in `Change`."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a user keeps: a name, a repository and ref, options, and builds."""

    id: str
    owner: str
    name: str
    spec: Spec
    label: str
    repo_url: str
    path: str
    """As in `Link`."""
    content: ContentMode
    directory: str
    """The files' folder in the home."""
    options: Mapping[str, Any]
    created: datetime
    updated: datetime
    current: BuildRequest | None = None
    """The build that servers start from."""
    latest: BuildRequest | None = None
    """In any state."""
    launched: datetime | None = None
    deleted: datetime | None = None
    """Can be restored until the purge."""
    content_url: str = ""
    """As in `Link`."""
    content_ref: str = ""
    default_branch: str = ""
    """As in `Resolved`, when it was last asked for."""
    right: Right = Right.OWN
    """What the user who asked may do with it; `directory` and `launched` are theirs too."""
    updates: UpdateMode = UpdateMode.ASK
    held: Hold | None = None
    """Until the user resumes the updates."""

    @property
    def state(self) -> EnvironmentState:
        """The state of the newest request."""
        if self.latest is None:
            return EnvironmentState.UNBUILT
        if self.latest.withdrawn is not None:
            return EnvironmentState.CANCELLED
        return _STATE_OF_BUILD[self.latest.build.state]

    @property
    def ref_name(self) -> str:
        """The ref as typed; for the default branch, its name if that is known."""
        return self.default_branch or "HEAD" if self.spec.ref == "HEAD" else self.spec.ref

    @property
    def status(self) -> EnvironmentState:
        """What it is: ready if a server can start from an earlier build, whatever the newest is."""
        if self.current is not None:
            return EnvironmentState.READY
        state = self.state
        return EnvironmentState.UNBUILT if state is EnvironmentState.CANCELLED else state


_STATE_OF_BUILD = {
    BuildState.PENDING: EnvironmentState.QUEUED,
    BuildState.RUNNING: EnvironmentState.BUILDING,
    BuildState.BUILT: EnvironmentState.READY,
    BuildState.FAILED: EnvironmentState.FAILED,
    BuildState.CANCELLED: EnvironmentState.CANCELLED,
}


# --- Launches ---------------------------------------------------------------------------------


class LaunchState(StrEnum):
    """The state of a launch."""

    PENDING = "pending"
    """Waiting for a build."""
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether this state is final."""
        return self not in (LaunchState.PENDING, LaunchState.STARTING)


@dataclass(frozen=True, slots=True)
class Launch:
    """One user's request to start a server from an environment."""

    id: str
    environment_id: str
    user: str
    server_name: str
    """Empty for the default server."""
    path: str
    """As in `Link`."""
    state: LaunchState
    created: datetime
    build_id: str | None = None
    progress: int = 0
    """Percent, from the spawner."""
    message: str = ""
    url: str | None = None
    """Below the hub's root; set once ready."""
    finished: datetime | None = None
    reason: Reason | None = None
    profile: ProfileChoice = field(default_factory=ProfileChoice)
    """The hub's profile that the server gets."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What the hub needs to start a server in an environment."""

    environment_id: str
    environment_name: str
    state: EnvironmentState
    build_id: str | None
    image: str | None
    """None until a build is ready."""
    content: ContentMode
    directory: str
    path: str
    repo_url: str
    resolved_ref: str
    ref: str = "HEAD"
    ref_url: str = ""
    """The repository's web page at the built commit."""
    request: str = ""
    """BinderHub's link: ``v2/gh/owner/name/main``."""
    persistent_request: str = ""
    """The same at the resolved_ref."""
    content_url: str = ""
    """Where git fetches the files; empty if not from git."""
    content_ref: str = ""
    content_elsewhere: bool = False
    """Whether files and image come from different repositories."""
    content_key: str = ""
    """The build whose files the backend keeps beside the image; empty if the image has them."""
    content_kept: bool = True
    """Whether the files of `content_key` are there, as far as the backend knows; else git fetches."""
    client_ip: str = ""
    """Of the launch request."""
    build_number: int | None = None
    """The environment's build that `image` is of; None without an image."""
    receipt: str = ""
    """The signed receipt of that build, as the text of a file; only when a start is prepared."""


# --- People -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """A hub user."""

    name: str
    admin: bool = False
    groups: tuple[str, ...] = ()
    can_build: bool = True


# --- What passes between builds and backends ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class BuildJob:
    """What a backend builds from."""

    build: Build
    recipe: Recipe
    checkout: Path | None
    """Hardened, for backends with `needs_checkout`; valid during the build."""


@dataclass(frozen=True, slots=True)
class Line:
    """A log line, without newline."""

    phase: Phase
    text: str
    step: str = ""
    """What the build does from this line on, for people: ``running postBuild``. Empty: as before."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A backend's note for a restart: small JSON, later `Build.checkpoint`.

    Stored before the next step begins.
    """

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """Something that a spawner can start; a build's last yield."""

    name: str
    """A container image or ``venv:<name>``."""
    size_bytes: int | None = None


BackendOutput = Line | Checkpoint | Inventory | Image

Order = Literal["recent", "name"]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a longer list."""

    items: tuple[T, ...]
    total: int
    offset: int
    limit: int
