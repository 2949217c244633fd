"""Seconds that a build of the repo2docker backend takes more than the bare command.

Both build the same repository from its URL on one engine, in alternating order, each time with new
layers. The bare command (`jupyter-repo2docker`) clones it, builds with Docker's buildx and runs no
smoke test. Ours does all of a build but the database. Processor time is that of the client side.
Progress goes to standard error, a line at each build's beginning and end.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.figures import show
from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.backends.repo2docker.build import write_config
from jupyterhub_binder.model import BuildJob
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.utils.names import new_id
from tests.kit.buildx import find_config
from tests.kit.engine import find_missing, open_engine
from tests.kit.git_server import GitRepo, GitServer
from tests.kit.jobs import build_of, collect

FEW = ("numpy", "pandas", "matplotlib")
ORDINARY = (
    *FEW,
    *("scipy", "scikit-learn", "seaborn", "xarray", "dask[complete]", "ipywidgets", "plotly"),
)

DOCKERFILE = r"""
FROM {base_image}
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --quiet --no-cache-dir uv \
 && /opt/venv/bin/uv pip install --python /opt/venv --no-cache --compile-bytecode {server}
ARG NB_USER
ARG NB_UID
RUN useradd --uid ${{NB_UID}} --create-home ${{NB_USER}}
ENV PATH=/opt/venv/bin:$PATH HOME=/home/${{NB_USER}}
COPY requirements.txt /tmp/
RUN uv pip install --python /opt/venv --no-cache -r /tmp/requirements.txt
COPY --chown=${{NB_UID}} . ${{HOME}}
USER ${{NB_UID}}
"""
"""As repositories have it for mybinder.org: its files in the home, so that ours adds a layer."""

_GIT_ONLY = """
from repo2docker.contentproviders import Git
c.Repo2Docker.content_providers = [Git]
"""
"""The bare command asks archives on the internet whether they know an address; not here."""


@dataclass(frozen=True)
class Workload:
    """A kind of repository to build."""

    figure: str
    packages: tuple[str, ...]
    rounds: int = 4
    first: bool = False
    """Whether the engine has to make the server's layer, too."""
    dockerfile: bool = False
    """Whether the repository has a Dockerfile of its own, instead of being a build pack's."""


GOAL = "<= 4"

WORKLOADS = (
    Workload("repo2docker_build_over_bare", ORDINARY),
    Workload("repo2docker_first_build_over_bare", ORDINARY, first=True),
    Workload("repo2docker_smallest_build_over_bare", FEW),
    Workload("repo2docker_dockerfile_over_bare", ORDINARY, dockerfile=True),
)


@dataclass(frozen=True)
class Cost:
    """What one build took."""

    seconds: float
    cpu_seconds: float


async def measure() -> None:
    """Print the figures."""
    missing = find_missing()
    if missing and "DOCKER_HOST" not in os.environ:
        skipped = f"needs {missing}, or DOCKER_HOST"
        print(json.dumps({"figure": WORKLOADS[0].figure, "skipped": skipped}), flush=True)
        return
    print("Starting a Docker engine with a base image", file=sys.stderr, flush=True)
    with open_engine() as engine, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DOCKER_HOST"] = engine.host
        with GitServer.running(folder / "git") as server:
            bench = Bench(folder, engine.base_image, find_config(), server)
            for workload in WORKLOADS:
                await bench.measure(workload)


