"""Brings a repository's files here: the whole tree for a build, or its configuration files.

Owns the limits of time, size and disk, and that nothing in a checkout leads out of it. How git
is held in check is `git`'s business, how a published record becomes a checkout `archive`'s,
what the files mean `recipe`'s.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from traitlets import Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.archive import ArchiveFetch, Archives
from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Commit, RefKind, Resolved
from jupyterhub_binder.process import ProcessFailed
from jupyterhub_binder.units import format_bytes

T = TypeVar("T")

_PEEK_AT = """\
/*.yml
/*.yaml
/*requirements*.txt
/*constraints*.txt
/runtime.txt
/apt.txt
/setup.py
/setup.cfg
/pyproject.toml
/Pipfile
/Pipfile.lock
/install.R
/DESCRIPTION
/*.toml
/REQUIRE
/default.nix
/Dockerfile
/postBuild
/start
/requirements/*.txt
/binder/*
!/binder/*/
/.binder/*
!/.binder/*/
"""
"""Which files a peek brings, as git's sparse checkout writes it."""

_LATEST_SECONDS = 253_370_764_800
"""The year 9999: what comes after it Python has no time for."""

_MISSING = ("not our ref", "unadvertised object", "not advertised", "no such remote ref")


@dataclass(frozen=True, slots=True)
class Peek:
    """The configuration files of a repository at a commit, in a folder that will go away."""

    path: Path
    commit: Commit


def _no_line(_: str) -> None:
    pass


class Fetcher(LoggingConfigurable):
    """Fetches repositories, within limits."""

    fetch_seconds = Float(600, min=1, help="Seconds that a whole fetch may take.").tag(config=True)
    most_bytes = Integer(
        2 * 2**30,
        min=2**16,
        help="Bytes that a repository may take on the disk, its history of one commit included.",
    ).tag(config=True)
    most_files = Integer(200_000, min=10, help="Files and folders that a repository may have.").tag(
        config=True
    )
    peek_seconds = Float(
        60, min=1, help="Seconds that a look at the configuration files may take."
    ).tag(config=True)
    peek_most_bytes = Integer(
        100 * 2**20,
        min=2**16,
        help="""
        Bytes that a look at the configuration files may fetch. Hosts that cannot send a part of
        a repository send all of it, so this is more than the files need.
        """,
    ).tag(config=True)
    peeks_at_once = Integer(
        8, min=1, help="How many looks at configuration files may be under way; others wait."
    ).tag(config=True)
    free_bytes = Integer(
        2**30,
        min=0,
        help="Bytes that must stay free on the disk: no fetch starts, or goes on, with fewer.",
    ).tag(config=True)
    watch_seconds = Float(
        0.5, min=0.01, help="Seconds between two looks at the size of a running fetch."
    ).tag(config=True)
    temporary_root = Unicode(
        help="Where peeks are kept while they last; empty for the system's temporary folder."
    ).tag(config=True)

    def __init__(self, *, git: Git, archives: Archives | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.archives = archives
        """Says what published records consist of; None where there are none."""
        self._peeks = asyncio.Semaphore(self.peeks_at_once)

    async def checkout(
        self, resolved: Resolved, into: Path, *, on_line: Callable[[str], None] = _no_line
    ) -> Commit:
        """Bring the whole tree at resolved_ref into a new folder, with a shallow ``.git``.

        Links that lead out of the tree are left out. Raises FetchFailed, NotAllowed,
        RepositoryNotFound or UpstreamUnavailable; nothing is left of a failed fetch.
        """
        work = self._work(resolved, into, self.most_bytes, on_line)
        await asyncio.to_thread(into.mkdir, parents=True)
        try:
            return await self._guard(work, work.checkout, self.fetch_seconds)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(remove_tree, into))
            raise

    @asynccontextmanager
    async def peek(self, resolved: Resolved) -> AsyncIterator[Peek]:
        """Bring the configuration files alone, for as long as the context lasts.

        Raises as `checkout`. Links are as the repository has them: whoever reads must not
        follow them out.
        """
        async with self._peeks, self._peek(resolved) as peek:
            yield peek

    @asynccontextmanager
    async def _peek(self, resolved: Resolved) -> AsyncIterator[Peek]:
        root = self.temporary_root or None
        folder = Path(tempfile.mkdtemp(prefix="jupyterhub-binder-peek-", dir=root))
        try:
            work = self._work(resolved, folder, self.peek_most_bytes, _no_line)
            commit = await self._guard(work, work.peek, self.peek_seconds)
            yield Peek(folder, commit)
        finally:
            await asyncio.shield(asyncio.to_thread(remove_tree, folder))

    def _work(
        self, resolved: Resolved, folder: Path, most_bytes: int, on_line: Callable[[str], None]
    ) -> _Work:
        if self.archives is not None and self.archives.is_archive(resolved):
            return _ArchiveWork(
                self.git, resolved, folder, most_bytes, self.most_files, on_line, self.archives
            )
        return _GitWork(self.git, resolved, folder, most_bytes, self.most_files, on_line)

    async def _guard(
        self, work: _Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
    ) -> T:
        """Do the work while watching clock, size and disk."""
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
        self, work: _Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
    ) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await do()
        except TimeoutError:
            raise FetchFailed(
                f"Fetching {work.resolved.label} took longer than {seconds:.0f} seconds.",
                code="fetch_too_slow",
            ) from None
        except ProcessFailed as error:
            self.log.warning("Fetch of %s: %s", work.resolved.clone_url, error.output or error)
            raise FetchFailed(f"git could not lay out {work.resolved.label}.") from None

    async def _check_size(self, work: _Work) -> float:
        """Return the seconds until the next look: more where a look takes long."""
        started = time.monotonic()
        size, files, free = await asyncio.to_thread(_measure, work.folder)
        if free < self.free_bytes:
            raise FetchFailed(
                "The hub's disk is nearly full: ask its administrator to make room.",
                code="disk_full",
            )
        if size > work.most_bytes:
            raise work.too_large()
        if files > self.most_files:
            raise work.too_many()
        return max(self.watch_seconds, 5 * (time.monotonic() - started))


