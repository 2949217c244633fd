"""Chooses and downloads conda packages: a process of its own beside the service.

rattler's work takes processor time and memory, so a build runs this as a child with limits, and can
end it at any moment. Usage: ``python worker.py REQUEST ANSWER``, both JSON files.

It unpacks nothing and runs no code of a package. Downloaded files are kept by their SHA-256 in a
cache that only this program writes to. `inside/link.py` unpacks them where untrusted steps run.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from rattler import (
    Gateway,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    RepoDataRecord,
    SourceConfig,
    Version,
    VirtualPackage,
    solve,
)
from rattler.channel import ChannelPriority
from rattler.exceptions import GatewayError, InvalidMatchSpecError, SolverError
from rattler.networking import AuthenticationMiddleware, Client, RetryMiddleware
from rattler.package.build_string import BuildString
from rattler.package_streaming import download_to_writer

_DOWNLOADS = 8
_LIST_SECONDS = 120
"""The time limit for a request for a channel's list."""
_SILENCE_SECONDS = 120.0
"""How long a host may send nothing of a package."""
_CHUNK = 2**20
_CANCELLED = "Solve operation has been cancelled"
"""What rattler says at the time limit."""
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.!+-]{0,250}\.(?:conda|tar\.bz2)")


class Refused(Exception):
    """The packages can't be installed; `code` and `values` are for the service's message."""

    def __init__(self, code: str, **values: str | int) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


def main(request: Path, answer: Path) -> int:
    """Do what a request says; write the answer."""
    try:
        result = asyncio.run(_Work(json.loads(request.read_text())).run())
    except Refused as refused:
        answer.write_text(json.dumps({"code": refused.code, "values": refused.values}))
        return 1
    answer.write_text(json.dumps(result))
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is the build's log


