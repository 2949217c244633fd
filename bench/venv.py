"""A build of the venv backend, over the commands of uv that make the same environment.

In turns, each with a cache of its own. The bare commands compile bytecode and copy files, since
that is what an environment without the service takes; of ours the smoke test is measured with it.
The first round is cold: both download all packages. Where servers cannot write to environments, the
backend links them to its cache; the figures with copies are for hubs where servers can.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import show
from jupyterhub_binder.backends.venv.backend import VenvBackend
from tests.kit.jobs import build_hosts, collect, image_of, job_of

REQUIREMENTS = ("numpy", "pandas", "matplotlib")
ANOTHER = ("numpy", "pandas", "matplotlib", "seaborn", "networkx")
"""Another repository's, which shares nine tenths of its packages with the first."""
ROUNDS = 4


@dataclass(frozen=True)
class Cost:
    """What one build took."""

    seconds: float
    cpu_seconds: float
    own_bytes: int = 0


@dataclass(frozen=True)
class Round:
    """The same environment, made in three ways."""

    linked: Cost
    copied: Cost
    bare: Cost


async def measure() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cold = await _round(root, 0)
        warm = [await _round(root, number) for number in range(1, ROUNDS + 1)]
        await _ours(root, "another", ANOTHER, linked=True)  # its own tenth comes into the cache
        second = await _ours(root, "second", ANOTHER, linked=True)
    _show("venv_build_over_bare_uv", "<= 0.4", warm)
    _show("venv_build_over_bare_uv_cold", "<= 1.0", [cold])
    show(
        "venv_second_environment",
        second.seconds,
        "seconds",
        goal="<= 3",
        cpu_seconds=round(second.cpu_seconds, 1),
        own_megabytes=round(second.own_bytes / 1e6, 1),
    )


def _show(name: str, goal: str, rounds: Sequence[Round]) -> None:
    linked, copied, bare = (
        [getattr(each, way) for each in rounds] for way in ("linked", "copied", "bare")
    )
    show(
        name,
        _ratio(linked, bare, "seconds"),
        "times",
        goal=goal,
        digits=3,
        cpu_times=_ratio(linked, bare, "cpu_seconds"),
        copies_times=_ratio(copied, bare, "seconds"),
        copies_cpu_times=_ratio(copied, bare, "cpu_seconds"),
        seconds=_tenths(linked, "seconds"),
        copies_seconds=_tenths(copied, "seconds"),
        bare_seconds=_tenths(bare, "seconds"),
        cpu_seconds=_tenths(linked, "cpu_seconds"),
        copies_cpu_seconds=_tenths(copied, "cpu_seconds"),
        bare_cpu_seconds=_tenths(bare, "cpu_seconds"),
    )


def _ratio(ours: Sequence[Cost], bare: Sequence[Cost], what: str) -> float:
    pairs = zip(ours, bare, strict=True)
    return round(statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs), 3)


def _tenths(costs: Sequence[Cost], what: str) -> list[float]:
    return [round(getattr(each, what), 1) for each in costs]


async def _round(root: Path, number: int) -> Round:
    return Round(
        await _ours(root, str(number), REQUIREMENTS, linked=True),
        await _ours(root, str(number), REQUIREMENTS, linked=False),
        _bare(root, number),
    )


def _backend(root: Path, *, linked: bool) -> VenvBackend:
    return VenvBackend(
        environments_root=str(root / ("linked" if linked else "copied")),
        servers_cannot_write=linked,
        build_hosts=build_hosts(),
    )


async def _ours(root: Path, name: str, requirements: Sequence[str], *, linked: bool) -> Cost:
    backend = _backend(root, linked=linked)
    await backend.start()
    text = "".join(f"{each}\n" for each in requirements) + f"# {name}\n"
    job = job_of(root / f"checkout-{linked}-{name}", {"requirements.txt": text})
    cpu, began = _cpu_seconds(), time.monotonic()
    made = image_of(await collect(backend, job)).name
    cost = Cost(time.monotonic() - began, _cpu_seconds() - cpu)
    own = {image.name: image.size_bytes for image in await backend.list_images()}
    await backend.stop()
    return Cost(cost.seconds, cost.cpu_seconds, own[made])


def _bare(root: Path, number: int) -> Cost:
    environment = root / f"bare-{number}"
    wanted = root / "wanted.txt"
    wanted.write_text("\n".join((*_backend(root, linked=True).base_packages, *REQUIREMENTS)))
    python = str(environment / "bin/python")
    lock = str(root / "lock.txt")
    uv = str(Path(sys.executable).with_name("uv"))
    env = {**os.environ, "UV_CACHE_DIR": str(root / "bare-cache")}
    cpu, began = _cpu_seconds(), time.monotonic()
    for words in (
        ("venv", "--relocatable", "--no-project", "--python", sys.executable, str(environment)),
        ("pip", "compile", "--quiet", "--python", python, "--output-file", lock, str(wanted)),
        ("pip", "sync", "--compile-bytecode", "--link-mode", "copy", "--python", python, lock),
    ):
        subprocess.run([uv, *words], check=True, capture_output=True, env=env)
    return Cost(time.monotonic() - began, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of all its children that have ended.

    That of a sandbox's processes, so of the smoke test, is not in it.
    """
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    print(json.dumps({"requirements": REQUIREMENTS}))
    asyncio.run(measure())
