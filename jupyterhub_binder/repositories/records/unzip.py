"""Unpacks untrusted or partial zip files, within a folder and limits. Blocking."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.utils.units import format_bytes

_DIRECTORY_BYTES_PER_FILE = 256
"""Limits the directory, which is read into memory."""
_MAX_DEPTH = 100
"""Maximum nesting of folders."""
_MAX_NAME_BYTES = 255
_MAX_LINK_BYTES = 4096
_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Other methods use as much memory as the file says."""
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError),
    *(ValueError, IndexError, OverflowError, RuntimeError),
)


@dataclass(frozen=True, slots=True)
class UnzipLimits:
    """Limits on the unpacked content."""

    max_bytes: int
    max_files: int


class Missing(Exception):
    """A needed part is unknown."""

    def __init__(self, start: int, length: int) -> None:
        super().__init__(f"{length} bytes at {start}")
        self.start = start
        self.length = length


class PartialFile(io.RawIOBase):
    """A file of which only parts are known."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0
        self._parts: list[tuple[int, bytes]] = []

    def add(self, start: int, data: bytes) -> None:
        """Add a known part."""
        self._parts.append((start, data))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("negative seek position")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read a known part. Raises Missing."""
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        for start, data in self._parts:
            if start <= self._at and self._at + wanted <= start + len(data):
                piece = data[self._at - start : self._at - start + wanted]
                self._at += wanted
                return piece
        raise Missing(self._at, wanted)


class _Bounded:
    """Limits reads to the directory's size."""

    def __init__(self, file: IO[bytes], limits: UnzipLimits) -> None:
        self._file = file
        self._most = max(2**20, limits.max_files * _DIRECTORY_BYTES_PER_FILE)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise FetchFailed(
                "The zip file contains too many files for this hub.", code="repository_too_large"
            )
        return self._file.read(size)


def is_zip(path: Path) -> bool:
    """Recognise a zip file by content."""
    return zipfile.is_zipfile(path)


def safe_parts(name: str) -> tuple[str, ...]:
    """Split a path; return () for paths to ignore.

    These include ``.git``, because its content would take effect. Raises FetchFailed for a path
    that leads out or is invalid.
    """
    if name.startswith("/") or "\x00" in name or ".." in name.split("/"):
        raise FetchFailed(
            "The archive contains the file '%(path)s', which would be outside its folder.",
            path=name[:100],
            code="archive_unsafe",
        )
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _MAX_DEPTH or not all(map(_is_name, parts)):
        raise FetchFailed(
            "The archive contains a file with an invalid name: '%(path)s'.",
            path=name[:100],
            code="archive_broken",
        )
    return () if any(part.casefold() == ".git" for part in parts) else parts


def _is_name(part: str) -> bool:
    try:
        return len(os.fsencode(part)) <= _MAX_NAME_BYTES
    except UnicodeError:  # a lone surrogate from JSON
        return False


def unpack_file(
    path: Path, into: Path, limits: UnzipLimits, on_line: Callable[[str], None]
) -> None:
    """Unpack a zip file. FetchFailed may leave some files."""
    with path.open("rb") as file:
        unpack(file, into, limits, on_line)


def unpack(
    file: IO[bytes],
    into: Path,
    limits: UnzipLimits,
    on_line: Callable[[str], None],
    *,
    wanted: Callable[[str], bool] | None = None,
) -> None:
    """Unpack files, without a single top folder. Raises FetchFailed or Missing.

    Links are created last, so that nothing is written through one.
    """
    try:
        with zipfile.ZipFile(_Bounded(file, limits)) as archive:  # type: ignore[arg-type]
            entries = _entries(archive, limits, wanted)
            links = [entry for entry in entries if entry.is_link]
            for entry in entries:
                if not entry.is_link:
                    _write(archive, entry, into)
            for entry in links:
                _link(archive, entry, into, on_line)
    except _ZIP_ERRORS as error:
        raise FetchFailed(
            "The zip file can't be read: %(why)s.", why=str(error), code="archive_broken"
        ) from None
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        raise FetchFailed(
            "The zip file has a file and a folder of the same name.", code="archive_broken"
        ) from None


@dataclass(frozen=True, slots=True)
class _Entry:
    info: zipfile.ZipInfo
    parts: tuple[str, ...]

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.info.external_attr >> 16)


def _entries(
    archive: zipfile.ZipFile, limits: UnzipLimits, wanted: Callable[[str], bool] | None
) -> list[_Entry]:
    """Return the checked entries, each name once."""
    infos = archive.infolist()
    if len(infos) > limits.max_files:
        raise _too_many(limits)
    latest = {parts: info for info in infos if (parts := safe_parts(info.filename))}
    top = _lone_folder(list(latest), latest)
    entries = [_Entry(info, parts[top:]) for parts, info in latest.items() if parts[top:]]
    if wanted is not None:
        entries = [e for e in entries if not e.info.is_dir() and wanted("/".join(e.parts))]
    if any(entry.info.flag_bits & 1 for entry in entries):
        raise FetchFailed("The zip file is encrypted.", code="archive_broken")
    if any(entry.info.compress_type not in _UNPACKED for entry in entries):
        raise FetchFailed(
            "The zip file uses an unsupported compression method. Pack it with “deflate”.",
            code="archive_broken",
        )
    _check_number(entries, limits)
    if sum(entry.info.file_size for entry in entries) > limits.max_bytes:
        raise FetchFailed(
            "The unpacked zip file is larger than %(most)s, the limit of this hub.",
            most=format_bytes(limits.max_bytes),
            code="repository_too_large",
        )
    return entries


def _check_number(entries: Sequence[_Entry], limits: UnzipLimits) -> None:
    """Raise FetchFailed for too many entries."""
    seen = {entry.parts for entry in entries}
    for entry in entries:
        seen.update(entry.parts[:depth] for depth in range(1, len(entry.parts)))
        if len(seen) > limits.max_files:
            raise _too_many(limits)


def _too_many(limits: UnzipLimits) -> FetchFailed:
    return FetchFailed(
        "The zip file has more than %(most)s files, the limit of this hub.",
        most=limits.max_files,
        code="repository_too_large",
    )


def _lone_folder(
    paths: Sequence[tuple[str, ...]], infos: dict[tuple[str, ...], zipfile.ZipInfo]
) -> int:
    """Return 1 for a single top folder, else 0."""
    tops = {path[0] for path in paths}
    alone = [infos[path] for path in paths if len(path) == 1]
    return int(len(tops) == 1 and all(info.is_dir() for info in alone))


def _write(archive: zipfile.ZipFile, entry: _Entry, into: Path) -> None:
    path = into.joinpath(*entry.parts)
    if entry.info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Reading ends at the size counted above, however much data is packed.
    with archive.open(entry.info) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if (entry.info.external_attr >> 16) & 0o100:
        path.chmod(0o755)


def _link(
    archive: zipfile.ZipFile, entry: _Entry, into: Path, on_line: Callable[[str], None]
) -> None:
    path = into.joinpath(*entry.parts)
    target = archive.read(entry.info) if entry.info.file_size <= _MAX_LINK_BYTES else b""
    parents = _parents(into, entry.parts[:-1])
    if (
        not target
        or b"\x00" in target
        or os.path.lexists(path)
        or any(map(Path.is_symlink, parents))
    ):
        on_line(f"Skipped {'/'.join(entry.parts)!r}, an invalid symbolic link.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.fsdecode(target))


def _parents(into: Path, parts: Sequence[str]) -> Iterator[Path]:
    for count in range(1, len(parts) + 1):
        yield into.joinpath(*parts[:count])
