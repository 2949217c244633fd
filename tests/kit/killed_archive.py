"""A writer of the archive to be killed: it stops halfway through the file of its second day.

Run as ``python -m tests.kit.killed_archive FOLDER DATABASE``. It prints ``half`` when it is there.
"""

import asyncio
import io
import sys
import threading
from itertools import count

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.maintenance.archive import storage
from jupyterhub_binder.maintenance.archive.service import Archive
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store

_files = count(1)


class PublicRepositories(Providers):
    """Providers of repositories that are all public."""

    async def fetch_is_public(self, *_: object, **__: object) -> bool:
        return True


class HalfFile(io.BufferedWriter):
    """A file whose second half is never written."""

    def write(self, data) -> int:
        super().write(data[: len(data) // 2])
        self.flush()
        print("half", flush=True)
        threading.Event().wait()
        return 0


def open_file(descriptor: int, _: str) -> io.BufferedWriter:
    kind = HalfFile if next(_files) == 2 else io.BufferedWriter
    return kind(io.FileIO(descriptor, "w"))


async def main(folder: str, database: str) -> None:
    """Write the archive as the service does."""
    storage.os.fdopen = open_file
    store = await Store.open(database)
    providers = PublicRepositories(git=Git())
    archive = Archive(store=store, providers=providers, audit=Audit(store=store), url=folder)
    await archive.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