class _Work:
    """One environment's packages."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request
        self._cache = Path(request["cache"])
        self._limits: Mapping[str, int] = request["limits"]
        middlewares: list[Any] = [RetryMiddleware(3)]
        if os.environ.get("RATTLER_AUTH_FILE"):
            middlewares.append(AuthenticationMiddleware())
        self._lists = Client(middlewares, timeout=_LIST_SECONDS)
        # Its time limit would be one for the whole download of a package.
        self._client = Client(middlewares)
        self._bytes = 0
        self._done = 0

    async def run(self) -> dict[str, Any]:
        """Return the packages, in the order of their names."""
        named = {each["sha256"]: each["url"] for each in self._request["packages"]}
        self._check_count(len(named))
        locked = await self._fetch(named)
        sources = dict(named)
        if self._request["specs"]:
            _say("Choosing versions of all packages")
            chosen = await self._solve(list(locked.values()))
            self._check_count(len(chosen))
            self._check_size(chosen)
            sources |= {
                sha256: url for url, sha256 in map(_source_of, chosen) if sha256 not in named
            }
        fresh = {sha256: url for sha256, url in sources.items() if sha256 not in named}
        records = locked | await self._fetch(fresh)
        await asyncio.to_thread(self._place, sources)
        packages = [_describe(each, sources[sha256], sha256) for sha256, each in records.items()]
        return {"packages": sorted(packages, key=lambda each: each["name"])}

    # --- Choosing ---

    async def _solve(self, locked: Sequence[RepoDataRecord]) -> list[RepoDataRecord]:
        channels = [each["url"] + "/" for each in self._request["channels"]]
        self._check_specs(channels)
        gateway = Gateway(
            cache_dir=self._cache / "repodata",
            default_config=SourceConfig(),
            client=self._lists,
        )
        locked = await self._as_listed(gateway, channels, locked)
        failed = ""
        for specs in self._request["specs"]:
            try:
                return await solve(
                    channels,
                    specs,
                    gateway=gateway,
                    platforms=[self._request["platform"], "noarch"],
                    pinned_packages=locked,
                    virtual_packages=self._virtual_packages(),
                    timeout=timedelta(seconds=self._limits["seconds"]),
                    channel_priority=ChannelPriority.Strict
                    if self._request["strict"]
                    else ChannelPriority.Disabled,
                    constraints=self._request["constraints"],
                    channel_relations="disabled",
                )
            except SolverError as error:
                failed = str(error)
            except GatewayError as error:
                _say(_plain(error))
                raise Refused("no_lists") from error
        _say(failed)
        if _CANCELLED in failed:
            raise Refused("timeout", seconds=self._limits["seconds"])
        raise Refused("unsolvable")

    async def _as_listed(
        self, gateway: Gateway, channels: Sequence[str], locked: Sequence[RepoDataRecord]
    ) -> list[RepoDataRecord]:
        """Return locked packages with the dependencies that their channel has corrected since."""
        if not locked:
            return []
        platforms = [self._request["platform"], "noarch"]
        names = sorted({_name(each) for each in locked})
        try:
            lists = await gateway.query(
                channels, platforms, names, recursive=False, channel_relations="disabled"
            )
        except GatewayError as error:
            _say(_plain(error))
            raise Refused("no_lists") from error
        known = {each.sha256: each for each in chain.from_iterable(lists)}
        return [known.get(each.sha256, each) for each in locked]

    def _check_specs(self, channels: Sequence[str]) -> None:
        """Refuse what rattler reads as an address; the service refuses it too."""
        texts = [text for specs in self._request["specs"] for text in specs]
        for text in (*texts, *self._request["constraints"]):
            try:
                spec = MatchSpec(text)
            except InvalidMatchSpecError as error:
                _say(str(error))
                raise Refused("bad_spec", spec=text[:200]) from error
            there = spec.channel.base_url if spec.channel else None
            if "url=" in str(spec) or (there and there not in channels):
                raise Refused("bad_spec", spec=text[:200])

    def _virtual_packages(self) -> list[GenericVirtualPackage]:
        given: dict[str, str] = dict(self._request["virtual"])
        found = {each.name.normalized: each for each in map(_generic, VirtualPackage.detect())}
        if not self._request["one_machine"]:
            given.setdefault("__archspec", os.uname().machine)
        kept = [each for name, each in found.items() if name not in given]
        return kept + [_virtual(name, text) for name, text in given.items() if text]

    # --- Limits ---

    def _check_count(self, count: int) -> None:
        if count > self._limits["packages"]:
            raise Refused("too_many", count=count, most=self._limits["packages"])

    def _check_size(self, records: Sequence[RepoDataRecord]) -> None:
        if sum(each.size or 0 for each in records) > self._limits["bytes"]:
            raise Refused("too_big", most=self._limits["bytes"])

    def _count_bytes(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limits["bytes"]:
            raise Refused("too_big", most=self._limits["bytes"])

    # --- Downloading ---

    async def _fetch(self, sources: Mapping[str, str]) -> dict[str, RepoDataRecord]:
        """Download packages, several at a time; return what they say of themselves.

        Both are by SHA-256; `sources` has URLs.
        """
        self._done = 0
        gate = asyncio.Semaphore(_DOWNLOADS)

        async def one(url: str, sha256: str) -> RepoDataRecord:
            async with gate:
                return await self._fetch_one(url, sha256, len(sources))

        running = {sha256: asyncio.create_task(one(url, sha256)) for sha256, url in sources.items()}
        try:
            await asyncio.gather(*running.values())
        finally:
            for task in running.values():
                task.cancel()
        return {sha256: task.result() for sha256, task in running.items()}

    async def _fetch_one(self, url: str, sha256: str, total: int) -> RepoDataRecord:
        archive = self._archive(url, sha256)
        with contextlib.suppress(FileNotFoundError):
            os.utime(archive)  # clean-up leaves it from here on
        if not await asyncio.to_thread(_is_whole, archive, sha256):
            await self._download(url, sha256, archive)
        else:
            self._count_bytes(archive.stat().st_size)
        try:
            record = await RepoDataRecord.from_package_archive(archive)
        except Exception as error:
            _say(f"{_file_of(url)}: {error}")
            raise Refused("bad_package", file=_file_of(url)) from error
        self._done += 1
        _say(f"Downloaded {self._done} of {total} packages: {_name(record)}")
        return record

    def _archive(self, url: str, sha256: str) -> Path:
        return self._cache / "archives" / sha256 / _file_of(url)

    async def _download(self, url: str, sha256: str, archive: Path) -> None:
        part = archive.with_name(f".{os.getpid()}.part")
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                writer = _Writer(file, self._count_bytes)
                try:
                    await self._copy(url, writer)
                except Exception as error:
                    if writer.refused:
                        raise writer.refused from None
                    _say(f"{url}: {_plain(error)}")
                    raise Refused("not_downloaded", file=_file_of(url)) from error
            if writer.digest.hexdigest() != sha256:
                raise Refused("bad_checksum", file=_file_of(url))
            part.replace(archive)
        finally:
            part.unlink(missing_ok=True)

    def _place(self, sources: Mapping[str, str]) -> None:
        """Give the build its packages, as names for the files in the cache."""
        folder = Path(self._request["archives"])
        folder.mkdir()
        for sha256, url in sources.items():
            (folder / sha256).mkdir()
            os.link(self._archive(url, sha256), folder / sha256 / _file_of(url))

    async def _copy(self, url: str, writer: _Writer) -> None:
        parts = urlsplit(url)
        if parts.scheme == "file":
            await asyncio.to_thread(_copy_file, Path(unquote(parts.path)), writer)
            return
        download, size = asyncio.ensure_future(download_to_writer(self._client, url, writer)), 0
        try:
            while not (await asyncio.wait({download}, timeout=_SILENCE_SECONDS))[0]:
                if writer.size == size:
                    raise TimeoutError(f"its host sent nothing for {_SILENCE_SECONDS:.0f} seconds")
                size = writer.size
            await download
        finally:
            download.cancel()


class _Writer:
    """Receives a download; counts and sums what arrives."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        self._file = file
        self._count = count
        self.digest = hashlib.sha256()
        self.size = 0
        self.refused: Refused | None = None
        """Why the download had to end."""

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        try:
            self._count(len(data))
        except Refused as refused:
            self.refused = refused
            raise
        self.size += len(data)
        self.digest.update(data)
        self._file.write(data)


