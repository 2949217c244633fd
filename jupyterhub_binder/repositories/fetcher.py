"""Fetches a repository within limits: all files, or only the ones that are wanted."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from traitlets import Bool, Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import (
    BinderError,
    FetchFailed,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Commit, Recipe, Resolved
from jupyterhub_binder.model.upstream import Comparison
from jupyterhub_binder.repositories.compare import compare
from jupyterhub_binder.repositories.fetch_work import (
    ArchiveWork,
    GitWork,
    MirrorPeek,
    SubmodulePolicy,
    Work,
    no_line,
    url_of,
)
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.lfs import LfsFiles
from jupyterhub_binder.repositories.listing import FileListing, choose, read_tree
from jupyterhub_binder.repositories.mirror import Mirror, Mirrors
from jupyterhub_binder.repositories.peeks import CONFIGURATION, PeekKind
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.repositories.records.checkout import Archives
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.trees import (
    TreeTooDeep,
    try_to_remove,
    walk,
)

T = TypeVar("T")

_LIST_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Peek:
    """Some files, in a temporary folder."""

    path: Path
    commit: Commit


class Fetcher(LoggingConfigurable):
    """Fetches repositories, within limits."""

    fetch_seconds = Float(
        600, min=1, help="Time limit for fetching a repository, in seconds. Default: 600."
    ).tag(config=True)
    max_bytes = Integer(
        2 * 2**30,
        min=2**16,
        help="""
        Maximum size of a fetched repository on disk, in bytes, including one commit of history.
        Default: 2 GiB.
        """,
    ).tag(config=True)
    max_files = Integer(
        200_000,
        min=10,
        help="Maximum number of files and folders in a repository. Default: 200,000.",
    ).tag(config=True)
    peek_seconds = Float(
        60,
        min=1,
        help="""
        Time limit for reading the configuration files of a repository before a build, in seconds.
        Default: 60.
        """,
    ).tag(config=True)
    peek_max_bytes = Integer(
        100 * 2**20,
        min=2**16,
        help="""
        Maximum size of the download for reading the configuration files, in bytes. Some hosts can't
        send part of a repository and send all of it, so this is more than the files need. Default:
        100 MiB.
        """,
    ).tag(config=True)
    peeks_at_once = Integer(
        8,
        min=1,
        help="""
        How many repositories are read at the same time for their configuration files. Others wait.
        Default: 8.
        """,
    ).tag(config=True)
    submodules = Bool(
        False,
        help="""
        Fetch Git submodules, also of submodules. They count against `max_bytes`, and their hosts
        must be allowed as for any repository (`Git.allowed_hosts`, rules). An address for ssh is
        fetched over https. Submodules that are not allowed are named before the build. Environments
        that are built already stay as they are until somebody builds them again. Default: False,
        their folders stay empty.
        """,
    ).tag(config=True)
    lfs = Bool(
        False,
        help="""
        Fetch the files that a repository keeps in Git LFS, from the repository's own host and over
        https. They count against `max_bytes`. Environments that are built already stay as they are
        until somebody builds them again. Default: False, small text files take their place.
        """,
    ).tag(config=True)
    free_bytes = Integer(
        2**30,
        min=0,
        help="""
        Minimum free disk space, in bytes. With less, no fetch starts and running fetches stop.
        Default: 1 GiB.
        """,
    ).tag(config=True)
    watch_seconds = Float(
        0.5,
        min=0.01,
        help="Interval between checks of the size of a running fetch, in seconds. Default: 0.5.",
    ).tag(config=True)
    temporary_root = Unicode(
        help="Folder for temporary checkouts. Empty: the system's temporary folder."
    ).tag(config=True)

    def __init__(
        self,
        *,
        git: Git,
        archives: Archives | None = None,
        mirrors: Mirrors | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.mirrors = mirrors
        self.archives = archives
        """Lists the files of published records."""
        self.may_fetch: Callable[[str], bool] = lambda url: True
        """Whether the hub's rules let a submodule come from this URL."""
        self._peeks = asyncio.Semaphore(self.peeks_at_once)

    async def checkout(
        self, resolved: Resolved, into: Path, *, on_line: Callable[[str], None] = no_line
    ) -> Commit:
        """Fetch all files into a new folder, with a shallow ``.git``.

        Removes links that lead out. Raises FetchFailed, NotAllowed, RepositoryNotFound or
        UpstreamUnavailable, and leaves nothing behind.
        """
        work = self._work(resolved, into, self.max_bytes, on_line)
        await asyncio.to_thread(into.mkdir, parents=True)
        try:
            if isinstance(work, GitWork):
                work.lfs = self._lfs_files(on_line)
                work.source = await self._fill_mirror(resolved)
            commit = await self._guard(work, work.checkout, self.fetch_seconds)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(try_to_remove, into))
            raise
        if self.mirrors is not None and isinstance(work, GitWork) and work.source is None:
            await self.mirrors.adopt(url_of(work), resolved.resolved_ref, into)
        return commit

    async def serves(self, resolved: Resolved) -> bool:
        """Say whether a Git host still gives a repository to this hub. Records are public."""
        if self.archives is not None and self.archives.is_archive(resolved):
            return True
        try:
            await self.git.ls_remote(resolved.clone_url, pattern="HEAD")
        except BinderError as error:
            self.log.info("%s is not served: %s", resolved.label, error.message)
            return False
        return True

    # --- Mirrors --------------------------------------------------------------------------------

    async def _fill_mirror(self, resolved: Resolved) -> Path | None:
        """Bring a commit to its repository's mirror, if there is one; return the mirror."""
        if (mirrors := self.mirrors) is None:
            return None
        url = str(self.git.check(resolved.clone_url))
        if (place := mirrors.find(url)) is None:
            return None
        sha = resolved.resolved_ref

        async def fill(mirror: Mirror) -> None:
            await mirror.ensure_commits(sha)
            await mirror.ensure_files(sha)

        try:
            await mirrors.once(url, sha, do=lambda: self._use_mirror(resolved, fill))
        except (FetchFailed, UpstreamUnavailable) as error:
            if error.error_code == "disk_full" or error.detail.get("rate_limited"):
                raise
            return None  # a fetch without it says whether the mirror or the host is at fault
        return place

    async def _peek_in_mirror(
        self, resolved: Resolved, folder: Path, wanted: PeekKind
    ) -> Commit | None:
        """Read the files through the mirror, if there is one and it is free."""
        mirrors = self.mirrors
        if mirrors is None or (self.archives is not None and self.archives.is_archive(resolved)):
            return None
        url = str(self.git.check(resolved.clone_url))
        if mirrors.find(url) is None or mirrors.is_busy(url):
            return None
        await asyncio.to_thread(folder.mkdir)
        try:
            async with mirrors.hold(url, max_bytes=self.peek_max_bytes) as mirror:
                work = MirrorPeek(
                    *(self.git, resolved, folder, self.peek_max_bytes, self.max_files, no_line),
                    submodules=self._submodule_policy(),
                    mirror=mirror,
                    wanted=wanted,
                )
                return await self._guard(work, work.peek, self.peek_seconds)
        except (FetchFailed, UpstreamUnavailable) as error:
            if error.detail.get("rate_limited"):
                raise
            return None

    async def compare(
        self, resolved: Resolved, since: str, recipe_paths: Collection[str]
    ) -> Comparison:
        """Compare an earlier commit with a resolved one. Raises as `checkout`.

        FetchFailed also means that there is no mirror.
        """
        if self.archives is not None and self.archives.is_archive(resolved):
            raise FetchFailed("A published record has no commits.", code="no_mirror")
        paths = tuple(recipe_paths)
        return await self._use_mirror(
            resolved, lambda mirror: compare(mirror, since, resolved.resolved_ref, paths)
        )

    async def list_files(self, resolved: Resolved) -> FileListing | None:
        """Return what a commit has to open, from the mirror alone; None if it is not there.

        It asks no host, so it may be called only for who may see the commit's files anyway. It
        reads without holding the mirror: a page does not wait for a fetch, and a mirror that is
        removed meanwhile gives None.
        """
        mirrors = self.mirrors
        if mirrors is None or (self.archives is not None and self.archives.is_archive(resolved)):
            return None
        try:
            url = str(self.git.check(resolved.clone_url))
            if (place := mirrors.find(url)) is None:
                return None
            mirror = Mirror(self.git, place, url, self.max_bytes)
            async with asyncio.timeout(_LIST_SECONDS):
                out = await mirror.run("ls-tree", "-r", "-z", "--full-tree", resolved.resolved_ref)
        except (BinderError, ProcessFailed, OSError) as error:  # TimeoutError is an OSError
            self.log.debug("No list of the files of %s: %s", resolved.label, error)
            return None
        return await asyncio.to_thread(lambda: choose(read_tree(out)))

    async def _use_mirror(
        self, resolved: Resolved, do: Callable[[Mirror], Coroutine[Any, Any, T]]
    ) -> T:
        """Use a mirror within the limits of a fetch. Removes one that does not work."""
        mirrors, url = self.mirrors, str(self.git.check(resolved.clone_url))
        if mirrors is None or not mirrors.enabled:
            raise FetchFailed("This hub keeps no mirrors of repositories.", code="no_mirror")
        try:
            async with mirrors.hold(url, max_bytes=self.max_bytes) as mirror:
                work = GitWork(
                    self.git, resolved, mirror.folder, self.max_bytes, self.max_files, no_line
                )
                return await self._guard(work, lambda: do(mirror), self.fetch_seconds)
        except (FetchFailed, RepositoryNotFound, UpstreamUnavailable) as error:
            if not error.detail.get("rate_limited"):
                await mirrors.remove(url)
            raise

    @asynccontextmanager
    async def peek(
        self, resolved: Resolved, wanted: PeekKind = CONFIGURATION
    ) -> AsyncIterator[Peek]:
        """Fetch only some files. Raises as `checkout`.

        Readers must not follow links out.
        """
        async with self._peeks, self._peek(resolved, wanted) as peek:
            yield peek

    @asynccontextmanager
    async def _peek(self, resolved: Resolved, wanted: PeekKind) -> AsyncIterator[Peek]:
        root = self.temporary_root or None
        folder = Path(tempfile.mkdtemp(prefix="jupyterhub-binder-peek-", dir=root))
        try:
            commit = await self._peek_in_mirror(resolved, folder / "mirror", wanted)
            if commit is not None:
                yield Peek(folder / "mirror", commit)
                return
            work = self._work(resolved, folder / "host", self.peek_max_bytes, no_line)
            work.wanted = wanted
            await asyncio.to_thread(work.folder.mkdir)
            commit = await self._guard(work, work.peek, self.peek_seconds)
            yield Peek(work.folder, commit)
        finally:
            await asyncio.shield(asyncio.to_thread(try_to_remove, folder))

    def _work(
        self, resolved: Resolved, folder: Path, max_bytes: int, on_line: Callable[[str], None]
    ) -> Work:
        if self.archives is not None and self.archives.is_archive(resolved):
            return ArchiveWork(
                self.git, resolved, folder, max_bytes, self.max_files, on_line, self.archives
            )
        return GitWork(
            *(self.git, resolved, folder, max_bytes, self.max_files, on_line),
            submodules=self._submodule_policy(),
        )

    def _lfs_files(self, on_line: Callable[[str], None]) -> LfsFiles | None:
        if not self.lfs or self.archives is None:
            return None
        return LfsFiles(git=self.git, downloads=self.archives.downloads, on_line=on_line)

    def _submodule_policy(self) -> SubmodulePolicy | None:
        return SubmodulePolicy(self.git, self.may_fetch) if self.submodules else None

    def read_recipe(self, folder: Path, resolved: Resolved) -> Recipe:
        """Read what `checkout` or `peek` fetched. Blocking; call it in a thread."""
        policy = self._submodule_policy()
        if policy is None:
            recipe = read_recipe(folder)
        else:
            parent = resolved.clone_url
            recipe = read_recipe(folder, fetches=lambda url: policy.fetches(url, parent))
        return replace(recipe, lfs=()) if self.lfs else recipe

    async def _guard(
        self, work: Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
    ) -> T:
        task = asyncio.ensure_future(self._timed(work, do, seconds))
        try:
            pause = await self._check_size(work)
            while not (await asyncio.wait({task}, timeout=pause))[0]:
                pause = await self._check_size(work)
            result = task.result()
            await self._check_size(work)
            return result
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _timed(
        self, work: Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
    ) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await do()
        except TimeoutError:
            raise FetchFailed(
                "Fetching %(label)s took longer than %(seconds)s seconds, the limit of this "
                "hub. Try again later, or use a smaller repository.",
                label=work.resolved.label,
                seconds=round(seconds),
                code="fetch_too_slow",
            ) from None
        except ProcessFailed as error:
            self.log.warning("Fetch of %s: %s", work.resolved.clone_url, error.output or error)
            raise FetchFailed(
                "Git could not check out %(label)s.", label=work.resolved.label
            ) from None

    async def _check_size(self, work: Work) -> float:
        """Return the seconds until the next check."""
        started = time.monotonic()
        try:
            size, files, free = await asyncio.to_thread(_measure, work.folder)
        except TreeTooDeep:
            raise work.too_deep() from None
        if free < self.free_bytes:
            raise FetchFailed(
                "The hub's disk is almost full. Ask an administrator to free some space.",
                code="disk_full",
            )
        if size > work.max_bytes:
            raise work.too_large()
        if files > self.max_files:
            raise work.too_many()
        return max(self.watch_seconds, 5 * (time.monotonic() - started))


def _measure(folder: Path) -> tuple[int, int, int]:
    """Return a folder's bytes and files, and the disk's free bytes."""
    size = files = 0
    for entry in walk(folder):
        if entry.is_folder:
            files += 1
        else:
            files += not entry.path.startswith(".git/")
            size += entry.status.st_size
    return size, files, shutil.disk_usage(folder).free
