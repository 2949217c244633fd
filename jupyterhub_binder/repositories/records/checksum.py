"""Writes a file: limits, hashes, reports progress and verifies."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.utils.units import format_bytes

_DIGESTS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
"""Number of hex digits to algorithm."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """The expected checksum of a file."""

    algorithm: str
    hex: str

    @staticmethod
    def parse(text: str) -> Checksum | None:
        """Read ``md5:…``, or hex digits whose number tells the algorithm."""
        name, _, digits = text.strip().lower().rpartition(":")
        if not re.fullmatch(r"[0-9a-f]+", digits) or len(digits) not in _DIGESTS:
            return None
        algorithm = _DIGESTS[len(digits)]
        return Checksum(algorithm, digits) if name.replace("-", "") in ("", algorithm) else None


class Sink:
    """A file being written. Runs in a thread."""

    _TELL_SECONDS = 2.0

    def __init__(
        self,
        path: Path,
        what: str,
        max_bytes: int,
        size_bytes: int | None,
        checksum: Checksum | None,
        on_line: Callable[[str], None],
    ) -> None:
        self.what = what
        self.size = 0
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._max_bytes = max_bytes
        self._size_bytes = size_bytes
        self._checksum = checksum
        self._sum = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        self._on_line = on_line
        self._told = time.monotonic()
        self._file = path.open("wb")

    def expect(self, announced: int | None) -> None:
        """Raise FetchFailed if too large."""
        if (self._size_bytes or announced or 0) > self._max_bytes:
            raise self._too_large()

    def write(self, chunk: bytes) -> None:
        """Append. Raises FetchFailed if too large."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise self._too_large()
        self._file.write(chunk)
        if self._sum is not None:
            self._sum.update(chunk)
        if time.monotonic() > self._told + self._TELL_SECONDS:
            self._told = time.monotonic()
            self._loop.call_soon_threadsafe(self._on_line, f"{self.what}: {self._progress()}\r")

    def _progress(self) -> str:
        of = f" of {format_bytes(self._size_bytes)}" if self._size_bytes else ""
        return f"{format_bytes(self.size)}{of}"

    def finish(self) -> None:
        """Flush and verify. Raises FetchFailed."""
        self._file.flush()
        if self._sum is not None and self._checksum is not None:
            if self._sum.hexdigest() != self._checksum.hex:
                raise FetchFailed(
                    "%(path)s does not match its %(kind)s checksum in the archive: %(found)s "
                    "instead of %(wanted)s. Try again. If that fails too, tell the archive.",
                    path=self.what,
                    kind=self._checksum.algorithm,
                    found=self._sum.hexdigest(),
                    wanted=self._checksum.hex,
                    code="checksum_mismatch",
                )
        elif self._size_bytes is not None and self.size != self._size_bytes:
            raise FetchFailed(
                "%(path)s has %(found)s bytes, but the archive says %(wanted)s.",
                path=self.what,
                found=self.size,
                wanted=self._size_bytes,
                code="checksum_mismatch",
            )

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _too_large(self) -> FetchFailed:
        return FetchFailed(
            "%(path)s is larger than %(most)s, which is what remains of this hub's limit.",
            path=self.what,
            most=format_bytes(self._max_bytes),
            code="repository_too_large",
        )
