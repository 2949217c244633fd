"""Finds out what a newer commit would change for a build: which commits, and whether to build."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from traitlets.config import LoggingConfigurable

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.builds.reuse import digest_of, find_reusable
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.model import Build, Recipe, RefKind, Resolved
from jupyterhub_binder.model.upstream import Comparison, UpstreamChange
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now

_MAX_DIGESTS = 5_000


@dataclass(frozen=True, slots=True)
class _RecipeDigest:
    """What decides the image of a newer commit."""

    digest: str | None
    open_versions: bool
    maker: BuildBackend


class UpstreamChanges(LoggingConfigurable):
    """Compares a build with a newer commit."""

    def __init__(
        self,
        *,
        store: Store,
        backend: BuildBackend,
        builds: Builds,
        fetcher: Fetcher,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._backend = backend
        self._builds = builds
        self._fetcher = fetcher
        self._digests: dict[tuple[str, str], _RecipeDigest] = {}
        """By content key and newer commit."""

    async def find(self, build: Build, resolved: Resolved) -> UpstreamChange:
        """Find and store what a commit changes. Raises the errors of a fetch."""
        before = replace(build.resolved, ref_kind=RefKind.COMMIT)
        old, new = await self._read(before), await self._read(resolved)
        digest = await self._digest(build, new)
        paths = [each.path for each in (*old.inputs, *new.inputs)]
        change = UpstreamChange(
            build.base_key,
            resolved.resolved_ref,
            needs_build=await self._needs_build(build, digest),
            comparison=await self._compare(resolved, build.resolved_ref, paths),
        )
        self._remember(change, digest)
        await self._store.put_upstream_change(change, at=utc_now())
        return change

    async def _read(self, resolved: Resolved) -> Recipe:
        async with self._fetcher.peek(resolved) as peek:
            return await asyncio.to_thread(self._fetcher.read_recipe, peek.path, resolved)

    async def _compare(self, resolved: Resolved, since: str, paths: list[str]) -> Comparison:
        """Compare commits; a record and a hub without mirrors have nothing to compare."""
        try:
            return await self._fetcher.compare(resolved, since, paths)
        except BinderError as error:
            self.log.info("Can't compare commits of %s: %s", resolved.label, error.message)
            return Comparison()

    async def check_again(
        self, build: Build, resolved: Resolved, change: UpstreamChange
    ) -> UpstreamChange:
        """Find out again whether a build is needed: images come and go, and packages get older.

        After a restart, recipes are read again of commits that needed no build.
        """
        digest = self._digests.get((change.from_key, change.resolved_ref))
        if digest is None:
            return change if change.needs_build else await self.find(build, resolved)
        needs_build = await self._needs_build(build, digest)
        if needs_build != change.needs_build:
            change = replace(change, needs_build=needs_build)
            await self._store.put_upstream_change(change, at=utc_now())
        return change

    async def _digest(self, build: Build, recipe: Recipe) -> _RecipeDigest:
        choice = await asyncio.to_thread(
            self._backend.choose, recipe, build.options, build.spec.provider
        )
        digest, reuse = await asyncio.to_thread(digest_of, choice.backend, build, recipe)
        return _RecipeDigest(digest, reuse.open_versions, choice.backend)

    def _remember(self, change: UpstreamChange, known: _RecipeDigest) -> None:
        if len(self._digests) >= _MAX_DIGESTS:
            self._digests.clear()
        self._digests[change.from_key, change.resolved_ref] = known

    async def _needs_build(self, build: Build, of: _RecipeDigest) -> bool:
        """Say whether a build would make a new image."""
        days = self._builds.reuse_days
        if of.digest is None or not days:
            return True
        found = await find_reusable(
            self._store,
            of.maker,
            of.digest,
            clone_url=build.clone_url,
            serves=self._fetcher.serves,
            open_versions=of.open_versions,
            max_days=days,
            now=utc_now(),
        )
        return found.build is None