@dataclass(slots=True)
class _Work:
    """One fetch into one folder."""

    git: Git
    resolved: Resolved
    folder: Path
    most_bytes: int
    most_files: int
    on_line: Callable[[str], None]

    @abstractmethod
    async def checkout(self) -> Commit: ...

    @abstractmethod
    async def peek(self) -> Commit: ...

    def too_large(self) -> FetchFailed:
        return FetchFailed(
            f"{self.resolved.label} is larger than the {format_bytes(self.most_bytes)} "
            "that this hub fetches.",
            code="repository_too_large",
        )

    def too_many(self) -> FetchFailed:
        return FetchFailed(
            f"{self.resolved.label} has more than the {self.most_files} files "
            "that this hub fetches.",
            code="repository_too_large",
        )


@dataclass(slots=True)
class _ArchiveWork(_Work):
    """Fetches a published record."""

    archives: Archives

    async def checkout(self) -> Commit:
        return await self._fetch().checkout(drop_leading_links)

    async def peek(self) -> Commit:
        return await self._fetch().peek(_PEEK_AT)

    def _fetch(self) -> ArchiveFetch:
        return ArchiveFetch(
            archives=self.archives,
            git=self.git,
            resolved=self.resolved,
            folder=self.folder,
            most_bytes=self.most_bytes,
            most_files=self.most_files,
            on_line=self.on_line,
        )


