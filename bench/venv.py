"""A build of the venv backend, over the commands of uv that make the same environment.

In turns, with uv's cache warm. The bare commands compile bytecode and copy files too, since
that is part of what a build promises; of ours the smoke test is measured with it.
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
from dataclasses import dataclass
from pathlib import Path

from bench.figures import show
from jupyterhub_binder.backends.venv.backend import VenvBackend
from tests.kit.jobs import build_hosts, collect, job_of

REQUIREMENTS = ("numpy", "pandas", "matplotlib")
ROUNDS = 4


@dataclass(frozen=True)
class Cost:
    """What one build took."""

    seconds: float
    cpu_seconds: float


async def measure() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        await _ours(root, 0)
        _bare(root, 0)
        rounds = [(await _ours(root, n), _bare(root, n)) for n in range(1, ROUNDS + 1)]
    ratio = statistics.median(ours.seconds / bare.seconds for ours, bare in rounds)
    cpu = statistics.median(ours.cpu_seconds / bare.cpu_seconds for ours, bare in rounds)
    show(
        "venv_build_over_bare_uv",
        ratio,
        "times",
        goal="<= 1.15",
        digits=3,
        cpu_times=round(cpu, 3),
        seconds=[round(ours.seconds, 1) for ours, _ in rounds],
        bare_seconds=[round(bare.seconds, 1) for _, bare in rounds],
    )


def _backend(root: Path) -> VenvBackend:
    return VenvBackend(environments_root=str(root / "environments"), build_hosts=build_hosts())


async def _ours(root: Path, number: int) -> Cost:
    backend = _backend(root)
    await backend.start()
    text = "".join(f"{name}\n" for name in REQUIREMENTS) + f"# {number}\n"
    job = job_of(root / f"checkout-{number}", {"requirements.txt": text})
    cpu, began = _cpu_seconds(), time.monotonic()
    await collect(backend, job)
    cost = Cost(time.monotonic() - began, _cpu_seconds() - cpu)
    await backend.stop()
    return cost


def _bare(root: Path, number: int) -> Cost:
    backend = _backend(root)
    environment = root / f"bare-{number}"
    wanted = root / "wanted.txt"
    wanted.write_text("\n".join((*backend.base_packages, *REQUIREMENTS)))
    python = str(environment / "bin/python")
    lock = str(root / "lock.txt")
    uv = str(Path(sys.executable).with_name("uv"))
    env = {**os.environ, "UV_CACHE_DIR": str(root / "environments/.cache")}
    cpu, began = _cpu_seconds(), time.monotonic()
    for words in (
        ("venv", "--relocatable", "--no-project", "--python", sys.executable, str(environment)),
        ("pip", "compile", "--quiet", "--python", python, "--output-file", lock, str(wanted)),
        ("pip", "sync", "--compile-bytecode", "--link-mode", "copy", "--python", python, lock),
    ):
        subprocess.run([uv, *words], check=True, capture_output=True, env=env)
    return Cost(time.monotonic() - began, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of all its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps({"requirements": REQUIREMENTS}))
    asyncio.run(measure())
