"""What the repo2docker backend costs over the bare `jupyter-repo2docker` command.

Both build the same repository on one engine, in turns, each time with a new layer to make; prints
one JSON line. `python -m tests.docker.bench [ROUNDS]`
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyterhub_binder.backends.r2d_build import write_config
from jupyterhub_binder.backends.repo2docker import Repo2DockerBackend
from tests.backends.jobs import collect, job_of

from .engine import open_engine

REQUIREMENTS = "numpy\npandas\nmatplotlib\n"


async def ours(folder: Path, name: str, base: str, *, smoke_test: bool) -> float:
    backend = make(folder, base)
    backend.smoke_test = smoke_test
    await backend.start()
    files = {"requirements.txt": f"{REQUIREMENTS}# {name}\n"}
    job = job_of(folder / name, files)
    begun = time.monotonic()
    await collect(backend, job)
    seconds = time.monotonic() - begun
    await backend.stop()
    return seconds


async def bare(folder: Path, name: str, base: str) -> float:
    backend = make(folder, base)
    await backend.start()
    config = folder / f"{name}.py"
    config.write_text(write_config(backend._settings(), workspace=""))
    job_of(folder / name, {"requirements.txt": f"{REQUIREMENTS}# {name}\n"})
    (folder / "empty").mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "repo2docker", "--config", str(config), "--no-run"),
        *("--engine=binder", "--user-id=1000", "--user-name=jovyan"),
        *("--target-repo-dir=/srv/repo", f"--image-name=bare:{name}", str(folder / name)),
    ]
    begun = time.monotonic()
    await asyncio.to_thread(
        subprocess.run, command, check=True, capture_output=True, cwd=folder / "empty"
    )
    return time.monotonic() - begun


def make(folder: Path, base: str) -> Repo2DockerBackend:
    return Repo2DockerBackend(
        work_dir=str(folder / "work"), image_prefix="bench/", buildpack="debian", base_image=base
    )


async def main(rounds: int, base: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await bare(folder, "warm", base)
        times: dict[str, list[float]] = {"bare": [], "ours": [], "untried": []}
        for n in range(rounds):
            times["bare"].append(await bare(folder, f"bare-{n}", base))
            times["ours"].append(await ours(folder, f"ours-{n}", base, smoke_test=True))
            times["untried"].append(await ours(folder, f"untried-{n}", base, smoke_test=False))
    middle = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "figure": "repo2docker backend over bare repo2docker",
                "ratio": round(middle["ours"] / middle["bare"], 3),
                "ratio without smoke test": round(middle["untried"] / middle["bare"], 3),
                "seconds": {name: [round(one, 1) for one in many] for name, many in times.items()},
            }
        )
    )


if __name__ == "__main__":
    with open_engine() as engine:
        os.environ["DOCKER_HOST"] = engine.host
        asyncio.run(main(int([*sys.argv, "3"][1]), engine.base_image))