@dataclass(slots=True)
class _GitWork(_Work):
    """Fetches a commit: git's commands, in their order."""

    async def checkout(self) -> Commit:
        url = await self._init()
        sha, ref = self.resolved.resolved_ref, self._branch()
        into = [f"+{sha}:refs/remotes/origin/{ref}"] if ref else [sha]
        if not await self._fetch(url, "--depth=1", "--", "origin", *into):
            await self._fetch_around(url)
        await self._check_tree("-l")
        where = ["-B", ref, "--track", f"origin/{ref}"] if ref and self._has(ref) else []
        await self._local("checkout", "--quiet", *(where or ["--detach", sha]), "--")
        for path in await asyncio.to_thread(drop_leading_links, self.folder):
            self.on_line(f"Left out {path!r}: it is a link that leads out of the repository.")
        return await self._commit()

    async def peek(self) -> Commit:
        url = await self._init()
        await asyncio.to_thread(self._write_sparse)
        sha = self.resolved.resolved_ref
        if not await self._fetch(url, "--depth=1", "--filter=blob:none", "--", "origin", sha):
            await self._fetch_around(url)
        await self._check_tree()
        # The blobs that a partial clone lacks are asked for here, all at once.
        await self._local(
            *("-c", "core.sparseCheckout=true", "checkout", "--quiet", "--detach", sha), url=url
        )
        return await self._commit()

    async def _init(self) -> str:
        url = str(self.git.check(self.resolved.clone_url))
        await self._local("init", "--quiet")
        await self._local("remote", "add", "origin", url)
        return url

    def _branch(self) -> str:
        ref = self.resolved.spec.ref
        named = self.resolved.ref_kind is RefKind.BRANCH and ref not in ("HEAD", "@")
        return ref if named and not ref.startswith("refs/") else ""

    def _has(self, branch: str) -> bool:
        return (self.folder / ".git/refs/remotes/origin" / branch).is_file()

    def _write_sparse(self) -> None:
        info = self.folder / ".git/info"
        info.mkdir(exist_ok=True)
        (info / "sparse-checkout").write_text(_PEEK_AT, encoding="ascii")

    async def _fetch_around(self, url: str) -> None:
        """Bring all branches and tags, for a server that gives no commit by its sha."""
        self.on_line("The host gives no single commit: fetching all branches and tags.")
        sha = self.resolved.resolved_ref
        heads = "+refs/heads/*:refs/remotes/origin/*"
        await self._fetch(url, "--", "origin", heads, "+refs/tags/*:refs/tags/*")
        try:
            holders = await self._local("for-each-ref", "--count=1", f"--contains={sha}")
        except ProcessFailed:
            holders = ""
        if not holders.strip():
            raise FetchFailed(
                f"{self.resolved.label} has no commit {sha}: check it, or choose a branch.",
                code="ref_not_found",
            )

    async def _fetch(self, url: str, *args: str) -> bool:
        """Run git fetch; say whether the server had what was asked for."""
        said: list[str] = []
        lines = self.git.stream(
            *("fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
            *("--progress", *args),
            cwd=self.folder,
            url=url,
            most_file_bytes=self.most_bytes,
        )
        try:
            async with aclosing(lines):
                async for line in lines:
                    said = [*said[-50:], line]
                    self.on_line(line)
        except ProcessFailed as error:
            output = "\n".join(said)
            if any(words in output for words in _MISSING):
                return False
            if "signal 25" in output or error.returncode == -25:
                raise self.too_large() from None
            raise self.git.explain(url, output) from None
        return True

    async def _check_tree(self, *options: str) -> None:
        """Count the tree's files, with ``-l`` their bytes too, before any of them is written."""
        size = files = 0
        lines = self.git.stream(
            "ls-tree", "-r", *options, self.resolved.resolved_ref, cwd=self.folder
        )
        async with aclosing(lines):
            async for line in lines:
                last = line.partition("\t")[0].rpartition(" ")[2]
                size += int(last) if options and last.isdecimal() else 0
                files += 1
                if size > self.most_bytes:
                    raise self.too_large()
                if files > self.most_files:
                    raise self.too_many()

    async def _local(self, *args: str, url: str = "") -> str:
        return await self.git.run(
            *args,
            cwd=self.folder,
            url=url,
            timeout_seconds=86_400,  # the whole fetch has its own, shorter limit
            most_file_bytes=self.most_bytes,
        )

    async def _commit(self) -> Commit:
        out = await self._local("log", "-1", "--no-show-signature", "--format=%H%n%ct%n%s")
        sha, time, subject = out.split("\n", 2)
        return Commit(sha, subject.strip()[:500], _read_time(time))


def _read_time(text: str) -> datetime:
    """Return a commit's time; 1970 where whoever committed wrote one that cannot be."""
    seconds = int(text) if re.fullmatch(r"[0-9]{1,11}", text) else 0
    return datetime.fromtimestamp(seconds if seconds < _LATEST_SECONDS else 0, UTC)


def _measure(folder: Path) -> tuple[int, int, int]:
    """Return the bytes and the files of a folder, and the bytes that its disk has left."""
    size = files = 0
    for root, folders, names in os.walk(folder):
        files += len(folders) + (0 if "/.git/" in f"{root}/" else len(names))
        for name in names:
            try:
                size += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return size, files, shutil.disk_usage(folder).free


def drop_leading_links(folder: Path) -> list[str]:
    """Remove the symbolic links of a checkout that lead out of it, or into its ``.git``.

    A link to a link counts by where it ends. Returns their paths, relative to the folder.
    """
    home = folder.resolve()
    leading = []
    for root, folders, names in os.walk(folder):
        if ".git" in folders and Path(root) == folder:
            folders.remove(".git")
        links = (path for name in [*folders, *names] if (path := Path(root, name)).is_symlink())
        leading += [path for path in links if not stays_inside(path, home)]
    for path in leading:
        path.unlink()
    return sorted(path.relative_to(folder).as_posix() for path in leading)


def stays_inside(link: Path, home: Path) -> bool:
    """Say whether a link ends inside of a resolved folder, wherever that folder is moved to.

    Its ``.git`` counts as outside.
    """
    try:
        target, end = link.readlink(), link.resolve()
        depth = len(link.parent.resolve().relative_to(home).parts)
    except (OSError, RuntimeError, ValueError):  # a loop of links, or one that left already
        return False
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or target.is_absolute():
            return False
    return end.is_relative_to(home) and not end.is_relative_to(home / ".git")


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; one that is gone is success."""
    shutil.rmtree(folder, ignore_errors=True)
