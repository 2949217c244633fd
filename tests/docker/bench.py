"""What the repo2docker backend costs over the bare `jupyter-repo2docker` command.

Both build the same repository on one engine, in turns whose order changes, each time with a new
layer to make; prints one JSON line. Seconds are the clock's; CPU seconds are those of the processes
on this side of the engine's socket, with all their children: what runs inside the engine is the
same work for both, save the smoke test. The smoke test's seconds do not grow with the build, so
what is built decides what they weigh: three packages, with `analysis` those of an ordinary
repository, and with `first` also the server, which an engine that has built before has kept.

`python -m tests.docker.bench [ROUNDS [analysis] [first]]`
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.r2d_build import write_config
from jupyterhub_binder.backends.repo2docker import Repo2DockerBackend
from tests.backends.jobs import collect, job_of

from .engine import open_engine

FEW = "numpy\npandas\nmatplotlib\n"
ANALYSIS = FEW + "scipy\nscikit-learn\nseaborn\nxarray\ndask[complete]\nipywidgets\nplotly\n"
REQUIREMENTS = ANALYSIS if "analysis" in sys.argv else FEW


Spent = tuple[float, float]
"""Seconds by the clock, and of CPU."""


def now() -> Spent:
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(one.ru_utime + one.ru_stime for one in used)


def since(begun: Spent) -> Spent:
    return tuple(b - a for a, b in zip(begun, now(), strict=True))  # type: ignore[return-value]


async def ours(folder: Path, name: str, base: str, *, smoke_test: bool) -> Spent:
    backend = make(folder, base, name)
    backend.smoke_test = smoke_test
    await backend.start()
    files = {"requirements.txt": f"{REQUIREMENTS}# {name}\n"}
    job = job_of(folder / name, files)
    begun = now()
    await collect(backend, job)
    spent = since(begun)
    await backend.stop()
    return spent


async def bare(folder: Path, name: str, base: str) -> Spent:
    backend = make(folder, base, name)
    await backend.start()
    config = folder / f"{name}.py"
    config.write_text(write_config(backend._settings(), workspace="", labels={}))
    job_of(folder / name, {"requirements.txt": f"{REQUIREMENTS}# {name}\n"})
    (folder / "empty").mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "repo2docker", "--config", str(config), "--no-run"),
        *("--engine=binder", "--user-id=1000", "--user-name=jovyan"),
        *("--target-repo-dir=/srv/repo", f"--image-name=bare:{name}", str(folder / name)),
    ]
    begun = now()
    await asyncio.to_thread(
        subprocess.run, command, check=True, capture_output=True, cwd=folder / "empty"
    )
    return since(begun)


def make(folder: Path, base: str, name: str) -> Repo2DockerBackend:
    backend = Repo2DockerBackend(
        work_dir=str(folder / "work"), image_prefix="bench/", buildpack="debian", base_image=base
    )
    if "first" in sys.argv:  # a command that no layer was made by
        backend.base_packages = [*backend.base_packages, f"pip!=0+{name.replace('-', '.')}"]
    return backend


async def main(rounds: int, base: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await bare(folder, "warm", base)
        kinds = {
            "bare": bare,
            "ours": partial(ours, smoke_test=True),
            "untried": partial(ours, smoke_test=False),
        }
        spent: dict[str, list[Spent]] = {name: [] for name in kinds}
        for n in range(rounds):
            order = [*kinds][n % 3 :] + [*kinds][: n % 3]
            for kind in order:
                spent[kind].append(await kinds[kind](folder, f"{kind}-{n}", base))
    print(json.dumps(summary(spent)))


def summary(spent: dict[str, list[Spent]]) -> dict[str, Any]:
    middle = {
        kind: [statistics.median(one[i] for one in many) for i in (0, 1)]
        for kind, many in spent.items()
    }
    clock, extra = middle["bare"][0], middle["ours"][1] - middle["bare"][1]
    return {
        "figure": "repo2docker backend over bare repo2docker",
        "ratio": round(middle["ours"][0] / clock, 3),
        "ratio without smoke test": round(middle["untried"][0] / clock, 3),
        "extra CPU seconds": round(extra, 2),
        "seconds": {kind: [round(one[0], 1) for one in many] for kind, many in spent.items()},
        "CPU seconds": {kind: [round(one[1], 2) for one in many] for kind, many in spent.items()},
    }


if __name__ == "__main__":
    with open_engine() as engine:
        os.environ["DOCKER_HOST"] = engine.host
        asyncio.run(main(int([*sys.argv, "3"][1]), engine.base_image))
