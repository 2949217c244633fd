"""Run by tests in a process that is then killed: begins a build, says its lines."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.model import Line
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.jobs import make_job


async def main(root: str, checkout: str, sandboxed: str) -> None:
    backend = VenvBackend(
        environments_root=root, base_packages=[], smoke_test=[], allow_unsandboxed=True
    )
    await backend.start()
    if sandboxed == "no":
        backend._sandbox = None
    job = make_job(recipe=read_recipe(Path(checkout)), checkout=Path(checkout))
    async for output in backend.build(job):
        print(output.text if isinstance(output, Line) else output, flush=True)


asyncio.run(main(*sys.argv[1:]))
