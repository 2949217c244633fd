"""Pictures of repositories: which bytes are a picture that a browser may be given.

Only formats without scripts, by their first bytes and never by their names, and with bounded sizes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 2**20
"""Larger pictures are not shown."""

_MAX_PIXELS = 16_000_000
"""A browser needs four bytes for each."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be served as it is."""

    media_type: str
    data: bytes


def read_picture(data: bytes) -> Picture | None:
    """Return a PNG, JPEG, GIF or WebP picture within limits; None for anything else."""
    if len(data) > MAX_BYTES:
        return None
    try:
        media_type, width, height = _measure(data)
    except (struct.error, StopIteration, ValueError):
        return None
    fits = width > 0 and height > 0 and width * height <= _MAX_PIXELS
    return Picture(media_type, data) if fits else None


def _measure(data: bytes) -> tuple[str, int, int]:
    """Return type, width and height. Raises ValueError for an unknown format."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        return ("image/png", *struct.unpack_from(">II", data, 16))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ("image/gif", *struct.unpack_from("<HH", data, 6))
    if data.startswith(b"\xff\xd8\xff"):
        height, width = struct.unpack_from(">HH", data, next(_jpeg_frames(data)) + 5)
        return "image/jpeg", width, height
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ("image/webp", *_webp_size(data))
    raise ValueError("no picture")


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg_frames(data: bytes) -> Iterator[int]:
    """Yield where the segments that name the size begin, after their marker's first byte."""
    place, first, kind = 2, *struct.unpack_from("BB", data, 2)
    while first == 0xFF:
        if kind in _FRAMES:
            yield place
        padding = kind == 0xFF
        place += 1 if padding else 2 + struct.unpack_from(">H", data, place + 2)[0]
        first, kind = struct.unpack_from("BB", data, place)


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("unknown WebP")
