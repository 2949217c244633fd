"""Fetches the files that a repository keeps in Git LFS, by its batch interface.

Only the repository's own host is asked, never one that `.lfsconfig` names.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from yarl import URL

from jupyterhub_binder.errors import BinderError, FetchFailed
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records.checksum import Checksum
from jupyterhub_binder.repositories.records.download import Downloads, Site
from jupyterhub_binder.utils.text import one_line

_BATCH = 100
"""Objects in one request; hosts take at least these."""

_MAX_POINTER_BYTES = 1024
"""As git-lfs reads."""

_TYPE = "application/vnd.git-lfs+json"
_POINTER = re.compile(
    r"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    r"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n?"
)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_OURS = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
"""Headers of the connection, which later requests to the same host use, too."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What stands in the place of a file."""

    path: str
    oid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Download:
    """Where an object is."""

    url: URL
    headers: Mapping[str, str]


class LfsFiles:
    """Replaces the pointers of a checkout by their files."""

    def __init__(self, *, git: Git, downloads: Downloads, on_line: Callable[[str], None]) -> None:
        self._git = git
        self._downloads = downloads
        self._on_line = on_line

    async def fetch(self, folder: Path, pointers: Sequence[Pointer], url: str) -> None:
        """Fetch the files of pointers in a checkout of `url`. Raises FetchFailed."""
        for batch in _batches(pointers):
            try:
                places = await self._ask(batch, url)
            except FetchFailed:
                raise
            except BinderError as error:
                raise _not_fetched(batch[0], error.message) from error
            for pointer in batch:
                await self._fetch_one(folder, pointer, places.get(pointer.oid))

    async def _ask(self, pointers: Sequence[Pointer], url: str) -> dict[str, _Download]:
        """Return where objects are. Raises FetchFailed, or as `Downloads.fetch_json`."""
        root = url.rstrip("/")
        root = root if root.endswith(".git") else f"{root}.git"
        asked = URL(f"{root}/info/lfs/objects/batch")
        site = Site(secrets={asked.authority: self._git.authorization(url)})
        answer = await self._downloads.post_json(
            asked,
            site,
            what="Git LFS",
            media_type=_TYPE,
            body={
                "operation": "download",
                "transfers": ["basic"],
                "hash_algo": "sha256",
                "objects": [{"oid": one.oid, "size": one.size_bytes} for one in pointers],
            },
        )
        return dict(_read_places(answer, pointers))

    async def _fetch_one(self, folder: Path, pointer: Pointer, place: _Download | None) -> None:
        if place is None:
            raise _not_fetched(pointer, Message("Its host does not have it."))
        self._on_line(f"Fetching {pointer.path!r} from Git LFS")
        target = folder / pointer.path
        beside = folder / ".git" / f"lfs-{pointer.oid}"
        try:
            await self._downloads.fetch_file(
                place.url,
                Site(secrets={place.url.authority: place.headers}),
                beside,
                what=pointer.path,
                max_bytes=pointer.size_bytes,
                size_bytes=pointer.size_bytes,
                checksum=Checksum("sha256", pointer.oid),
                on_line=self._on_line,
            )
        except BinderError as error:
            raise _not_fetched(pointer, error.message) from error
        await asyncio.to_thread(_move, beside, target)


def find_pointers(folder: Path, paths: Iterable[str]) -> list[Pointer]:
    """Return the pointers among files of a checkout. Blocks."""
    return list(_read_pointers(folder, paths))


def _read_pointers(folder: Path, paths: Iterable[str]) -> Iterator[Pointer]:
    root = folder.resolve()
    for path in paths:
        file = folder / path
        try:
            if file.is_symlink() or file.resolve() != root / path:
                continue
            with file.open("rb") as opened:
                data = opened.read(_MAX_POINTER_BYTES + 1)
        except OSError:
            continue
        found = _POINTER.fullmatch(data.decode("ascii", "replace"))
        if found and len(data) <= _MAX_POINTER_BYTES:
            yield Pointer(path, found[1], int(found[2]))


def _batches(pointers: Iterable[Pointer]) -> Iterator[list[Pointer]]:
    left = iter(pointers)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _read_places(answer: Any, pointers: Sequence[Pointer]) -> Iterator[tuple[str, _Download]]:
    """Yield what a host says of the objects; raise for one that it refuses."""
    known = {one.oid: one for one in pointers}
    objects = answer.get("objects") if isinstance(answer, Mapping) else None
    for each in objects if isinstance(objects, list) else ():
        pointer = known.get(str(each.get("oid"))) if isinstance(each, Mapping) else None
        if pointer is None:
            continue
        if isinstance(error := each.get("error"), Mapping):
            raise _not_fetched(pointer, one_line(str(error.get("message")))[:200])
        actions = each.get("actions")
        action = actions.get("download") if isinstance(actions, Mapping) else None
        if isinstance(action, Mapping) and isinstance(action.get("href"), str):
            try:
                url = URL(action["href"])
            except ValueError:
                raise _not_fetched(pointer, Message("Its address is invalid.")) from None
            yield pointer.oid, _Download(url, _headers(action.get("header")))


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {
        name: text
        for name, text in islice(value.items(), 20)
        if _HEADER.fullmatch(name)
        and name.lower() not in _OURS
        and isinstance(text, str)
        and text.isprintable()
    }


def _move(source: Path, target: Path) -> None:
    """Put a file in the place of a pointer, as executable as that one."""
    source.chmod(target.stat().st_mode & 0o777)
    source.replace(target)


def _not_fetched(pointer: Pointer, why: str) -> FetchFailed:
    return FetchFailed(
        "%(path)s can't be fetched from Git LFS: %(why)s",
        path=pointer.path,
        why=why,
        code="lfs_not_fetched",
    )
