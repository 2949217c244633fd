"""Fetches a published record as a Git repository with one commit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.model import Commit, Resolved
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records import unzip as unpack
from jupyterhub_binder.repositories.records.checksum import Checksum
from jupyterhub_binder.repositories.records.download import Downloads, Site
from jupyterhub_binder.utils.trees import remove_tree
from jupyterhub_binder.utils.units import format_bytes

_TAIL_BYTES = 256 * 2**10
"""Requested first, from a zip file's end; most directories fit."""
_SMALL_BYTES = 2**20
"""Smaller zip files are fetched whole to look inside."""
_MAX_PARTS = 60
_WRITER = ("-c", "user.name=jupyterhub-binder", "-c", "user.email=binder@localhost")
_PLAIN = "* -text -eol -filter -ident -working-tree-encoding\n"
"""Keeps all bytes, whatever the tree's own attributes."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a record."""

    path: str
    url: str
    size_bytes: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a record at a version."""

    title: str
    time: datetime
    files: tuple[RemoteFile, ...]
    site: Site = field(default_factory=Site)
    unpacks: bool = False
    """Whether a single zip file is unpacked, as in repo2docker."""
    left_out: tuple[str, ...] = ()
    """Why files are missing, in sentences."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Small files that the provider writes itself, at the root, by name."""


class Archives(Protocol):
    """Lists the files of records; `Providers` implements it."""

    @property
    def downloads(self) -> Downloads:
        """The HTTP client."""
        ...

    def is_archive(self, resolved: Resolved) -> bool:
        """Tell a published record from a Git repository."""
        ...

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List a record's files."""
        ...


