"""What an environment's repository has to open, and how an application opens it."""

from __future__ import annotations

from collections import OrderedDict

from jupyterhub_binder.model import ContentMode, Environment, Resolved
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.listing import FileListing
from jupyterhub_binder.utils.concurrency import SingleFlight

_MAX_COMMITS = 100
"""How many lists are kept. A commit's list never changes."""


class RepositoryFiles:
    """Lists READMEs and notebooks. Gives nothing where nobody knows the files."""

    def __init__(self, *, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._known: OrderedDict[tuple[str, str], FileListing] = OrderedDict()
        self._flights: SingleFlight[tuple[str, str], FileListing | None] = SingleFlight()

    async def list(self, environment: Environment) -> FileListing | None:
        """Return what the current build's commit has, if servers get these files.

        Who may use an environment may see its files: a launch copies them.
        """
        elsewhere = environment.content_url or environment.content is ContentMode.LEAVE
        if environment.current is None or elsewhere:
            return None
        return await self.list_at(environment.current.build.resolved)

    async def list_at(self, resolved: Resolved) -> FileListing | None:
        """Return what a commit has. Never downloads anything, and does not raise."""
        key = (resolved.clone_url, resolved.resolved_ref)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = await self._flights.do(key, lambda: self._fetcher.list_files(resolved))
        if found is not None:
            self._known[key] = found
            while len(self._known) > _MAX_COMMITS:
                self._known.popitem(last=False)
        return found
