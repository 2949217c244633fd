"""Amounts in words."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """Format bytes in units of 1000: ``3.4 MB``."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"
