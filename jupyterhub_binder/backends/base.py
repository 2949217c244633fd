"""The contract of build backends.

A backend assesses a recipe, finds existing images and builds new ones. `builds` does the rest for
every backend: queue, shared builds, time limits, logs, cancelling and recovery.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Assessment, BackendOutput, Build, BuildJob, Recipe
from jupyterhub_binder.model.text import Message


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image that a backend holds."""

    name: str
    size_bytes: int
    created: datetime
    in_use: bool = False
    """Whether a server uses it, as far as the backend knows."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """Whether other commits and repositories with the same recipe may use an image."""

    self_contained: bool = False
    """Whether the recipe's files decide the image alone: no other file of the repository does."""
    open_versions: bool = True
    """Whether a later build of the same recipe may bring other packages."""


PYTHON_OPTION = "python"
"""The option that chooses another Python than the repository's, such as ``3.11``."""


BACKEND_OPTION = "backend"
"""The option that names one of several backends."""


@dataclass(frozen=True, slots=True)
class Pythons:
    """The Python of a build, as minor versions such as ``3.12``."""

    used: str = ""
    """Empty if the backend does not choose it."""
    offered: tuple[str, ...] = ()
    """What `PYTHON_OPTION` may name, oldest first; empty without such an option."""


class HostState(StrEnum):
    """Whether a remote host gets builds."""

    UNKNOWN = "unknown"
    """Not checked yet; gets builds."""
    OK = "ok"
    FULL = "full"
    """At its limit of pods; gets builds only if no other host is left."""
    FAILED = "failed"
    """Gets no builds until it recovers or is due for a retry."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The status of one remote host, for the admin page and metrics."""

    name: str
    url: str
    weight: float
    state: HostState
    reason: str
    """What is wrong; empty if nothing is."""
    checked: datetime | None
    """When it was last checked."""
    version: str
    prefixes: frozenset[str] | None
    """Its providers; None if unknown."""
    running: int
    """Our builds that run on it now."""
    built: int
    """Since the service started, like the counts below."""
    build_failures: int
    """Builds that failed because of their repository."""
    host_failures: int
    """Builds that failed because of the host."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that makes the image of a recipe."""

    backend: BuildBackend
    assessment: Assessment
    why: str = ""
    """Why this one, before a colon: ``apt.txt``. Empty if there is nothing to say."""
    possible: tuple[BuildBackend, ...] = ()
    """All that can serve the recipe, in order; empty if there is only one backend."""


