"""Takes zip files of strangers apart: nothing leads out of the folder, nothing outgrows a limit.

Owns also the paths that a listing of files may have, and zip files of which only parts are
here. Never runs in the event loop's thread.
"""

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
from jupyterhub_binder.units import format_bytes

_DIRECTORY_BYTES_PER_FILE = 256
"""What a zip file's list of contents, which is read into memory, may have for each file."""
_MOST_DEPTH = 100
"""Folders that a file may lie in, one in another."""
_MOST_NAME_BYTES = 255
_MOST_LINK_BYTES = 4096
_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How files may be packed; the others take as much memory as the file says."""
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError),
    *(ValueError, IndexError, OverflowError, RuntimeError),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may come out of a zip file."""

    most_bytes: int
    most_files: int


class Missing(Exception):
    """A part of a zip file is needed that is not here."""

    def __init__(self, start: int, length: int) -> None:
        super().__init__(f"{length} bytes at {start}")
        self.start = start
        self.length = length


class PartialFile(io.RawIOBase):
    """A file of which only parts are known; reading another part raises Missing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._at = 0
        self._parts: list[tuple[int, bytes]] = []

    def add(self, start: int, data: bytes) -> None:
        """Make a part known."""
        self._parts.append((start, data))

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that any place can be gone to."""
        return True

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("negative seek position")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return a part that is known. Raises Missing."""
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        for start, data in self._parts:
            if start <= self._at and self._at + wanted <= start + len(data):
                piece = data[self._at - start : self._at - start + wanted]
                self._at += wanted
                return piece
        raise Missing(self._at, wanted)


class _Bounded:
    """A zip file that is not asked for more at once than its list of contents may have."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._file = file
        self._most = max(2**20, limits.most_files * _DIRECTORY_BYTES_PER_FILE)
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise FetchFailed(
                "The zip file has too long a list of contents.", code="repository_too_large"
            )
        return self._file.read(size)


def is_zip(path: Path) -> bool:
    """Say whether a file is a zip file, by its content."""
    return zipfile.is_zipfile(path)


def safe_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path inside of an archive; none for what no tree of files has.

    ``.git`` is such: what is in it would be obeyed. Raises FetchFailed for a path that leads out,
    or that no disk takes.
    """
    if name.startswith("/") or "\x00" in name or ".." in name.split("/"):
        raise FetchFailed(
            f"The archive holds a file {name[:100]!r}, which would lie outside of its folder.",
            code="archive_unsafe",
        )
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _MOST_DEPTH or not all(map(_is_name, parts)):
        raise FetchFailed(
            f"The archive holds a file that no disk takes: {name[:100]!r}.", code="archive_broken"
        )
    return () if any(part.casefold() == ".git" for part in parts) else parts


def _is_name(part: str) -> bool:
    try:
        return len(os.fsencode(part)) <= _MOST_NAME_BYTES
    except UnicodeError:  # half of a pair, as JSON may have it
        return False


def unpack_file(path: Path, into: Path, limits: Limits, on_line: Callable[[str], None]) -> None:
    """Unpack a zip file into a folder. Raises FetchFailed; then the folder is half full."""
    with path.open("rb") as file:
        unpack(file, into, limits, on_line)


def unpack(
    file: IO[bytes],
    into: Path,
    limits: Limits,
    on_line: Callable[[str], None],
    *,
    wanted: Callable[[str], bool] | None = None,
) -> None:
    """Unpack a zip file, or what is wanted of it; a lone folder at its top is left out.

    Symbolic links are made last, so that nothing is written through one. Raises FetchFailed,
    or Missing.
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
        raise FetchFailed(f"The zip file cannot be read: {error}.", code="archive_broken") from None
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
    archive: zipfile.ZipFile, limits: Limits, wanted: Callable[[str], bool] | None
) -> list[_Entry]:
    """Return what will be written, each name once, checked before anything is."""
    infos = archive.infolist()
    if len(infos) > limits.most_files:
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
            "The zip file is packed in an unusual way: pack it with “deflate”.",
            code="archive_broken",
        )
    _check_number(entries, limits)
    if sum(entry.info.file_size for entry in entries) > limits.most_bytes:
        raise FetchFailed(
            f"Unpacked, the zip file is larger than the {format_bytes(limits.most_bytes)} that "
            "this hub fetches.",
            code="repository_too_large",
        )
    return entries


def _check_number(entries: Sequence[_Entry], limits: Limits) -> None:
    """Count the folders, too, that the files lie in. Raises FetchFailed."""
    seen = {entry.parts for entry in entries}
    for entry in entries:
        seen.update(entry.parts[:depth] for depth in range(1, len(entry.parts)))
        if len(seen) > limits.most_files:
            raise _too_many(limits)


def _too_many(limits: Limits) -> FetchFailed:
    return FetchFailed(
        f"The zip file has more than the {limits.most_files} files that this hub fetches.",
        code="repository_too_large",
    )


def _lone_folder(
    paths: Sequence[tuple[str, ...]], infos: dict[tuple[str, ...], zipfile.ZipInfo]
) -> int:
    """Return 1 where all is in one folder at the top, else 0."""
    tops = {path[0] for path in paths}
    alone = [infos[path] for path in paths if len(path) == 1]
    return int(len(tops) == 1 and all(info.is_dir() for info in alone))


def _write(archive: zipfile.ZipFile, entry: _Entry, into: Path) -> None:
    path = into.joinpath(*entry.parts)
    if entry.info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is read ends at the size that was counted above, whatever more is packed.
    with archive.open(entry.info) as source, path.open("xb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if (entry.info.external_attr >> 16) & 0o100:
        path.chmod(0o755)


def _link(
    archive: zipfile.ZipFile, entry: _Entry, into: Path, on_line: Callable[[str], None]
) -> None:
    path = into.joinpath(*entry.parts)
    target = archive.read(entry.info) if entry.info.file_size <= _MOST_LINK_BYTES else b""
    parents = _parents(into, entry.parts[:-1])
    if (
        not target
        or b"\x00" in target
        or os.path.lexists(path)
        or any(map(Path.is_symlink, parents))
    ):
        on_line(f"Left out {'/'.join(entry.parts)!r}: a link that cannot be.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.fsdecode(target))


def _parents(into: Path, parts: Sequence[str]) -> Iterator[Path]:
    for count in range(1, len(parts) + 1):
        yield into.joinpath(*parts[:count])
