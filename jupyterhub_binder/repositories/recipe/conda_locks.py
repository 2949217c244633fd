"""Reads conda-lock.yml and pixi.lock: the packages that they name for each platform.

A backend chooses the platform. What the programs would not write is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from jupyterhub_binder.model.condafile import CondaFile, CondaPackage
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.recipe.files import Checkout
from jupyterhub_binder.repositories.recipe.plain_yaml import NotPlain, load_plain_yaml
from jupyterhub_binder.repositories.recipe.requirements import MAX_LINES, Wanted

MAX_LOCK_BYTES = 4 * 2**20
"""Locks list the packages of each platform, so they are larger than other configuration files."""

PIXI_ENVIRONMENT = "default"
_CATEGORIES = frozenset({"", "main", "dev"})
"""What `conda-lock install` installs unless told otherwise."""

_MAX_PACKAGES = 4 * MAX_LINES
_FILE = re.compile(r"([^/]+)-([^/-]+)-[^/-]+\.(?:conda|tar\.bz2)")
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[A-Za-z0-9._+!-]+")


class _BadCondaLock(Exception):
    """The lock is not what its program writes."""


def read_conda_lock(checkout: Checkout, kind: str, wanted: Wanted) -> None:
    """Read a lock file; its conda packages become `Wanted.conda_lock`."""
    path = checkout.path_of(kind)
    text = checkout.read(path, max_bytes=MAX_LOCK_BYTES)
    if text is None:
        return
    try:
        content = load_plain_yaml(text)
        read = _read_conda_lock if kind == "conda-lock.yml" else _read_pixi_lock
        read(path, content if isinstance(content, Mapping) else {}, wanted)
    except NotPlain as error:
        checkout.problem(
            "bad_lock",
            Message(
                "%(path)s is not a valid lock file (line %(line)s). Create it again with "
                "the program that made it.",
                path=path,
                line=error.line,
            ),
            path,
        )
    except _BadCondaLock as error:
        checkout.problem(
            "bad_lock",
            Message("%(path)s can't be read: %(why)s.", path=path, why=error.args[0]),
            path,
        )


def _read_conda_lock(path: str, content: Mapping[str, Any], wanted: Wanted) -> None:
    if _text(content, "version") != "1":
        raise _BadCondaLock(Message("this hub does not support its format"))
    metadata = _table(content, "metadata")
    channels = [_text(each, "url") for each in _tables(metadata, "channels")]
    conda: list[CondaPackage] = []
    pip: list[tuple[str, str]] = []
    for each in _tables(content, "package"):
        if _text(each, "category") not in _CATEGORIES:
            continue
        name, version, url = (_text(each, key) for key in ("name", "version", "url"))
        platform = _text(each, "platform")
        sha256 = _text(_table(each, "hash"), "sha256")
        if _text(each, "manager") == "conda":
            conda.append(CondaPackage(name, version, url, sha256, platform))
        else:
            pip.append((platform, _line(name, version, sha256)))
    _keep(wanted, path, channels, _texts(metadata, "platforms"), conda, pip)


def _read_pixi_lock(path: str, content: Mapping[str, Any], wanted: Wanted) -> None:
    if _text(content, "version") not in ("5", "6"):
        raise _BadCondaLock(Message("this hub does not support its format"))
    chosen = _table(_table(content, "environments"), PIXI_ENVIRONMENT)
    known: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in _tables(content, "packages"):
        for kind in ("conda", "pypi"):
            url = _text(each, "url" if _text(each, "kind") == kind else kind)
            if url:
                known[kind, url] = each
    conda: list[CondaPackage] = []
    pip: list[tuple[str, str]] = []
    platforms = _table(chosen, "packages")
    for platform in platforms:
        for each in _tables(platforms, platform):
            for kind in (kind for kind in ("conda", "pypi") if kind in each):
                url = _text(each, kind)
                about = known.get((kind, url))
                if about is None:
                    raise _BadCondaLock(Message("it lacks a package that it names"))
                if kind == "conda":
                    conda.append(_conda_package(url, _text(about, "sha256"), platform))
                else:
                    pip.append((platform, _pypi_line(url, about)))
    channels = [_text(each, "url") for each in _tables(chosen, "channels")]
    pip += _index_lines(platforms, _texts(chosen, "indexes"))
    _keep(wanted, path, channels, [*platforms], conda, pip)


def _index_lines(platforms: Collection[str], indexes: Collection[str]) -> list[tuple[str, str]]:
    """Return the line of each index for each platform."""
    if len(platforms) * len(indexes) > MAX_LINES:
        raise _BadCondaLock(Message("it names too many package indexes"))
    lines = [f"--extra-index-url {each}" for each in indexes]
    return [(platform, line) for platform in platforms for line in lines]


def _keep(
    wanted: Wanted,
    path: str,
    channels: list[str],
    platforms: list[str],
    conda: list[CondaPackage],
    pip: list[tuple[str, str]],
) -> None:
    wanted.conda_lock = CondaFile(
        path,
        tuple(channels),
        platforms=tuple(platforms),
        packages=tuple(conda),
        pip=tuple(pip),
    )
    pythons = {each.version for each in conda if each.name == "python"}
    if len(pythons) == 1:
        wanted.python = wanted.python or ".".join(pythons.pop().split(".")[:2])
    names = {f"{each.name}={each.version}" for each in conda}
    names |= {line.partition(" --hash")[0] for _, line in pip if not line.startswith("-")}
    # What the file beside the lock leaves open, the lock decides.
    wanted.packages.clear()
    wanted.unpinned.clear()
    for text in sorted(names):
        wanted.add(text, pinned=True)


def _conda_package(url: str, sha256: str, platform: str) -> CondaPackage:
    found = _FILE.fullmatch(unquote(urlsplit(url).path).rpartition("/")[2])
    if found is None:
        raise _BadCondaLock(Message("it names a package that is not a file of a channel"))
    return CondaPackage(found[1].lower(), found[2], url, sha256, platform)


def _pypi_line(url: str, about: Mapping[str, Any]) -> str:
    """Return a package of PyPI by name and checksum, or a folder or address as it is."""
    if url.startswith((".", "/")):
        return f"-e {url}" if _text(about, "editable") == "true" else url
    name, version, sha256 = (_text(about, key) for key in ("name", "version", "sha256"))
    if url.startswith("git+") or not sha256:
        return f"{name} @ {url}"
    if not (name and version):
        name, version = _name_in(url)
    return _line(name, version, sha256)


def _name_in(url: str) -> tuple[str, str]:
    file = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        if file.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(file)
        else:
            name, version = parse_sdist_filename(file)
    except (InvalidWheelFilename, InvalidSdistFilename):
        raise _BadCondaLock(Message("it names a package without a version")) from None
    return name, str(version)


def _line(name: str, version: str, sha256: str) -> str:
    if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version) and _HASH.fullmatch(sha256)):
        raise _BadCondaLock(Message("it names a package without a version or checksum"))
    return f"{name}=={version} --hash=sha256:{sha256}"


# --- Values -------------------------------------------------------------------------------------


def _table(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def _tables(content: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    found = content.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise _BadCondaLock(Message("its packages are not a list"))
    if len(found) > _MAX_PACKAGES:
        raise _BadCondaLock(Message("it has too many packages"))
    return iter(found)


def _text(content: Mapping[str, Any], key: str) -> str:
    found = content.get(key, "")
    return found if isinstance(found, str) and len(found) <= 2000 else ""


def _texts(content: Mapping[str, Any], key: str) -> list[str]:
    found = content.get(key) or []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
