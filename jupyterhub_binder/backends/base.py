"""The contract between builds and whatever makes images.

A backend says what it would do (`assess`), whether the image is there already
(`find_image`), and makes it (`build`). Queueing, joining, limits of time and silence,
logs, cancellation and recovery are not its business: `builds` does them for every backend.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Assessment, BackendOutput, Build, BuildJob, Recipe


@dataclass(frozen=True, slots=True)
class KeptImage:
    """An image that a backend holds."""

    name: str
    size_bytes: int
    created: datetime
    in_use: bool = False
    """Whether something runs in it, as far as the backend can see."""


class HostState(StrEnum):
    """Whether a far side is sent builds."""

    UNKNOWN = "unknown"
    """Not asked yet; sent builds."""
    OK = "ok"
    FULL = "full"
    """It runs as many pods as it may; sent builds only where no other is left."""
    FAILED = "failed"
    """Sent none until it is well again, or the time to try it has come."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """How one far side of a backend stands, for the admin page and metrics."""

    name: str
    url: str
    weight: float
    state: HostState
    reason: str
    """What is wrong, in words; empty where nothing is."""
    checked: datetime | None
    """When it was last asked."""
    version: str
    prefixes: frozenset[str] | None
    """The providers it has; None where it does not tell."""
    running: int
    """Our builds that it is making now."""
    built: int
    """Since the service started, as all that follows."""
    build_failures: int
    """Builds that failed through their repository; no fault of the host."""
    host_failures: int
    """Builds that it was given and could not take or finish."""


class BuildBackend(LoggingConfigurable):
    """Makes images. Four methods must be written: fingerprint, assess, find_image, build."""

    name: ClassVar[str]
    """As in configuration, tables and pages: ``venv``, ``repo2docker``, ``binderhub``."""

    description: ClassVar[str] = ""
    """One sentence for people: what it makes, and out of what."""

    needs_checkout: ClassVar[bool] = True
    """Whether `BuildJob.checkout` must be there; False where the far side fetches for itself."""

    cancel_note: ClassVar[str] = ""
    """What a person who cancels a build should know of the far side; one sentence."""

    @property
    def provider_prefixes(self) -> frozenset[str] | None:
        """The prefixes of the providers that this backend can build from now; None for any.

        Reads memory; a backend that has to ask for it does so in the background.
        """
        return None

    async def start(self) -> None:
        """Prepare; called once, before anything else. Raises ConfigurationError."""

    async def stop(self) -> None:
        """Let go of everything; may be called twice, and without a start."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return all that decides the image besides repository, commit and options.

        Versions and settings, as one short text; part of the content key.
        """

    def clean_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return a person's options as they enter the content key.

        Raises InvalidInput that names an option which is not known, or its bad value. A backend
        without options needs no code for this.
        """
        if options:
            raise InvalidInput(
                f"This hub's builds take no option {min(map(str, options))!r}.",
                detail={"options": []},
            )
        return {}

    @abstractmethod
    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Say what would be done with each configuration file, and what speaks against it.

        Pure: no input or output. A problem found here fails the build with the same words.
        """

    @abstractmethod
    async def find_image(self, key: str) -> str | None:
        """Return the image of a content key if it is there and whole, else None."""

    @asynccontextmanager
    async def expecting(self, build: Build) -> AsyncIterator[None]:
        """Begin what a build needs and no file of the repository decides; let go of it at the end.

        `build` is called within, or never, since a fetch may fail. Nothing by default.
        """
        yield

    @abstractmethod
    def build(self, job: BuildJob) -> AsyncIterator[BackendOutput]:
        """Make the image: an async generator that yields lines and checkpoints, at last an Image.

        Raises BuildFailed with the reason in words. When it is cancelled or closed it ends all
        it started, whole process groups included, and removes what is half done, before it
        returns. A job with a checkpoint was begun by an earlier run of the service: what that
        left is taken up or removed first.
        """

    @abstractmethod
    async def delete_image(self, image: str) -> None:
        """Remove an image; one that is gone already is success."""

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images that are there, for whoever makes room; none where others do that."""
        return ()

    def statuses(self) -> tuple[HostStatus, ...]:
        """Return how each far side stands, for the admin page and metrics.

        None where builds are made here. Reads memory.
        """
        return ()

    async def health(self) -> str | None:
        """Return None if builds would work now, else a sentence that says what to do."""
        return None