class BuildBackend(LoggingConfigurable):
    """Makes images. Subclasses write fingerprint, assess, find_image, build and delete_image."""

    name: ClassVar[str]
    """Its name in configuration, tables and pages, such as ``venv``."""

    description: ClassVar[str] = ""
    """One sentence for people: what it makes from what."""

    made: ClassVar[str] = Message("made as a container image")
    """What happens to a repository, for people who choose among several backends."""

    pace: ClassVar[str] = Message("usually in minutes")
    """How long a build takes, where no earlier one is known."""

    needs_checkout: ClassVar[bool] = True
    """Whether it needs `BuildJob.checkout`; False if a remote host fetches the repository."""

    cancel_note: ClassVar[str] = ""
    """One sentence for a person who cancels a build, about what the remote host does then."""

    goes_on_alone: ClassVar[bool] = False
    """Whether a build continues while the service is away; if not, it begins again."""

    makes_containers: ClassVar[bool] = True
    """Whether its images are container images, so that it can use one from a registry."""

    takes_lock: ClassVar[bool] = False
    """Whether it has the option `lock`: commit, python and requirements of a receipt."""

    inventory_note: ClassVar[str] = ""
    """One sentence for people about why it does not know an image's packages, if it never does."""

    start_failure: str = ""
    """Why it could not start, if the hub goes on with other backends; it is not used until it can."""

    session: aiohttp.ClientSession | None = None
    """The service's HTTP session, set before `start`; a backend may use it, and never closes it."""

    @property
    def provider_prefixes(self) -> frozenset[str] | None:
        """The provider prefixes it can build now; None for any. Reads memory."""
        return None

    async def start(self) -> None:
        """Prepare; called once, first. Raises ConfigurationError."""

    async def stop(self) -> None:
        """Release everything. Idempotent, even without a start."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the versions and settings that decide the image, as one short text.

        It is part of the content key, with repository, commit and options.
        """

    def clean_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a person's options, normalised for the content key.

        Raises InvalidInput. By default there are no options.
        """
        if options:
            raise InvalidInput(
                "Builds on this hub have no option '%(option)s'.",
                option=min(map(str, options)),
                detail={"options": ["lock"] if self.takes_lock else []},
            )
        return {}

    def pythons_of(self, recipe: Recipe, options: Mapping[str, Any]) -> Pythons:
        """Return the Python of a recipe, and those that a person can choose. Pure."""
        return Pythons()

    @abstractmethod
    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return what the build does with each configuration file, and the problems. Pure.

        A problem fails the build with the same message.
        """

    def reuse(self, recipe: Recipe, options: Mapping[str, Any]) -> Reuse:
        """Return whether builds with the same recipe may share an image. Pure.

        By default they may not: most images contain files of their repository.
        """
        return Reuse()

    @property
    def makers(self) -> tuple[BuildBackend, ...]:
        """The backends that make images: itself, or those that it chooses from, in order."""
        return (self,)

    def maker(self, name: str) -> BuildBackend:
        """Return the maker of that name, such as `Build.backend`; itself if there is none."""
        return next((each for each in self.makers if each.name == name), self)

    @property
    def not_now(self) -> Message:
        """Tell people that it could not start; the reason is for administrators."""
        return Message(
            "It can't be made now: the backend %(backend)s could not start. This hub keeps trying. "
            "Your administrator sees the reason.",
            backend=self.name,
        )

    def fits(self, recipe: Recipe) -> str:
        """Return in a few words why it can serve a recipe; empty if it serves almost all. Pure."""
        return ""

    def choose(self, recipe: Recipe | None, options: Mapping[str, Any], provider: str) -> Choice:
        """Return the maker for a recipe of a provider's prefix. Pure.

        Without a recipe, only the backend can reach the repository.
        """
        return Choice(self, self.assess(recipe or Recipe(), options))

    @abstractmethod
    async def find_image(self, key: str) -> str | None:
        """Return the complete image of a content key, or None."""

    @abstractmethod
    def build(self, job: BuildJob) -> AsyncIterator[BackendOutput]:
        """Make the image: yield lines and checkpoints, perhaps an Inventory, then an Image.

        Raises BuildFailed with the reason. If cancelled or closed, it ends its process groups and
        removes unfinished work before it returns. If the job has a checkpoint, an earlier run of
        the service began it: resume that work or remove it first.
        """

    async def keep_files(self, build: Build, checkout: Path) -> None:
        """Keep a checkout for homes, for a build that uses the image of another one.

        Servers look for the files under `Build.key`. Without them, git fetches them.
        """

    async def has_files(self, key: str) -> bool:
        """Return whether files are kept under a key; True if that is unknown."""
        return True

    @abstractmethod
    async def delete_image(self, image: str) -> None:
        """Remove an image. Idempotent."""

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images for clean-up; empty if clean-up happens elsewhere."""
        return ()

    async def fetch_cache_bytes(self) -> int:
        """Return the disk space of what only makes builds faster; it counts as images do."""
        return 0

    async def trim_cache(self, wanted_bytes: int) -> int:
        """Free about so many bytes of what no recent build used; return how many became free."""
        return 0

    def statuses(self) -> tuple[HostStatus, ...]:
        """Return the remote hosts' status; empty for local builds. Reads memory."""
        return ()

    async def health(self) -> str | None:
        """Return None if builds work now, else what to do."""
        return None
