"""Fetches a repository within limits: all files, or only the configuration."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from traitlets import Float, Integer, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.model import Commit, RefKind, Resolved
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.recipe import find_missing
from jupyterhub_binder.repositories.recipe.files import FOLDERS, KINDS
from jupyterhub_binder.repositories.records.checkout import ArchiveFetch, Archives
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.trees import (
    MAX_DEPTH,
    MAX_PATH_CHARACTERS,
    TreeTooDeep,
    fits,
    remove_tree,
    try_to_remove,
    walk,
)
from jupyterhub_binder.utils.units import format_bytes

T = TypeVar("T")

_MAX_PEEK_ROUNDS = 8
"""A file that names a file that names a file needs a round for each."""

_LATEST_SECONDS = 253_370_764_800
"""End of the year 9999, datetime's last."""

_MISSING = ("not our ref", "unadvertised object", "not advertised", "no such remote ref")


@dataclass(frozen=True, slots=True)
class Peek:
    """The configuration files, in a temporary folder."""

    path: Path
    commit: Commit


def _no_line(_: str) -> None:
    pass


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

    def __init__(self, *, git: Git, archives: Archives | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.git = git
        self.archives = archives
        """Lists the files of published records."""
        self._peeks = asyncio.Semaphore(self.peeks_at_once)

    async def checkout(
        self, resolved: Resolved, into: Path, *, on_line: Callable[[str], None] = _no_line
    ) -> Commit:
        """Fetch all files into a new folder, with a shallow ``.git``.

        Removes links that lead out. Raises FetchFailed, NotAllowed, RepositoryNotFound or
        UpstreamUnavailable, and leaves nothing behind.
        """
        work = self._work(resolved, into, self.max_bytes, on_line)
        await asyncio.to_thread(into.mkdir, parents=True)
        try:
            return await self._guard(work, work.checkout, self.fetch_seconds)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(try_to_remove, into))
            raise

    @asynccontextmanager
    async def peek(self, resolved: Resolved) -> AsyncIterator[Peek]:
        """Fetch only the configuration files. Raises as `checkout`.

        Readers must not follow links out.
        """
        async with self._peeks, self._peek(resolved) as peek:
            yield peek

    @asynccontextmanager
    async def _peek(self, resolved: Resolved) -> AsyncIterator[Peek]:
        root = self.temporary_root or None
        folder = Path(tempfile.mkdtemp(prefix="jupyterhub-binder-peek-", dir=root))
        try:
            work = self._work(resolved, folder, self.peek_max_bytes, _no_line)
            commit = await self._guard(work, work.peek, self.peek_seconds)
            yield Peek(folder, commit)
        finally:
            await asyncio.shield(asyncio.to_thread(try_to_remove, folder))

    def _work(
        self, resolved: Resolved, folder: Path, max_bytes: int, on_line: Callable[[str], None]
    ) -> _Work:
        if self.archives is not None and self.archives.is_archive(resolved):
            return _ArchiveWork(
                self.git, resolved, folder, max_bytes, self.max_files, on_line, self.archives
            )
        return _GitWork(self.git, resolved, folder, max_bytes, self.max_files, on_line)

    async def _guard(
        self, work: _Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
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
        self, work: _Work, do: Callable[[], Coroutine[Any, Any, T]], seconds: float
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

    async def _check_size(self, work: _Work) -> float:
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


@dataclass(slots=True)
class _Work:
    git: Git
    resolved: Resolved
    folder: Path
    max_bytes: int
    max_files: int
    on_line: Callable[[str], None]

    @abstractmethod
    async def checkout(self) -> Commit: ...

    @abstractmethod
    async def peek(self) -> Commit: ...

    async def find_missing(self) -> set[str]:
        """Return what the configuration files name and a peek has not fetched."""
        return await asyncio.to_thread(find_missing, self.folder)

    def too_large(self) -> FetchFailed:
        return FetchFailed(
            "%(label)s is larger than %(most)s, the limit of this hub.",
            label=self.resolved.label,
            most=format_bytes(self.max_bytes),
            code="repository_too_large",
        )

    def too_deep(self) -> FetchFailed:
        return FetchFailed(
            "%(label)s has more than %(depth)s nested folders or a path of more than %(length)s "
            "characters. This hub does not fetch such repositories.",
            code="repository_too_large",
            label=self.resolved.label,
            depth=MAX_DEPTH,
            length=MAX_PATH_CHARACTERS,
        )

    def too_many(self) -> FetchFailed:
        return FetchFailed(
            "%(label)s has more than %(most)s files, the limit of this hub.",
            label=self.resolved.label,
            most=self.max_files,
            code="repository_too_large",
        )


@dataclass(slots=True)
class _ArchiveWork(_Work):
    archives: Archives

    async def checkout(self) -> Commit:
        return await self._fetch().checkout(drop_leading_links)

    async def peek(self) -> Commit:
        commit, asked = await self._fetch().peek(peek_patterns()), set[str]()
        for _ in range(_MAX_PEEK_ROUNDS):
            missing = await self.find_missing()
            if missing <= asked:
                break
            asked |= missing
            await asyncio.to_thread(_empty, self.folder)
            commit = await self._fetch().peek(peek_patterns(asked))
        return commit

    def _fetch(self) -> ArchiveFetch:
        return ArchiveFetch(
            archives=self.archives,
            git=self.git,
            resolved=self.resolved,
            folder=self.folder,
            max_bytes=self.max_bytes,
            max_files=self.max_files,
            on_line=self.on_line,
        )


@dataclass(slots=True)
class _GitWork(_Work):
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
            self.on_line(f"Skipped {path!r}, a symbolic link that leads out of the repository.")
        return await self._commit()

    async def peek(self) -> Commit:
        url = await self._init()
        sha = self.resolved.resolved_ref
        if not await self._fetch(url, "--depth=1", "--filter=blob:none", "--", "origin", sha):
            await self._fetch_around(url)
        await self._check_tree()
        await self._write_matching(url, set(), "checkout", "--quiet", "--detach")
        asked: set[str] = set()
        for _ in range(_MAX_PEEK_ROUNDS):
            more = await self._only_present(await self.find_missing()) - asked
            if not more:
                break
            asked |= more
            await self._write_matching(url, asked, "read-tree", "-m", "-u")
        return await self._commit()

    async def _write_matching(self, url: str, paths: set[str], *command: str) -> None:
        """Write what the patterns match; one request fetches all missing blobs."""
        await asyncio.to_thread(self._write_sparse, peek_patterns(paths))
        sparse = ("-c", "core.sparseCheckout=true")
        await self._local(*sparse, *command, self.resolved.resolved_ref, url=url)

    async def _only_present(self, paths: set[str]) -> set[str]:
        """Return which paths the commit has, or which links lead to them."""
        asked = {str(one) for path in map(PurePosixPath, paths) for one in (path, *path.parents)}
        asked.discard(".")
        if not asked:
            return set()
        out = await self._local(
            *("--literal-pathspecs", "ls-tree", "-t", "-z", self.resolved.resolved_ref, "--"),
            *sorted(asked),
        )
        modes = {path: about[:6] for about, _, path in (e.partition("\t") for e in out.split("\0"))}
        links = {path for path in asked if modes.get(path) == "120000"}
        return links | (paths & modes.keys())

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

    def _write_sparse(self, patterns: str) -> None:
        info = self.folder / ".git/info"
        info.mkdir(exist_ok=True)
        (info / "sparse-checkout").write_text(patterns, "utf-8", "surrogateescape")

    async def _fetch_around(self, url: str) -> None:
        """Fetch all refs, if the server does not serve commits by SHA."""
        self.on_line("The host does not serve single commits. Fetching all branches and tags.")
        sha = self.resolved.resolved_ref
        heads = "+refs/heads/*:refs/remotes/origin/*"
        await self._fetch(url, "--", "origin", heads, "+refs/tags/*:refs/tags/*")
        try:
            holders = await self._local("for-each-ref", "--count=1", f"--contains={sha}")
        except ProcessFailed:
            holders = ""
        if not holders.strip():
            raise FetchFailed(
                "%(label)s has no commit %(sha)s. Check it, or choose a branch.",
                label=self.resolved.label,
                sha=sha,
                code="ref_not_found",
            )

    async def _fetch(self, url: str, *args: str) -> bool:
        """Say whether the server had the commit."""
        said: list[str] = []
        lines = self.git.stream(
            *("fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"),
            *("--progress", *args),
            cwd=self.folder,
            url=url,
            max_file_bytes=self.max_bytes,
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
        """Check the number and, with ``-l``, the size of files before writing."""
        size = files = 0
        lines = self.git.stream(
            *("-c", "core.quotePath=false", "ls-tree", "-r", *options),
            self.resolved.resolved_ref,
            cwd=self.folder,
        )
        async with aclosing(lines):
            async for line in lines:
                about, _, path = line.partition("\t")
                if not fits(path):
                    raise self.too_deep()
                last = about.rpartition(" ")[2]
                size += int(last) if options and last.isdecimal() else 0
                files += 1
                if size > self.max_bytes:
                    raise self.too_large()
                if files > self.max_files:
                    raise self.too_many()

    async def _local(self, *args: str, url: str = "") -> str:
        return await self.git.run(
            *args,
            cwd=self.folder,
            url=url,
            timeout_seconds=86_400,  # the whole fetch has its own, shorter limit
            max_file_bytes=self.max_bytes,
        )

    async def _commit(self) -> Commit:
        out = await self._local("log", "-1", "--no-show-signature", "--format=%H%n%ct%n%s")
        sha, time, subject = out.split("\n", 2)
        return Commit(sha, subject.strip()[:500], _read_time(time))


def peek_patterns(paths: Collection[str] = ()) -> str:
    """Return patterns for Git's sparse checkout: the configuration files, and more paths.

    In any case, so that a misspelt name is noticed.
    """
    lines = ["/.gitmodules", "/.gitattributes", *map(_in_any_case, KINDS), *_INCLUDED]
    folders = [*map(_in_any_case, FOLDERS), *map(_only, sorted(paths))]
    for folder in folders:
        lines += [folder, f"{folder}/*", f"!{folder}/*/"]
    return "".join(f"{line}\n" for line in lines)


_INCLUDED = ("/*requirements*.txt", "/*constraints*.txt", "/requirements/*.txt")
"""Usual names of included files, to spare a second request."""


def _in_any_case(name: str) -> str:
    letters = (f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in name)
    return f"/{''.join(letters)}"


def _only(path: str) -> str:
    return "/" + re.sub(r"[*?[ ]", r"[\g<0>]", path)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        remove_tree(path)


def _read_time(text: str) -> datetime:
    """Return 1970 if out of range."""
    seconds = int(text) if re.fullmatch(r"[0-9]{1,11}", text) else 0
    return datetime.fromtimestamp(seconds if seconds < _LATEST_SECONDS else 0, UTC)


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


def drop_leading_links(folder: Path) -> list[str]:
    """Remove links that lead out of a checkout or into ``.git``; return their paths."""
    home = folder.resolve()
    links = (
        folder / entry.path
        for entry in walk(folder)
        if entry.is_link and not entry.path.startswith(".git/")
    )
    leading = [path for path in links if not stays_inside(path, home)]
    for path in leading:
        path.unlink()
    return sorted(path.relative_to(folder).as_posix() for path in leading)


def stays_inside(link: Path, home: Path) -> bool:
    """Say whether a link ends inside a folder, even if the folder moves.

    ``.git`` counts as outside.
    """
    try:
        target, end = link.readlink(), link.resolve()
        depth = len(link.parent.resolve().relative_to(home).parts)
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a link outside
        return False
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or target.is_absolute():
            return False
    return end.is_relative_to(home) and not end.is_relative_to(home / ".git")
