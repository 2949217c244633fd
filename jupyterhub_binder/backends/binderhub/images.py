"""Remembers which image BinderHub built for each content key, in one small file per key.

BinderHub can't be asked without a build request. If the folder is lost, such requests find the
images again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_-]{1,100}")


class ImageMemory:
    """A folder of image names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def find(self, key: str) -> str | None:
        """Return the image of a content key, or None."""
        return await asyncio.to_thread(_read, self._file(key))

    async def keep(self, key: str, image: str) -> None:
        """Store an image durably."""
        await asyncio.to_thread(_write, self._file(key), image)

    async def forget(self, image: str) -> None:
        """Forget an image under all its keys."""
        await asyncio.to_thread(_forget, self._folder, image)

    def _file(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError("not a content key")
        return self._folder / f"{key}.json"


def _read(file: Path) -> str | None:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    image = value.get("image") if isinstance(value, dict) else None
    return image if isinstance(image, str) else None


def _write(file: Path, image: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(f".{os.getpid()}.new")
    beside.write_text(json.dumps({"image": image}), encoding="utf-8")
    beside.replace(file)


def _forget(folder: Path, image: str) -> None:
    for file in folder.glob("*.json"):
        if _read(file) == image:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
