"""One fetch: of a repository by git, of an archive's files, or of a few files only."""

from __future__ import annotations

import asyncio
import io
import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from jupyterhub_binder.errors import (
    BinderError,
    FetchFailed,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import Commit, RefKind, Resolved
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.lfs import LfsFiles, find_pointers
from jupyterhub_binder.repositories.mirror import Mirror
from jupyterhub_binder.repositories.peeks import CONFIGURATION, PeekKind
from jupyterhub_binder.repositories.recipe import find_missing
from jupyterhub_binder.repositories.records.checkout import ArchiveFetch, Archives
from jupyterhub_binder.repositories.submodules import (
    MAX_SUBMODULES,
    read_submodules,
    url_of_submodule,
)
from jupyterhub_binder.utils.subprocess import ProcessFailed
from jupyterhub_binder.utils.trees import (
    MAX_DEPTH,
    MAX_PATH_CHARACTERS,
    fits,
    remove_tree,
    walk,
)
from jupyterhub_binder.utils.units import format_bytes

_MAX_PEEK_ROUNDS = 8
"""A file that names a file that names a file needs a round for each."""

_LATEST_SECONDS = 253_370_764_800
"""End of the year 9999, datetime's last."""

MAX_SUBMODULE_DEPTH = 4
"""Of submodules in submodules."""

_SUBMODULE = "160000 commit "
"""How Git lists one in a tree."""

_MAX_MODULES_BYTES = 2**16

_MISSING = ("not our ref", "unadvertised object", "not advertised", "no such remote ref")


def no_line(_: str) -> None:
    """Drop a line."""


@dataclass(slots=True)
class Work:
    """A fetch into a folder."""

    git: Git
    resolved: Resolved
    folder: Path
    max_bytes: int
    max_files: int
    on_line: Callable[[str], None]
    wanted: PeekKind = field(default=CONFIGURATION, kw_only=True)
    """What a peek fetches."""

    @abstractmethod
    async def checkout(self) -> Commit:
        """Fetch all files."""

    @abstractmethod
    async def peek(self) -> Commit:
        """Fetch only what is wanted."""

    async def find_missing(self) -> set[str]:
        """Return what the files of a peek name and it has not fetched."""
        return await asyncio.to_thread(self.wanted.find_missing, self.folder)

    def too_large(self) -> FetchFailed:
        """Return the error for too many bytes."""
        return FetchFailed(
            "%(label)s is larger than %(most)s, the limit of this hub.",
            label=self.resolved.label,
            most=format_bytes(self.max_bytes),
            code="repository_too_large",
        )

    def too_deep(self) -> FetchFailed:
        """Return the error for too many nested folders."""
        return FetchFailed(
            "%(label)s has more than %(depth)s nested folders or a path of more than %(length)s "
            "characters. This hub does not fetch such repositories.",
            code="repository_too_large",
            label=self.resolved.label,
            depth=MAX_DEPTH,
            length=MAX_PATH_CHARACTERS,
        )

    def too_many(self) -> FetchFailed:
        """Return the error for too many files."""
        return FetchFailed(
            "%(label)s has more than %(most)s files, the limit of this hub.",
            label=self.resolved.label,
            most=self.max_files,
            code="repository_too_large",
        )


@dataclass(slots=True)
class ArchiveWork(Work):
    """From a published record."""

    archives: Archives

    async def checkout(self) -> Commit:
        """Fetch all files."""
        return await self._fetch().checkout(drop_leading_links)

    async def peek(self) -> Commit:
        """Fetch only what is wanted."""
        commit, asked = await self._fetch().peek(self.wanted.patterns(())), set[str]()
        for _ in range(_MAX_PEEK_ROUNDS):
            missing = await self.find_missing()
            if missing <= asked:
                break
            asked |= missing
            await asyncio.to_thread(_empty, self.folder)
            commit = await self._fetch().peek(self.wanted.patterns(asked))
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


def url_of(work: Work) -> str:
    """Return the checked URL to fetch from."""
    return str(work.git.check(work.resolved.clone_url))


@dataclass(slots=True)
class SubmodulePolicy:
    """Which submodules one fetch takes: the rules of any repository, and a number."""

    git: Git
    may_fetch: Callable[[str], bool]
    left: int = MAX_SUBMODULES

    def fetches(self, url: str, parent: str) -> bool:
        """Say whether a submodule may be fetched, as far as its URL tells."""
        try:
            self.resolve(url, parent)
        except BinderError:
            return False
        return True

    def resolve(self, url: str, parent: str) -> str:
        """Return the URL to fetch from. Raises NotUnderstood or NotAllowed."""
        if not url:
            raise NotUnderstood("It has no address.")
        remote = str(self.git.check(url_of_submodule(url, parent)))
        if not self.may_fetch(remote):
            raise NotAllowed("This hub does not build from %(url)s.", url=remote)
        return remote

    def take(self) -> bool:
        """Count one more; return False if there are too many."""
        self.left -= 1
        return self.left >= 0


@dataclass(slots=True)
class GitWork(Work):
    """By git."""

    source: Path | None = None
    """A mirror that has the commit."""
    submodules: SubmodulePolicy | None = None
    lfs: LfsFiles | None = None
    """What fetches files of Git LFS; a peek never does, not for its submodules either."""
    depth: int = 0
    """How many repositories this one is a submodule of."""
    links: dict[str, str] = field(default_factory=dict)
    """Commits of submodules, by path."""

    async def checkout(self) -> Commit:
        """Fetch all files and check them out."""
        url = await self._init()
        sha, ref = self.resolved.resolved_ref, self._branch()
        into = [f"+{sha}:refs/remotes/origin/{ref}"] if ref else [sha]
        if not await self._fetch_local(into) and not await self._fetch(
            url, "--depth=1", "--", "origin", *into
        ):
            await self._fetch_around(url)
        await self._check_tree("-l")
        where = ["-B", ref, "--track", f"origin/{ref}"] if ref and self._has(ref) else []
        await self._local("checkout", "--quiet", *(where or ["--detach", sha]), "--")
        await self._fetch_lfs()
        await self._fetch_submodules(self.links)
        for path in await asyncio.to_thread(drop_leading_links, self.folder):
            self.on_line(f"Skipped {path!r}, a symbolic link that leads out of the repository.")
        return await self._commit()

    async def peek(self) -> Commit:
        """Fetch only what is wanted."""
        url = await self._init()
        sha = self.resolved.resolved_ref
        if not await self._fetch(url, "--depth=1", "--filter=blob:none", "--", "origin", sha):
            await self._fetch_around(url)
        await self._check_tree()
        await self._write_matching(url, set(), "checkout", "--quiet", "--detach")
        asked, entered = set[str](), set[str]()
        for _ in range(_MAX_PEEK_ROUNDS):
            missing = await self.find_missing()
            within = self._links_of(missing) - entered
            await self._fetch_submodules(within)
            more = await self._only_present(missing) - asked
            if not (within or more):
                break
            entered |= within
            asked |= more
            await self._write_matching(url, asked, "read-tree", "-m", "-u")
        return await self._commit()

    async def find_missing(self) -> set[str]:
        """Return what the files of a peek name and it has not fetched."""
        policy, url = self.submodules, self.resolved.clone_url
        if policy is None or self.wanted is not CONFIGURATION:
            return await Work.find_missing(self)
        return await asyncio.to_thread(
            lambda: find_missing(self.folder, fetches=lambda each: policy.fetches(each, url))
        )

    def _links_of(self, paths: Collection[str]) -> set[str]:
        """Return the submodules that contain these paths of configuration files."""
        if self.wanted is not CONFIGURATION:
            return set()
        return {one for one in self.links for path in paths if f"{path}/".startswith(f"{one}/")}

    async def _fetch_submodules(self, paths: Collection[str]) -> None:
        """Fetch submodules into their folders, under the rules of any repository.

        What is left out is said. Raises FetchFailed.
        """
        if not paths:
            return
        text = await asyncio.to_thread(_read_plain, self.folder / ".gitmodules")
        urls = {each.path: each.url for each in read_submodules(text)}
        for path in sorted(paths):
            why = await self._fetch_submodule(path, urls.get(path, ""))
            if why:
                self.on_line(f"Skipped the submodule {path!r}: {why}")

    async def _fetch_submodule(self, path: str, url: str) -> str:
        """Return why a submodule is left out, or ""."""
        policy = self.submodules
        if policy is None:
            return "this hub does not fetch submodules."
        try:
            remote = policy.resolve(url, self.resolved.clone_url)
        except BinderError as error:
            return str(error.message)
        folder = self.folder / path
        if self.depth >= MAX_SUBMODULE_DEPTH or not policy.take():
            return "there are too many submodules, or they contain each other."
        if not await asyncio.to_thread(_is_empty_folder, folder, self.folder):
            return "its folder is not empty."
        self.on_line(f"Fetching the submodule {path!r} from {remote}")
        label = f"{self.resolved.label}/{path}"
        work = GitWork(
            self.git,
            replace(
                self.resolved,
                label=label,
                clone_url=remote,
                resolved_ref=self.links[path],
                ref_kind=RefKind.COMMIT,
            ),
            *(folder, self.max_bytes, self.max_files, self.on_line),
            submodules=policy,
            lfs=self.lfs,
            depth=self.depth + 1,
        )
        try:
            await work.checkout()
        except (NotAllowed, RepositoryNotFound, UpstreamUnavailable) as error:
            raise FetchFailed(
                "The submodule %(path)s can't be fetched: %(why)s",
                path=path,
                why=error.message,
                code="submodule_not_fetched",
                detail=error.detail,
            ) from error
        return ""

    async def _fetch_lfs(self) -> None:
        """Put files of Git LFS in the place of their pointers. Raises FetchFailed."""
        if self.lfs is None:
            return
        out = await self._local("ls-files", "-z", "--", ":(attr:filter=lfs)")
        paths = [path for path in out.split("\0") if path]
        pointers = await asyncio.to_thread(find_pointers, self.folder, paths)
        if sum(one.size_bytes for one in pointers) > self.max_bytes:
            raise self.too_large()
        await self.lfs.fetch(self.folder, pointers, url_of(self))

    async def _write_matching(self, url: str, paths: set[str], *command: str) -> None:
        """Write what the patterns match; one request fetches all missing blobs."""
        await asyncio.to_thread(self._write_sparse, self.wanted.patterns(paths))
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
        info = self.git_dir / "info"
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

    async def _fetch_local(self, into: Sequence[str]) -> bool:
        """Fetch from the mirror; return False if there is none, or if it is gone meanwhile."""
        if self.source is None:
            return False
        try:
            await self.git.run(
                *("fetch", "--quiet", "--no-tags", "--no-recurse-submodules"),
                *("--no-write-fetch-head", "--depth=1", "--", str(self.source), *into),
                cwd=self.folder,
                timeout_seconds=86_400,
                max_file_bytes=self.max_bytes,
                env={"GIT_ALLOW_PROTOCOL": "file"},
            )
        except ProcessFailed:
            self.source = None
            return False
        return True

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
            *(*self.where(), "-c", "core.quotePath=false", "ls-tree", "-r", *options),
            self.resolved.resolved_ref,
            cwd=self.folder,
        )
        async with aclosing(lines):
            async for line in lines:
                about, _, path = line.partition("\t")
                if about.startswith(_SUBMODULE) and not path.startswith('"'):
                    self.links[path] = about.split()[2]
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
            *self.where(),
            *args,
            cwd=self.folder,
            url=url,
            timeout_seconds=86_400,  # the whole fetch has its own, shorter limit
            max_file_bytes=self.max_bytes,
            env=self.variables(),
        )

    @property
    def git_dir(self) -> Path:
        """The repository's own folder."""
        return self.folder / ".git"

    def where(self) -> tuple[str, ...]:
        """Return git's options for the repository and the files, if not the folder's own."""
        return ()

    def variables(self) -> dict[str, str]:
        """Return more variables for git."""
        return {}

    async def _commit(self) -> Commit:
        sha = self.resolved.resolved_ref
        out = await self._local("log", "-1", "--no-show-signature", "--format=%H%n%ct%n%s", sha)
        sha, time, subject = out.split("\n", 2)
        return Commit(sha, subject.strip()[:500], _read_time(time))


