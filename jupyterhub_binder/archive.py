"""Brings a published record here: its files, verified, as a git repository of one commit.

So whatever reads a checkout finds the same shape as git's. Which files a record has is asked
of the providers (`Archives`); limits of time and disk are `fetch`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from jupyterhub_binder import unpack
from jupyterhub_binder.download import Downloads, Site
from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.git import Git
from jupyterhub_binder.model import Commit, Resolved
from jupyterhub_binder.sink import Checksum
from jupyterhub_binder.units import format_bytes

_TAIL_BYTES = 256 * 2**10
"""How much of a zip file's end is asked for first: most lists of contents fit."""
_SMALL_BYTES = 2**20
"""A zip file that is smaller is simply fetched, to look into it."""
_MOST_PARTS = 60
_WRITER = ("-c", "user.name=jupyterhub-binder", "-c", "user.email=binder@localhost")
_PLAIN = "* -text -eol -filter -ident -working-tree-encoding\n"
"""Attributes for a tree whose bytes are kept as they are, whatever its own file says."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a record."""

    path: str
    url: str
    size_bytes: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a record consists of at a version."""

    title: str
    time: datetime
    files: tuple[RemoteFile, ...]
    site: Site = field(default_factory=Site)
    unpacks: bool = False
    """Whether a lone zip file is taken for the files that are in it, as repo2docker does."""
    left_out: tuple[str, ...] = ()
    """Why files are missing, in sentences."""


class Archives(Protocol):
    """Where listings come from; `Providers` is one."""

    @property
    def downloads(self) -> Downloads:
        """What fetches the files."""
        ...

    def is_archive(self, resolved: Resolved) -> bool:
        """Say whether it is a record with files, rather than a git repository."""
        ...

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """Ask which files a record has at its resolved_ref."""
        ...


@dataclass(slots=True)
class ArchiveFetch:
    """One fetch of a record into one folder, which is there and empty."""

    archives: Archives
    git: Git
    resolved: Resolved
    folder: Path
    most_bytes: int
    most_files: int
    on_line: Callable[[str], None]

    async def checkout(self, tidy: Callable[[Path], list[str]]) -> Commit:
        """Bring all files and commit them. `tidy` removes links that lead out; says which.

        Raises FetchFailed, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        listing = await self.archives.fetch_listing(self.resolved)
        self._check(listing.files, self.most_bytes)
        for sentence in listing.left_out:
            self.on_line(sentence)
        left = self.most_bytes
        for number, file in enumerate(listing.files, 1):
            size = f" ({format_bytes(file.size_bytes)})" if file.size_bytes is not None else ""
            self.on_line(f"Fetching {file.path}{size}, file {number} of {len(listing.files)}")
            left -= await self._bring(listing, file, left)
        if listing.unpacks and len(listing.files) == 1:
            await self._unpack(listing.files[0])
        for path in await asyncio.to_thread(tidy, self.folder):
            self.on_line(f"Left out {path!r}: it is a link that leads out of the repository.")
        await self._commit(listing)
        return self._version(listing)

    async def peek(self, patterns: str) -> Commit:
        """Bring the configuration files alone, as git's sparse checkout writes which those are.

        Raises as `checkout`.
        """
        listing = await self.archives.fetch_listing(self.resolved)

        def wanted(path: str) -> bool:
            return is_wanted(path, patterns)

        if listing.unpacks and len(listing.files) == 1:
            await self._peek_into(listing, listing.files[0], wanted)
            return self._version(listing)
        files = tuple(file for file in listing.files if wanted(file.path))
        self._check(files, self.most_bytes)
        left = self.most_bytes
        for file in files:
            left -= await self._bring(listing, file, left)
        return self._version(listing)

    def _version(self, listing: Listing) -> Commit:
        return Commit(self.resolved.resolved_ref, listing.title[:500], listing.time)

    def _check(self, files: tuple[RemoteFile, ...], most_bytes: int) -> None:
        """Say what cannot be before anything is fetched. Raises FetchFailed."""
        if len(files) > self.most_files:
            raise self._too(f"has more than the {self.most_files} files")
        if sum(file.size_bytes or 0 for file in files) > most_bytes:
            raise self._too(f"is larger than the {format_bytes(most_bytes)}")

        for file in files:
            unpack.safe_parts(file.path)

    def _too(self, what: str) -> FetchFailed:
        return FetchFailed(
            f"{self.resolved.label} {what} that this hub fetches.", code="repository_too_large"
        )

    async def _bring(self, listing: Listing, file: RemoteFile, most_bytes: int) -> int:
        parts = unpack.safe_parts(file.path)
        if not parts:
            self.on_line(f"Left out {file.path!r}: no tree of files may have it.")
            return 0
        path = self.folder.joinpath(*parts)
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            return await self.archives.downloads.fetch_file(
                file.url,
                listing.site,
                path,
                what=file.path,
                most_bytes=most_bytes,
                size_bytes=file.size_bytes,
                checksum=file.checksum,
                on_line=self.on_line,
            )
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise FetchFailed(
                f"{self.resolved.label} has a file and a folder of the same name: {file.path!r}.",
                code="archive_broken",
            ) from None

    async def _unpack(self, file: RemoteFile) -> None:
        """Put what is in a lone zip file in its place; any other file stays as it is."""
        path = self.folder.joinpath(*unpack.safe_parts(file.path))
        if not await asyncio.to_thread(unpack.is_zip, path):
            return
        self.on_line(f"Unpacking {file.path}")
        packed = self.folder / ".git-unpacking.zip"
        await asyncio.to_thread(path.rename, packed)
        await asyncio.to_thread(_remove_empty, self.folder)
        limits = unpack.Limits(self.most_bytes, self.most_files)
        tell = _from_thread(self.on_line)
        await asyncio.to_thread(unpack.unpack_file, packed, self.folder, limits, tell)
        await asyncio.to_thread(packed.unlink)

    # --- Looking into a zip file ----------------------------------------------------------------

    async def _peek_into(
        self, listing: Listing, file: RemoteFile, wanted: Callable[[str], bool]
    ) -> None:
        if (file.size_bytes or 0) > _SMALL_BYTES and await self._peek_parts(listing, file, wanted):
            return
        await self._bring(listing, file, self.most_bytes)
        path = self.folder.joinpath(*unpack.safe_parts(file.path))
        if await asyncio.to_thread(unpack.is_zip, path):
            packed = self.folder / ".git-unpacking.zip"
            await asyncio.to_thread(path.rename, packed)
            await asyncio.to_thread(_remove_empty, self.folder)
            await asyncio.to_thread(self._unpack_wanted, packed, wanted)
            await asyncio.to_thread(packed.unlink)

    def _unpack_wanted(self, packed: Path, wanted: Callable[[str], bool]) -> None:
        limits = unpack.Limits(self.most_bytes, self.most_files)
        with packed.open("rb") as stream:
            unpack.unpack(stream, self.folder, limits, _no_line, wanted=wanted)

    async def _peek_parts(
        self, listing: Listing, file: RemoteFile, wanted: Callable[[str], bool]
    ) -> bool:
        """Unpack what is wanted of a zip file out of the parts that this needs.

        Returns False where the host sends no parts, or too many would be needed.
        """
        size, left = file.size_bytes or 0, self.most_bytes
        known = unpack.PartialFile(size)
        start, length = max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES)
        limits = unpack.Limits(self.most_bytes, self.most_files)
        for _ in range(_MOST_PARTS):
            left -= length
            answer = left >= 0 and await self.archives.downloads.fetch_part(
                file.url, listing.site, what=file.path, start=start, length=length
            )
            if not answer or answer.total_bytes not in (None, size):
                return False
            known.add(start, answer.body)
            try:
                await asyncio.to_thread(self._unpack_known, known, limits, wanted)
            except unpack.Missing as missing:
                await asyncio.to_thread(_empty, self.folder)
                start, length = missing.start, min(size - missing.start, missing.length + 65_536)
            else:
                return True
        return False

    def _unpack_known(
        self, known: unpack.PartialFile, limits: unpack.Limits, wanted: Callable[[str], bool]
    ) -> None:
        known.seek(0)
        try:
            unpack.unpack(known, self.folder, limits, _no_line, wanted=wanted)  # type: ignore[arg-type]
        except FetchFailed as error:
            if error.error_code != "archive_broken":
                raise  # else it is no zip file: there is nothing to see in it

    # --- As a repository ------------------------------------------------------------------------

    async def _commit(self, listing: Listing) -> None:
        """Make the files a git repository of one commit, the same from the same files."""
        await self._git("init", "--quiet")
        attributes = self.folder / ".git/info/attributes"
        await asyncio.to_thread(attributes.parent.mkdir, exist_ok=True)
        await asyncio.to_thread(attributes.write_text, _PLAIN, encoding="ascii")
        await self._git(
            *("-c", "core.protectHFS=false", "-c", "core.protectNTFS=false"),
            *("-c", "core.compression=1", "add", "--all", "--force", "--", "."),
        )
        when = f"{int(max(listing.time.timestamp(), 0))} +0000"
        subject = " ".join(listing.title.split())[:200] or "Files of the record"
        message = f"{subject}\n\n{self.resolved.repo_url}\n{self.resolved.resolved_ref}\n"
        await self._git(
            *(*_WRITER, "commit", "--quiet", "--allow-empty", "--no-verify", "--no-gpg-sign"),
            *("--cleanup=verbatim", "-m", message),
            env={"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when},
        )

    async def _git(self, *args: str, env: dict[str, str] | None = None) -> str:
        return await self.git.run(
            *args,
            cwd=self.folder,
            timeout_seconds=86_400,  # the whole fetch has its own, shorter limit
            most_file_bytes=self.most_bytes + 2**20,
            env=env,
        )


def is_wanted(path: str, patterns: str) -> bool:
    """Say whether a path is one of those that git's sparse checkout would bring.

    Understands what the fetcher's own patterns use: paths from the root, ``*`` in a name.
    """
    parts = path.split("/")
    wanted = [line[1:].split("/") for line in patterns.split() if line.startswith("/")]
    return any(len(names) == len(parts) and all(map(fnmatchcase, parts, names)) for names in wanted)


def file_name(url: str, fallback: str) -> str:
    """Return the last name of a URL's path, for files that have no name of their own."""
    name = urlsplit(url).path.rpartition("/")[2]
    return re.sub(r"[\x00-\x1f/]", "_", name) or fallback


def _no_line(_: str) -> None:
    pass


def _from_thread(on_line: Callable[[str], None]) -> Callable[[str], None]:
    loop = asyncio.get_running_loop()
    return lambda text: (loop.call_soon_threadsafe(on_line, text), None)[1]


def _remove_empty(folder: Path) -> None:
    """Remove the folders that a lone zip file lay in."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()


def _empty(folder: Path) -> None:
    """Remove what a try wrote before it found a part missing."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
