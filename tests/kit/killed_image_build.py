"""A service that is killed while it builds: runs one build and says where it is."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.model import Checkpoint
from tests.kit.jobs import job_of


async def main(traits: str, checkout: str, dockerfile: str) -> None:
    backend = Repo2DockerBackend(**json.loads(traits))
    await backend.start()
    job = job_of(Path(checkout), {"Dockerfile": dockerfile})
    async for output in backend.build(job):
        if isinstance(output, Checkpoint):
            print(json.dumps(dict(output.data)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