@dataclass(slots=True)
class ArchiveFetch:
    """One fetch into one empty folder."""

    archives: Archives
    git: Git
    resolved: Resolved
    folder: Path
    max_bytes: int
    max_files: int
    on_line: Callable[[str], None]

    async def checkout(self, tidy: Callable[[Path], list[str]]) -> Commit:
        """Fetch and commit all files. `tidy` removes links that lead out.

        Raises FetchFailed, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        listing = await self.archives.fetch_listing(self.resolved)
        self._check(listing.files, self.max_bytes)
        for sentence in listing.left_out:
            self.on_line(sentence)
        left = self.max_bytes
        for number, file in enumerate(listing.files, 1):
            size = f" ({format_bytes(file.size_bytes)})" if file.size_bytes is not None else ""
            self.on_line(f"Fetching {file.path}{size}, file {number} of {len(listing.files)}")
            left -= await self._bring(listing, file, left)
        if listing.unpacks and len(listing.files) == 1:
            await self._unpack(listing.files[0])
        await asyncio.to_thread(_write_texts, self.folder, listing.texts)
        for path in await asyncio.to_thread(tidy, self.folder):
            self.on_line(f"Skipped {path!r}, a symbolic link that leads out of the repository.")
        await self._commit(listing)
        return self._version(listing)

    async def peek(self, patterns: str) -> Commit:
        """Fetch only matching files. Raises as `checkout`."""
        listing = await self.archives.fetch_listing(self.resolved)

        def wanted(path: str) -> bool:
            return is_wanted(path, patterns)

        if listing.unpacks and len(listing.files) == 1:
            await self._peek_into(listing, listing.files[0], wanted)
            return self._version(listing)
        texts = {name: text for name, text in listing.texts.items() if wanted(name)}
        await asyncio.to_thread(_write_texts, self.folder, texts)
        files = tuple(file for file in listing.files if wanted(file.path))
        self._check(files, self.max_bytes)
        left = self.max_bytes
        for file in files:
            left -= await self._bring(listing, file, left)
        return self._version(listing)

    def _version(self, listing: Listing) -> Commit:
        return Commit(self.resolved.resolved_ref, listing.title[:500], listing.time)

    def _check(self, files: tuple[RemoteFile, ...], max_bytes: int) -> None:
        """Check names and sizes before fetching. Raises FetchFailed."""
        if len(files) > self.max_files:
            raise FetchFailed(
                "%(label)s has more than %(most)s files, the limit of this hub.",
                label=self.resolved.label,
                most=self.max_files,
                code="repository_too_large",
            )
        if sum(file.size_bytes or 0 for file in files) > max_bytes:
            raise FetchFailed(
                "%(label)s is larger than %(most)s, the limit of this hub.",
                label=self.resolved.label,
                most=format_bytes(max_bytes),
                code="repository_too_large",
            )
        for file in files:
            unpack.safe_parts(file.path)

    async def _bring(self, listing: Listing, file: RemoteFile, max_bytes: int) -> int:
        parts = unpack.safe_parts(file.path)
        if not parts:
            self.on_line(
                f"Skipped {file.path!r} because its name is not allowed in a folder of files."
            )
            return 0
        path = self.folder.joinpath(*parts)
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            return await self.archives.downloads.fetch_file(
                file.url,
                listing.site,
                path,
                what=file.path,
                max_bytes=max_bytes,
                size_bytes=file.size_bytes,
                checksum=file.checksum,
                on_line=self.on_line,
            )
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise FetchFailed(
                "%(label)s has a file and a folder of the same name: '%(path)s'.",
                label=self.resolved.label,
                path=file.path,
                code="archive_broken",
            ) from None

    async def _unpack(self, file: RemoteFile) -> None:
        path = self.folder.joinpath(*unpack.safe_parts(file.path))
        if not await asyncio.to_thread(unpack.is_zip, path):
            return
        self.on_line(f"Unpacking {file.path}")
        packed = self.folder / ".git-unpacking.zip"
        await asyncio.to_thread(path.rename, packed)
        await asyncio.to_thread(_remove_empty, self.folder)
        limits = unpack.UnzipLimits(self.max_bytes, self.max_files)
        tell = _from_thread(self.on_line)
        await asyncio.to_thread(unpack.unpack_file, packed, self.folder, limits, tell)
        await asyncio.to_thread(packed.unlink)

    # --- Looking into a zip file ----------------------------------------------------------------

    async def _peek_into(
        self, listing: Listing, file: RemoteFile, wanted: Callable[[str], bool]
    ) -> None:
        if (file.size_bytes or 0) > _SMALL_BYTES and await self._peek_parts(listing, file, wanted):
            return
        await self._bring(listing, file, self.max_bytes)
        path = self.folder.joinpath(*unpack.safe_parts(file.path))
        if await asyncio.to_thread(unpack.is_zip, path):
            packed = self.folder / ".git-unpacking.zip"
            await asyncio.to_thread(path.rename, packed)
            await asyncio.to_thread(_remove_empty, self.folder)
            await asyncio.to_thread(self._unpack_wanted, packed, wanted)
            await asyncio.to_thread(packed.unlink)

    def _unpack_wanted(self, packed: Path, wanted: Callable[[str], bool]) -> None:
        limits = unpack.UnzipLimits(self.max_bytes, self.max_files)
        with packed.open("rb") as stream:
            unpack.unpack(stream, self.folder, limits, _no_line, wanted=wanted)

    async def _peek_parts(
        self, listing: Listing, file: RemoteFile, wanted: Callable[[str], bool]
    ) -> bool:
        """Fetch only parts of a zip file; say whether that worked."""
        size, left = file.size_bytes or 0, self.max_bytes
        known = unpack.PartialFile(size)
        start, length = max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES)
        limits = unpack.UnzipLimits(self.max_bytes, self.max_files)
        for _ in range(_MAX_PARTS):
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
        self, known: unpack.PartialFile, limits: unpack.UnzipLimits, wanted: Callable[[str], bool]
    ) -> None:
        known.seek(0)
        try:
            unpack.unpack(known, self.folder, limits, _no_line, wanted=wanted)  # type: ignore[arg-type]
        except FetchFailed as error:
            if error.error_code != "archive_broken":
                raise  # a broken zip file has nothing to show

    # --- As a repository ------------------------------------------------------------------------

    async def _commit(self, listing: Listing) -> None:
        """Commit the files, always with the same SHA."""
        await self._git("init", "--quiet")
        attributes = self.folder / ".git/info/attributes"
        await asyncio.to_thread(attributes.parent.mkdir, exist_ok=True)
        await asyncio.to_thread(attributes.write_text, _PLAIN, encoding="ascii")
        await self._git(
            *("-c", "core.protectHFS=false", "-c", "core.protectNTFS=false"),
            *("-c", "core.compression=1", "add", "--all", "--force", "--", "."),
        )
        when = (
            f"@{int(max(listing.time.timestamp(), 0))} +0000"  # "@": Git takes small numbers, too
        )
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
            max_file_bytes=self.max_bytes + 2**20,
            env=env,
        )


def is_wanted(path: str, patterns: str) -> bool:
    """Match a path from the root; ``*`` within a name."""
    parts = path.split("/")
    wanted = [line[1:].split("/") for line in patterns.splitlines() if line.startswith("/")]
    return any(len(names) == len(parts) and all(map(fnmatchcase, parts, names)) for names in wanted)


def file_name(url: str, fallback: str) -> str:
    """Return the last part of a URL's path."""
    name = urlsplit(url).path.rpartition("/")[2]
    return re.sub(r"[\x00-\x1f/]", "_", name) or fallback


def _no_line(_: str) -> None:
    pass


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _from_thread(on_line: Callable[[str], None]) -> Callable[[str], None]:
    loop = asyncio.get_running_loop()
    return lambda text: (loop.call_soon_threadsafe(on_line, text), None)[1]


def _remove_empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            remove_tree(path)


def _empty(folder: Path) -> None:
    """Remove a failed attempt's files."""
    for path in folder.iterdir():
        remove_tree(path)
