"""The repo2docker backend under the conformance suite: real builds by a real engine."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.model import BuildJob
from tests.kit.backends import NOISE, Kit, processes_under
from tests.kit.engine import BASE_IMAGE
from tests.kit.jobs import job_of

SERVER = rf"""FROM {BASE_IMAGE}
RUN printf '#!/bin/sh\necho 5.4.0\n' > /usr/local/bin/jupyterhub-singleuser \
 && chmod 755 /usr/local/bin/jupyterhub-singleuser && useradd --uid 1000 --create-home jovyan
ENV HOME=/home/jovyan
"""
"""The beginning of a Dockerfile, with something that passes for a server in little time."""


class Repo2DockerKit(Kit):
    """Images of Dockerfiles; the engine is what DOCKER_HOST says."""

    marks = ("docker",)
    fixtures = ("docker_engine",)
    program: ClassVar[str] = "docker"

    _count = 0

    @property
    def prefix(self) -> str:
        return f"conformance/{self.folder.name.replace('_', '-').strip('-')[-40:].strip('-')}/"

    def make(self) -> BuildBackend:
        return Repo2DockerBackend(
            engine=self.program, image_prefix=self.prefix, work_dir=str(self.folder / "work")
        )

    def _job(self, dockerfile: str, **files: str) -> BuildJob:
        self._count += 1
        named = {"Dockerfile": dockerfile, **files}
        return job_of(self.folder / f"checkout-{self._count}", named)

    def good(self) -> BuildJob:
        return self._job(f"{SERVER}USER 1000\n")

    def failing(self) -> BuildJob:
        return self._job(f"{SERVER}RUN nosuchthing\n")

    def hanging(self) -> BuildJob:
        # The name keeps the cache from knowing it, the folder of the test is another each time.
        return self._job(f"{SERVER}RUN : {self.folder}; echo started; sleep 1000 & sleep 1000\n")

    def hostile(self) -> BuildJob:
        return self._job(f"{SERVER}COPY noise /noise\nRUN python3 /noise\nUSER 1000\n", noise=NOISE)

    def leftovers(self) -> list[str]:
        work = self.folder / "work"
        return [
            *(str(path) for path in (work.iterdir() if work.exists() else ())),
            *processes_under(work),
            *self.ask("image", "ls", "--quiet", f"{self.prefix}building"),
            *self._containers(),
        ]

    def _containers(self) -> list[str]:
        # Docker's first builder ends a build that was cut off by itself, a moment later.
        deadline = time.monotonic() + 30
        while (found := self.ask("ps", "--all", "--quiet")) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def ask(self, *words: str) -> list[str]:
        command = [self.program, *words]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
        return done.stdout.split()


class PodmanKit(Repo2DockerKit):
    """The same with Podman."""

    marks = ("podman",)
    fixtures = ("podman_engine",)
    program = "podman"


def programs() -> list[str]:
    """The Docker programs of this machine: a newer one may lie in front of Debian's."""
    found = [Path(folder, "docker") for folder in os.get_exec_path()]
    return sorted({str(path.resolve()) for path in found if os.access(path, os.X_OK)})
