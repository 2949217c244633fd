"""Decides which requirement lines of strangers uv may get.

uv runs on the host with network access. A line must not make it read host files, reach the local
network or expand our variables. Pure.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from packaging.requirements import InvalidRequirement, Requirement

from jupyterhub_binder.model import RequirementLine
from jupyterhub_binder.model.text import Message

_HARMLESS = ("--only-binary", "--prefer-binary", "--no-deps", "--require-hashes", "--use-feature")
_INDEXES = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index")
_FOLDERS = ("-f", "--find-links", "--no-index")
_PYPI = re.compile(r"https://pypi\.(python\.)?org/simple")
_INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_VCS = ("git+https",)
_ARCHIVE = re.compile(r"[\w.-]+\.(whl|zip|tgz|tbz|txz|tlz|tar(\.\w+)?)(\[.*)?", re.IGNORECASE)
"""A name that uv and pip take for a file."""
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?")


@dataclass(frozen=True, slots=True)
class Policy:
    """What requirement lines may use."""

    index_urls: Collection[str] = ("https://download.pytorch.org/whl/",)
    """Allowed prefixes of package indexes."""
    own_indexes: Collection[str] = ()
    """The indexes that this hub uses anyway; without any, PyPI."""
    url_hosts: Collection[str] = ("github.com", "gitlab.com")
    """Allowed hosts for files and Git repositories."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A refused line, and why."""

    line: RequirementLine
    why: Message


@dataclass(slots=True)
class Requirements:
    """Packages from an index, and sources from elsewhere."""

    packages: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """Folders of the checkout (``.``, ``-e ./tools``) and addresses: for the sandbox only.

    Even a wheel from an address is: its metadata may name any further address.
    """
    constraints: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    hashes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of the files that may be installed for a line of `packages`."""
    prereleases: bool = False
    replaced_pypi: bool = False
    """Whether a line names PyPI and the hub has another index in its place."""
    refused: list[RefusedLine] = field(default_factory=list)

    def with_hashes(self) -> list[str]:
        """Return the lines of `packages` with the hashes that are known."""
        return [
            " ".join([line, *(f"--hash={one}" for one in self.hashes.get(line, ()))])
            for line in self.packages
        ]


def choose_lines(lines: Iterable[RequirementLine], policy: Policy) -> Requirements:
    """Return what uv gets of the lines."""
    chooser = _Chooser(policy)
    for line in lines:
        chooser.take(line)
    return chooser.found


class _Chooser:
    """Takes or refuses line by line."""

    def __init__(self, policy: Policy) -> None:
        self.found = Requirements()
        self._policy = policy

    def take(self, line: RequirementLine) -> None:
        option = line.option
        if "${" in line.text or not line.text.isprintable():
            self._refuse(line, Message("variables and control characters are not allowed"))
        elif option in _INCLUDES:  # what is left are addresses; files were read
            self._refuse(line, Message("it names a file outside the repository"))
        elif option in ("-e", "--editable"):
            self._source(line, line.value, editable=True)
        elif option in _INDEXES:
            self._index(line)
        elif option == "--pre":
            self.found.prereleases = True
        elif option in _HARMLESS:
            pass
        elif option:
            self._refuse(
                line, Message("the option %(option)s is not supported here", option=option)
            )
        else:
            self._requirement(line)

    def _refuse(self, line: RequirementLine, why: Message) -> None:
        self.found.refused.append(RefusedLine(line, why))

    def _index(self, line: RequirementLine) -> None:
        url = _plain_url(line.value)
        bare = (url or "").rstrip("/")
        if line.option not in _FOLDERS and bare in self._policy.own_indexes:
            return
        if line.option not in _FOLDERS and is_pypi(bare):
            self.found.replaced_pypi = bool(self._policy.own_indexes)
        elif url is not None and any(_is_below(url, known) for known in self._policy.index_urls):
            self.found.indexes.append(url)
        else:
            self._refuse(line, Message("this hub does not allow that package index"))

    def _requirement(self, line: RequirementLine) -> None:
        if _is_location(line.text):
            self._source(line, line.text, editable=False)
            return
        try:
            asked = Requirement(re.sub(r"\s--hash[= ]\S+", "", line.text).strip())
        except (InvalidRequirement, RecursionError) as error:
            self._refuse(
                line, Message("it is not a requirement (%(why)s)", why=str(error).splitlines()[0])
            )
            return
        if asked.url is None:
            (self.found.constraints if line.constraint else self.found.packages).append(str(asked))
        elif line.constraint:
            # uv on the host reads constraints, and would fetch what they name.
            self._refuse(line, Message("a constraint must not contain an address"))
        elif why := self._why_not(asked.url):
            self._refuse(line, why)
        else:
            self.found.sources.append(str(asked))

    def _source(self, line: RequirementLine, value: str, *, editable: bool) -> None:
        """Take a line that names a location instead of a package."""
        if line.constraint:
            self._refuse(line, Message("a constraint must not contain an address"))
            return
        if " " in value:
            self._refuse(line, Message("options and markers after an address are not supported"))
            return
        if "://" in value and not value.startswith("file:"):
            if why := self._why_not(value):
                self._refuse(line, why)
            else:
                self.found.sources.append(value)
            return
        place, bracket, extras = value.removeprefix("file:").partition("[")
        target = inside_checkout(place, line.folder)
        if target is None:
            self._refuse(line, Message("it names a path outside the repository"))
            return
        text = f"./{target}" if target else "."
        self.found.sources.append(f"{'-e ' if editable else ''}{text}{bracket}{extras}")

    def _why_not(self, url: str) -> Message | None:
        """Return why a URL is refused, or None."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return Message("its address is invalid")
        if parts.scheme not in ("https", *_VCS):
            return Message(
                "%(scheme)s addresses are not allowed; use https",
                scheme=parts.scheme or Message("such"),
            )
        if "@" in parts.netloc or port not in (None, 443):
            return Message("its address must not contain credentials or a port")
        if parts.hostname not in self._policy.url_hosts:
            return Message("this hub does not fetch packages from %(host)s", host=parts.hostname)
        return None


def is_pypi(url: str) -> bool:
    """Whether a package index is PyPI."""
    return bool(_PYPI.fullmatch(url.rstrip("/")))


def inside_checkout(place: str, folder: str) -> str | None:
    """Return a normalised path in the checkout; None if outside."""
    place = unquote(place)
    if place.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", place):
        return None
    path = posixpath.normpath(posixpath.join(folder, place))
    if path == ".." or path.startswith("../"):
        return None
    return "" if path == "." else path


def _is_location(line: str) -> bool:
    """Whether a line is a path or URL, not a package."""
    first = line.split(";")[0].split(" ")[0]
    if re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*@", line):
        return False
    if _ARCHIVE.fullmatch(first):
        return True
    return first.startswith((".", "/", "~", "file:")) or "/" in first or "://" in first


def _plain_url(text: str) -> str | None:
    """Return one address as uv reads it, too; None for anything that may mean another place.

    uv splits a value at blanks into several addresses, takes a backslash for a slash, and resolves
    dots, also escaped ones. Compare and hand over only what has none of these.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if not _PLAIN_URL.fullmatch(text) or not parts.hostname or "@" in parts.netloc:
        return None
    if {".", ".."} & set(unquote(parts.path).split("/")):
        return None
    place = parts.hostname if port is None else f"{parts.hostname}:{port}"
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def _is_below(url: str, known: str) -> bool:
    return url == known or url.startswith(known.rstrip("/") + "/")
