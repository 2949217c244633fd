"""A file on its way from an archive to the disk: counted, summed, told about, and verified."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.units import format_bytes

_DIGESTS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
"""Hex digits of a checksum to its algorithm."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the content of a file must add up to."""

    algorithm: str
    hex: str

    @staticmethod
    def parse(text: str) -> Checksum | None:
        """Read ``md5:…``, or hex digits alone, whose number tells; None for anything else."""
        name, _, digits = text.strip().lower().rpartition(":")
        if not re.fullmatch(r"[0-9a-f]+", digits) or len(digits) not in _DIGESTS:
            return None
        algorithm = _DIGESTS[len(digits)]
        return Checksum(algorithm, digits) if name.replace("-", "") in ("", algorithm) else None


class Sink:
    """A file that is being written: counted, summed and told about. Runs in a thread."""

    _TELL_SECONDS = 2.0

    def __init__(
        self,
        path: Path,
        what: str,
        most_bytes: int,
        size_bytes: int | None,
        checksum: Checksum | None,
        on_line: Callable[[str], None],
    ) -> None:
        self.what = what
        self.size = 0
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._most_bytes = most_bytes
        self._size_bytes = size_bytes
        self._checksum = checksum
        self._sum = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        self._on_line = on_line
        self._told = time.monotonic()
        self._file = path.open("wb")

    def expect(self, announced: int | None) -> None:
        """Raise FetchFailed if the size that is announced is too large already."""
        if (self._size_bytes or announced or 0) > self._most_bytes:
            raise self._too_large()

    def write(self, chunk: bytes) -> None:
        """Add to the file. Raises FetchFailed once it is too large."""
        self.size += len(chunk)
        if self.size > self._most_bytes:
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
        """Write all out. Raises FetchFailed if the file is not what the archive says it is."""
        self._file.flush()
        if self._sum is not None and self._checksum is not None:
            if self._sum.hexdigest() != self._checksum.hex:
                raise FetchFailed(
                    f"{self.what} is not what its archive says: its {self._checksum.algorithm} "
                    f"checksum is {self._sum.hexdigest()} and should be {self._checksum.hex}. "
                    "Try again; if that fails too, tell the archive.",
                    code="checksum_mismatch",
                )
        elif self._size_bytes is not None and self.size != self._size_bytes:
            raise FetchFailed(
                f"{self.what} has {self.size} bytes; its archive says {self._size_bytes}.",
                code="checksum_mismatch",
            )

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._file.close()

    def _too_large(self) -> FetchFailed:
        return FetchFailed(
            f"{self.what} is larger than the {format_bytes(self._most_bytes)} that are left of "
            "what this hub fetches.",
            code="repository_too_large",
        )
