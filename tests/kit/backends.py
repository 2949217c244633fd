"""What the conformance suite needs to know of a backend: jobs of each kind, and what it left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import psutil
from traitlets import Unicode
from traitlets.config import Config

from jupyterhub_binder.backends.auto import AutoBackend
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.folders import MARKER
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model import BuildJob
from tests.kit.jobs import job_of, make_job


class Kit(ABC):
    """One backend under test, in a folder of its own."""

    marks: ClassVar[tuple[str, ...]] = ()
    """Markers of what it needs of the machine."""
    fixtures: ClassVar[tuple[str, ...]] = ()
    """What must be up before it."""
    tells_size: ClassVar[bool] = True
    """Whether it knows how large an image is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = self.make()

    @abstractmethod
    def make(self) -> BuildBackend:
        """Another one on the same state, as after a restart."""

    @abstractmethod
    def good(self) -> BuildJob: ...

    @abstractmethod
    def failing(self) -> BuildJob:
        """Fails, and says `nosuchthing` in its reason."""

    @abstractmethod
    def hanging(self) -> BuildJob:
        """Says a line and then nothing more."""

    @abstractmethod
    def hostile(self) -> BuildJob:
        """Succeeds, after output that no terminal should see."""

    @abstractmethod
    def leftovers(self) -> list[str]:
        """Processes and folders of builds that are not running."""


class FakeKit(Kit):
    def make(self) -> BuildBackend:
        return FakeBackend(images_dir=str(self.folder / "images"))

    def good(self) -> BuildJob:
        return make_job(options={"fake": {}})

    def failing(self) -> BuildJob:
        return make_job(options={"fake": {"fail_at": "building", "reason": "nosuchthing"}})

    def hanging(self) -> BuildJob:
        return make_job(options={"fake": {"hang_at": "building"}})

    def hostile(self) -> BuildJob:
        return make_job(options={"fake": {"hostile": True}})

    def leftovers(self) -> list[str]:
        return [str(path) for path in (self.folder / "images").glob("*.partial")]


class StartsLater(FakeBackend):
    """Like `repo2docker`: it does not start without its engine."""

    down = Unicode().tag(config=True)
    """Why it can't start; empty if it can."""

    async def start(self) -> None:
        if self.down:
            raise ConfigurationError(self.down)
        await super().start()


class FolderFake(StartsLater):
    """Like `venv`: it makes folders, and refuses what these can't have."""

    name = "folders"
    makes_containers = False
    made = VenvBackend.made
    fits = VenvBackend.fits  # type: ignore[assignment]
    pace = VenvBackend.pace


class ImageFake(StartsLater):
    """Like a BinderHub: it takes everything, and fetches by itself."""

    name = "images"


FAKES = [f"{__name__}.{each.__name__}" for each in (FolderFake, ImageFake)]


def auto_config(folder: Path) -> Config:
    """Return the configuration of two fakes, folders first."""
    config = Config()
    config.AutoBackend.backends = FAKES
    config.FolderFake.refuses = ["apt.txt", "Dockerfile"]
    for each in ("FolderFake", "ImageFake"):
        config[each].images_dir = str(folder / each)
    return config


def make_auto(folder: Path, **traits: Any) -> AutoBackend:
    """Two fakes, folders first."""
    return AutoBackend(config=auto_config(folder), **traits)


class AutoKit(FakeKit):
    """Two fakes, of which the first refuses some files."""

    def make(self) -> BuildBackend:
        return make_auto(self.folder)

    def leftovers(self) -> list[str]:
        return [str(path) for path in self.folder.rglob("*.partial")]


NOISE = r"""#!/usr/bin/env python
import sys
out = sys.stdout.buffer
out.write(b"\xff\xfe invalid \x80\n")
out.write(b"nul \0 \x1b[31mred\x1b[0m\n")
out.write(b"".join(b"%d %%\r" % n for n in range(100)) + b"\n")
out.write(b"x" * 1_000_000 + b"\n")
out.write(b"the end")
"""


class VenvKit(Kit):
    """Small environments, without a server; where there is no sandbox it does without."""

    _count = 0

    def make(self) -> BuildBackend:
        return VenvBackend(
            environments_root=str(self.folder / "environments"),
            base_packages=[],
            smoke_test=[],
            allow_unsandboxed=True,
        )

    def _job(self, **files: str) -> BuildJob:
        self._count += 1
        named = {name.replace("__", "."): text for name, text in files.items()}
        return job_of(self.folder / f"checkout-{self._count}", named)

    def good(self) -> BuildJob:
        return self._job(requirements__txt="cowsay==6.1\n")

    def failing(self) -> BuildJob:
        return self._job(requirements__txt="nosuchthing-at-all-9f3a==1\n")

    def hanging(self) -> BuildJob:
        return self._job(postBuild="#!/bin/sh\necho started\nsleep 1000 & sleep 1000\n")

    def hostile(self) -> BuildJob:
        return self._job(postBuild=NOISE)

    def leftovers(self) -> list[str]:
        root = self.folder / "environments"
        found = [
            str(path) for name in (".building", ".deleted") for path in (root / name).iterdir()
        ]
        return found + processes_under(root)


def processes_under(root: Path) -> list[str]:
    """The processes that were started for a workspace under a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER, "").startswith(str(root)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


KITS: dict[str, type[Kit]] = {"fake": FakeKit, "auto": AutoKit, "venv": VenvKit}
