"""A service to be killed: makes its builds over one folder, and prints every line it shows.

Run as ``python -m tests.kit.killed_service FOLDER DATABASE BUILDS LINES``. A run after a kill takes up what
is there. It prints ``<build id> <seq> <message>`` a line, and ``done`` when all have ended.
"""

import asyncio
import sys
from pathlib import Path

from jupyterhub_binder.model import Build
from tests.kit.parts import ALICE, open_service


async def main(folder: Path, database: str, builds: int, lines: int) -> None:
    """Create what is missing, then watch everything to its end."""
    service = await open_service(folder, database=database, max_running=3, max_running_per_user=3)
    kept = await service.store.list_environments(owner="alice", order="name")
    names = {environment.name for environment in kept.items}
    for number in range(builds):
        if f"e{number}" not in names:
            await service.create(
                ALICE, repo=f"org/r{number}", name=f"e{number}", fake={"lines": lines}
            )
    kept = await service.store.list_environments(owner="alice")
    await asyncio.gather(*(show(service, e.latest.build.id) for e in kept.items))
    print("done", flush=True)
    await service.stop()


async def show(service, build_id: str) -> None:
    """Print the lines of one build."""
    async for item in service.builds.watch(build_id):
        if not isinstance(item, Build):
            text = "\n".join(f"{build_id} {e.seq} {e.message}" for e in item.events)
            print(text, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
