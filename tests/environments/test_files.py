"""The files of a repository that a launch can open."""

from __future__ import annotations

from dataclasses import replace

from jupyterhub_binder.environments.files import RepositoryFiles
from jupyterhub_binder.model import ContentMode, Environment, Resolved
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.listing import FileListing
from tests.kit.parts import ALICE, NoFetcher, Service


class SomeFiles(NoFetcher):
    """Has the files of what it is told."""

    def __init__(self) -> None:
        super().__init__(git=Git())
        self.asked: list[str] = []
        self.known: FileListing | None = None

    async def list_files(self, resolved: Resolved) -> FileListing | None:
        """Answer at once."""
        self.asked.append(resolved.resolved_ref)
        return self.known


async def built(service: Service) -> Environment:
    made = await service.create()
    assert made.latest
    await service.finished(made.latest.build.id)
    return await service.environments.get(ALICE, made.id)


async def test_a_commits_files_are_asked_for_until_they_are_known(service: Service) -> None:
    fetcher = SomeFiles()
    files = RepositoryFiles(fetcher=fetcher)
    environment = await built(service)
    assert await files.list(environment) is None
    fetcher.known = FileListing(("README.md",), (), 1)
    assert await files.list(environment) == fetcher.known
    assert await files.list(environment) == fetcher.known
    assert len(fetcher.asked) == 2


async def test_nothing_is_offered_that_servers_do_not_get(service: Service) -> None:
    fetcher = SomeFiles()
    files = RepositoryFiles(fetcher=fetcher)
    fetcher.known = FileListing(("README.md",), (), 1)
    environment = await built(service)
    assert await files.list(replace(environment, content=ContentMode.LEAVE)) is None
    assert await files.list(replace(environment, content_url="https://e.org/other")) is None
    assert await files.list(replace(environment, current=None)) is None
    assert fetcher.asked == []