def _copy_file(path: Path, writer: _Writer) -> None:
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            writer.write(data)


def _is_whole(archive: Path, sha256: str) -> bool:
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _source_of(record: RepoDataRecord) -> tuple[str, str]:
    if record.sha256 is None:
        raise Refused("no_checksum", file=_file_of(record.url))
    return record.url, record.sha256.hex()


def _file_of(url: str) -> str:
    """Return a package's file name. Raises Refused for one that is no plain name."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not _FILE.fullmatch(name):
        raise Refused("bad_spec", spec=name[:200])
    return name


def _name(record: RepoDataRecord) -> str:
    return record.name.normalized


def _generic(found: VirtualPackage) -> GenericVirtualPackage:
    return found.into_generic()


def _virtual(name: str, text: str) -> GenericVirtualPackage:
    """Return a property as an administrator gives it; a processor's name is its build."""
    if name == "__archspec":
        return GenericVirtualPackage(PackageName(name), Version("1"), BuildString(text))
    return GenericVirtualPackage(PackageName(name), Version(text), BuildString("0"))


def _describe(record: RepoDataRecord, url: str, sha256: str) -> dict[str, str]:
    return {
        "name": _name(record),
        "version": str(record.version),
        "url": url,
        "sha256": sha256,
    }


def _plain(error: Exception) -> str:
    return re.sub(r"(://)[^/\s@]+@", r"\1****@", str(error))


if __name__ == "__main__":
    # rattler's threads may abort an interpreter that ends in the usual way, after all is done.
    os._exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
