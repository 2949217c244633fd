"""A fetcher whose repositories are dictionaries, for tests that start no process."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from jupyterhub_binder.model import Commit, Resolved
from jupyterhub_binder.repositories.fetcher import Peek
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.utils.time import utc_now
from tests.kit.parts import NoFetcher

Files = Mapping[str, str]


class DictFetcher(NoFetcher):
    """Checks out the files of ``org/repo@ref``; a ref is its own commit."""

    def __init__(self, repositories: Mapping[str, Files]) -> None:
        super().__init__(git=Git())
        self.repositories = dict(repositories)
        self.fetched: list[str] = []
        self.gone: set[str] = set()
        """Repositories that their host no longer gives away."""

    async def serves(self, resolved: Resolved) -> bool:
        """Answer at once."""
        return resolved.spec.repo not in self.gone

    async def checkout(
        self, resolved: Resolved, into: Path, *, on_line: Callable[[str], None] = print
    ) -> Commit:
        """Write the files."""
        name = f"{resolved.spec.repo}@{resolved.spec.ref}"
        self.fetched.append(name)
        write_files(into, self.repositories[name])
        return Commit(resolved.resolved_ref, "A commit", utc_now())

    @asynccontextmanager
    async def peek(self, resolved: Resolved) -> AsyncIterator[Peek]:
        """Write the files to a folder for a while."""
        with tempfile.TemporaryDirectory() as folder:
            commit = await self.checkout(resolved, Path(folder))
            yield Peek(Path(folder), commit)


def write_files(folder: Path, files: Files) -> None:
    """Write files by path."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
