"""Pictures for tests."""

from __future__ import annotations

import struct
import zlib


def png(width: int, height: int, colour: str = "336699", *, pixels: bool = True) -> bytes:
    """Return a PNG of one colour; without pixels, it only claims its size."""
    row = b"\x00" + bytes.fromhex(colour) * width if pixels else b""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(row * height)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