@dataclass(slots=True)
class MirrorPeek(GitWork):
    """A few files, by way of a mirror that the caller holds."""

    mirror: Mirror | None = None

    async def _init(self) -> str:
        (self.folder / ".git").mkdir()
        return url_of(self)

    async def _fetch(self, url: str, *args: str) -> bool:
        assert self.mirror is not None
        await self.mirror.ensure_commits(self.resolved.resolved_ref)
        return True

    async def _write_matching(self, url: str, paths: set[str], *command: str) -> None:
        # No command may change the mirror's HEAD.
        await GitWork._write_matching(self, url, paths, "read-tree", "-m", "-u")

    @property
    def git_dir(self) -> Path:
        """The mirror."""
        assert self.mirror is not None
        return self.mirror.folder

    def where(self) -> tuple[str, ...]:
        """Return options to write the mirror's files here."""
        return (f"--git-dir={self.git_dir}", f"--work-tree={self.folder}")

    def variables(self) -> dict[str, str]:
        """Return the place of an index of its own."""
        return {"GIT_INDEX_FILE": str(self.folder / ".git/index")}


def _read_plain(path: Path) -> str:
    """Return a file's text; "" for a link, which may lead anywhere."""
    try:
        with path.open("rb") if not path.is_symlink() else io.BytesIO() as file:
            return file.read(_MAX_MODULES_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _is_empty_folder(folder: Path, root: Path) -> bool:
    """Say whether a submodule's folder is empty, with no link on the way. Make it if needed."""
    if folder.resolve() != root.resolve() / folder.relative_to(root):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    return not any(folder.iterdir())


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        remove_tree(path)


def _read_time(text: str) -> datetime:
    """Return 1970 if out of range."""
    seconds = int(text) if re.fullmatch(r"[0-9]{1,11}", text) else 0
    return datetime.fromtimestamp(seconds if seconds < _LATEST_SECONDS else 0, UTC)


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
