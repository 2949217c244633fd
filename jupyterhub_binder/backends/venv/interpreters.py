"""Finds this machine's Python interpreters and their versions."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from jupyterhub_binder.backends.venv.steps import Interpreter
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.utils.subprocess import ProcessFailed, run

_NEWEST = 20
_ASK = (
    "import os, platform, sys;"
    "from importlib.util import MAGIC_NUMBER as magic;"
    "print(platform.python_version(), sys.base_prefix,"
    " os.path.realpath(getattr(sys, '_base_executable', sys.executable)),"
    " f'{sys.implementation.cache_tag}-{magic[0] + magic[1] * 256}', sep='\\n')"
)

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version of the service's own interpreter."""


async def find_pythons(configured: Mapping[str, str]) -> dict[str, Interpreter]:
    """Return interpreters by minor version: the configured ones, else all on PATH.

    Raises ConfigurationError for a configured one that fails.
    """
    if configured:
        found = await _ask_all(configured)
        for minor, interpreter in found.items():
            if interpreter is None or not interpreter.version.startswith(f"{minor}."):
                raise ConfigurationError(
                    f"VenvBackend.pythons: {configured[minor]} is not a working Python {minor}."
                )
    else:
        names = {f"3.{minor}": shutil.which(f"python3.{minor}") for minor in range(9, _NEWEST)}
        found = await _ask_all(
            {minor: program for minor, program in names.items() if program} | {OWN: sys.executable}
        )
    return {minor: one for minor, one in found.items() if one is not None}


async def _ask_all(programs: Mapping[str, str]) -> dict[str, Interpreter | None]:
    answers = await asyncio.gather(*map(_ask, programs.values()))
    return dict(zip(programs, answers, strict=True))


async def _ask(program: str) -> Interpreter | None:
    try:
        # Isolated: neither the folder it is asked in nor our own variables answer for it.
        said = await run(
            [program, "-I", "-c", _ASK],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd=Path("/"),
            timeout_seconds=20,
        )
        version, prefix, real, bytecode = said.split("\n")[:4]
    except (ProcessFailed, OSError, TimeoutError, ValueError):
        return None
    return Interpreter(Path(real), version, Path(prefix), bytecode)


def closed_folder(path: Path) -> Path | None:
    """Return the first parent folder that other users can't enter, or None."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None