class Bench:
    """Builds in one folder, on one engine, of one git server's repositories."""

    def __init__(
        self, folder: Path, base_image: str, docker_config: str, server: GitServer
    ) -> None:
        self._folder = folder
        self._base_image = base_image
        self._docker_config = docker_config
        self._server = server
        self._fetcher = Fetcher(git=Git(protocols=["http"], private_hosts=["127.0.0.1"]))
        self._numbers = count(1)
        self._run = new_id()  # an engine that is kept has what an earlier run made

    async def measure(self, workload: Workload) -> None:
        """Print the figure of a workload."""
        if not workload.first:
            await self._bare(workload)  # makes the server's layer
        rounds = [await self._round(workload, turn) for turn in range(workload.rounds)]
        show(
            workload.figure,
            statistics.median(ours.seconds - bare.seconds for ours, bare in rounds),
            "s",
            goal=GOAL,
            seconds=[round(ours.seconds, 1) for ours, _ in rounds],
            bare_seconds=[round(bare.seconds, 1) for _, bare in rounds],
            extra_cpu_seconds=round(
                statistics.median(ours.cpu_seconds - bare.cpu_seconds for ours, bare in rounds), 2
            ),
        )

    async def _round(self, workload: Workload, turn: int) -> tuple[Cost, Cost]:
        if turn % 2:
            return await self._ours(workload), await self._bare(workload)
        bare = await self._bare(workload)
        return await self._ours(workload), bare

    async def _ours(self, workload: Workload) -> Cost:
        number = next(self._numbers)
        _say(workload, "ours begins")
        backend = self._backend(workload, number)
        await backend.start()
        repo = self._repo(workload, number)
        checkout = self._folder / f"{number}"
        build = build_of(repo.url, repo.head)
        begun = _now()
        assert await backend.find_image(build.key) is None
        await self._fetcher.checkout(build.resolved, checkout)
        recipe = await asyncio.to_thread(read_recipe, checkout)
        assert not backend.assess(recipe, {}).problems
        await collect(backend, BuildJob(build, recipe, checkout))
        cost = _since(begun)
        await backend.stop()
        _say(workload, f"ours {cost.seconds:.1f} s")
        return cost

    async def _bare(self, workload: Workload) -> Cost:
        number = next(self._numbers)
        _say(workload, "bare begins")
        backend = self._backend(workload, number)
        await backend.start()
        config = self._folder / f"{number}.py"
        config.write_text(f"{write_config(backend._settings(), {})}{_GIT_ONLY}")
        repo = self._repo(workload, number)
        command = [
            *(sys.executable, "-m", "repo2docker", "--config", str(config), "--no-run"),
            *("--user-id=1000", "--user-name=jovyan", "--target-repo-dir=/srv/repo"),
            *(f"--image-name=bare:{self._run}-{number}", repo.url),
        ]
        environment = {**backend.container_engine.environment, "PYTHONUNBUFFERED": "1"}
        begun = _now()
        await asyncio.to_thread(
            subprocess.run,
            command,
            check=True,
            capture_output=True,
            cwd=self._folder,
            env=environment,
        )
        cost = _since(begun)
        _say(workload, f"bare {cost.seconds:.1f} s")
        return cost

    def _backend(self, workload: Workload, number: int) -> Repo2DockerBackend:
        backend = Repo2DockerBackend(
            work_dir=str(self._folder / "work"),
            image_prefix="bench/",
            buildpack="debian",
            base_image=self._base_image,
            docker_config=self._docker_config,
        )
        if workload.first:  # a command that no layer was made by
            backend.base_packages = [*backend.base_packages, f"pip!=0+{self._run}.{number}"]
        return backend

    def _repo(self, workload: Workload, number: int) -> GitRepo:
        wanted = "\n".join((*workload.packages, f"# {self._run} {number}\n"))
        files = {"requirements.txt": wanted}
        if workload.dockerfile:
            server = shlex.join(self._backend(workload, number).base_packages)
            files["Dockerfile"] = DOCKERFILE.format(base_image=self._base_image, server=server)
        return self._server.make_repo(f"org/{number}", files)


def _say(workload: Workload, what: str) -> None:
    print(f"{workload.figure}: {what}", file=sys.stderr, flush=True)


def _now() -> tuple[float, float]:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.monotonic(), sum(each.ru_utime + each.ru_stime for each in used)


def _since(begun: tuple[float, float]) -> Cost:
    clock, cpu = _now()
    return Cost(clock - begun[0], cpu - begun[1])
