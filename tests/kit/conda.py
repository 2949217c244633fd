"""A conda channel of packages that tests make, in a folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SUBDIRS = ("linux-64", "noarch")
_PYTHON = Path("/usr/bin/python3")


@cache
def python_version() -> str:
    """Return the version of the system's Python, in full."""
    said = subprocess.run([_PYTHON, "--version"], capture_output=True, text=True, check=True)
    return re.sub(r"^Python ", "", said.stdout.strip())


def python_minor() -> str:
    return ".".join(python_version().split(".")[:2])


class CondaChannel:
    """A channel in a folder; `url` is for `CondaChannels.channels`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = folder.as_uri()
        self._lists: dict[str, dict[str, Any]] = {name: {} for name in SUBDIRS}
        for name in SUBDIRS:
            (folder / name).mkdir(parents=True)
        self._write()

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        depends: Sequence[str] = (),
        files: Mapping[str, str | bytes] | None = None,
        links: Mapping[str, str] | None = None,
        paths: Sequence[Mapping[str, Any]] | None = None,
        programs: Sequence[str] = (),
        noarch: bool = False,
        listed: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a package and return its URL.

        `programs` are entry points of a package for Python. `paths` replaces what the package says of
        its files, `listed` changes what the channel says of the package.
        """
        content = {
            place: text if isinstance(text, bytes) else text.encode()
            for place, text in (files or {}).items()
        }
        subdir = "noarch" if noarch else "linux-64"
        index: dict[str, Any] = {
            "name": name,
            "version": version,
            "build": "0",
            "build_number": 0,
            "depends": list(depends),
            "subdir": subdir,
        }
        if noarch:
            index["noarch"] = "python"
        notes = {
            "index": index,
            "paths": {
                "paths_version": 1,
                "paths": list(paths) if paths is not None else _paths(content, links or {}),
            },
        }
        if programs:
            points = {"type": "python", "entry_points": list(programs)}
            notes["link"] = {"noarch": points, "package_metadata_version": 1}
        whole = {f"info/{each}.json": json.dumps(note).encode() for each, note in notes.items()}
        file = f"{name}-{version}-0.tar.bz2"
        data = _archive({**whole, **content}, links or {})
        (self.folder / subdir / file).write_bytes(data)
        self._lists[subdir][file] = {
            **index,
            "sha256": hashlib.sha256(data).hexdigest(),
            "md5": hashlib.md5(data).hexdigest(),
            "size": len(data),
            **(listed or {}),
        }
        self._write()
        return f"{self.url}/{subdir}/{file}"

    def add_python(self, version: str = "") -> None:
        """Add a package with a copy of the system's interpreter.

        Its standard library stays the system's, which the sandbox shows too: it is a virtual
        environment of the system's Python. Another version is the same one under a false name.
        """
        minor = python_minor()
        self.add(
            "python",
            version or python_version(),
            files={
                f"bin/python{minor}": _PYTHON.resolve().read_bytes(),
                "pyvenv.cfg": "home = /usr/bin\n",
                f"lib/python{minor}/site-packages/.keep": "",
            },
            links={"bin/python": f"python{minor}", "bin/python3": f"python{minor}"},
        )

    def add_server(self) -> None:
        """Add a package with a program of the single-user server's name."""
        self.add(
            "jupyterhub-singleuser",
            depends=["python"],
            files={"site-packages/standin.py": "def main():\n    print('5.0')\n"},
            programs=["jupyterhub-singleuser = standin:main"],
            noarch=True,
        )

    def checksum(self, file: str) -> str:
        """Return the SHA-256 that the channel has for a file."""
        return next(each[file]["sha256"] for each in self._lists.values() if file in each)

    def _write(self) -> None:
        for name, packages in self._lists.items():
            content = {"info": {"subdir": name}, "packages": packages, "packages.conda": {}}
            (self.folder / name / "repodata.json").write_text(json.dumps(content))


def _paths(files: Mapping[str, bytes], links: Mapping[str, str]) -> list[dict[str, Any]]:
    real = [
        {
            "_path": place,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        for place, data in files.items()
    ]
    return [*real, *({"_path": place, "path_type": "softlink"} for place in links)]


def _archive(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    return _pack(tuple(files.items()), tuple(links.items()))


@cache
def _pack(files: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:bz2", compresslevel=1) as archive:
        for place, data in files:
            entry = tarfile.TarInfo(place)
            entry.size = len(data)
            entry.mode = 0o755 if place.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(data))
        for place, target in links:
            entry = tarfile.TarInfo(place)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return whole.getvalue()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a channel over HTTP; yield its URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def hang() -> Iterator[tuple[str, threading.Event]]:
    """Listen without ever answering; yield the URL, and whether somebody has connected."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        connected: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected.append(server.accept()[0])
                    asked.set()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in connected:
                one.close()


def conda_lock(
    packages: Sequence[tuple[str, str]],
    pip: Sequence[tuple[str, str, str]] = (),
    *,
    platform: str = "linux-64",
    channel: str = "conda-forge",
) -> str:
    """Return a conda-lock.yml as conda-lock writes it, of URLs and checksums."""
    entries = [(*_parts(url), "conda", url, sha256) for url, sha256 in packages] + [
        (name, version, "pip", f"https://files.example.org/{name}", sha256)
        for name, version, sha256 in pip
    ]
    lines = [
        "# This lock file was generated by conda-lock",
        "version: 1",
        "metadata:",
        "  content_hash:",
        f"    {platform}: {'0' * 64}",
        "  channels:",
        f"  - url: {channel}",
        "    used_env_vars: []",
        "  platforms:",
        f"  - {platform}",
        "  sources:",
        "  - environment.yml",
        "package:",
    ]
    for name, version, manager, url, sha256 in entries:
        lines += [
            f"- name: {name}",
            f"  version: '{version}'",
            f"  manager: {manager}",
            f"  platform: {platform}",
            "  dependencies:",
            "    python: '>=3.8,<3.9.0a0'",
            f"  url: {url}",
            "  hash:",
            "    md5: 00000000000000000000000000000000",
            f"    sha256: {sha256}",
            "  category: main",
            "  optional: false",
        ]
    return "".join(f"{line}\n" for line in lines)


def pixi_lock(
    packages: Sequence[tuple[str, str]],
    pip: Sequence[tuple[str, str]] = (),
    *,
    platform: str = "linux-64",
    channel: str = "https://conda.anaconda.org/conda-forge/",
) -> str:
    """Return a pixi.lock as pixi writes it, of URLs and checksums."""
    named = [("conda", *each) for each in packages] + [("pypi", *each) for each in pip]
    lines = [
        "version: 6",
        "environments:",
        "  default:",
        "    channels:",
        f"    - url: {channel}",
        "    packages:",
        f"      {platform}:",
        *(f"      - {kind}: {url}" for kind, url, _ in named),
        "packages:",
    ]
    for kind, url, sha256 in named:
        lines += [
            f"- {kind}: {url}",
            f"  sha256: {sha256}",
            "  depends:",
            "  - python >=3.8,<4.0a0",
        ]
    return "".join(f"{line}\n" for line in lines)


def _parts(url: str) -> tuple[str, str]:
    name, version, _ = url.rpartition("/")[2].rsplit("-", 2)
    return name, version
