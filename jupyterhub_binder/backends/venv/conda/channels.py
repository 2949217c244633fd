"""Decides which channels and conda packages of strangers rattler may get. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.model.condafile import CondaPackage
from jupyterhub_binder.model.text import Message

_HOSTS = ("https://conda.anaconda.org", "https://repo.prefix.dev", "https://prefix.dev")
"""Where locks find channels by their names; the hub's own addresses take their place."""

NO_DEFAULTS = "nodefaults"
_SPEC = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9_.-]*)(.*)", re.DOTALL)
_REST = re.compile(r"[\sA-Za-z0-9_.*+!<>=~,|^$()-]*")
_BRACKET = re.compile(
    r"""\s*+\[\s*+(?:(?:version|build|build_number)\s*+=\s*+"""
    r"""(?:'[^'"\[\]]*+'|"[^'"\[\]]*+"|[^'"\[\],\s]++)\s*+(?:,\s*+|(?=\])))++\]"""
)
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.!+-]{0,250}\.(?:conda|tar\.bz2)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_SPEC = 500


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that repositories may use."""

    name: str
    url: str
    """Without a slash at its end."""


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of this hub, and how they are used."""

    known: Sequence[Channel] = ()
    default: Sequence[str] = ()
    """Names of the channels for files that name none."""
    in_own_order: bool = False
    """Whether channels come in the hub's order, whatever a repository says."""

    def find(self, text: str) -> Channel | None:
        """Return the channel that a text names, by its name or a URL; None if it isn't allowed."""
        bare = text.strip().rstrip("/")
        for one in self.known:
            urls = (one.url, *(f"{host}/{one.name}" for host in _HOSTS))
            if bare == one.name or bare in urls:
                return one
        return None

    def place(self, url: str) -> str | None:
        """Return where the hub gets a package with this URL from; None if it isn't allowed."""
        for one in self.known:
            for base in (one.url, *(f"{host}/{one.name}" for host in _HOSTS)):
                inner = url.removeprefix(f"{base}/")
                subdir, slash, file = inner.partition("/")
                if (
                    inner != url
                    and slash
                    and re.fullmatch(r"[a-z0-9-]{1,30}", subdir)
                    and _FILE.fullmatch(unquote(file))
                ):
                    return f"{one.url}/{subdir}/{unquote(file)}"
        return None

    def choose(self, written: Sequence[str]) -> ChannelChoice:
        """Return the channels for a file's list, in their order."""
        names = [name for name in written if name != NO_DEFAULTS] or list(self.default)
        found: list[Channel] = []
        refused = []
        for name in names:
            one = self.find(name)
            if one is None:
                refused.append(name)
            elif one not in found:
                found.append(one)
        if self.in_own_order:
            found.sort(key=list(self.known).index)
        return ChannelChoice(found, refused)


@dataclass(slots=True)
class ChannelChoice:
    """The channels of a build."""

    found: list[Channel] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """As written."""

    def add(self, one: Channel) -> None:
        """Add the channel that a package names."""
        if one not in self.found:
            self.found.append(one)


class SpecRefused(Exception):
    """A spec that this hub does not take; `why` ends a sentence."""

    def __init__(self, why: Message) -> None:
        super().__init__(why)
        self.why = why


def read_spec(text: str, channels: Channels, choice: ChannelChoice) -> tuple[str, str]:
    """Return the package's name and the spec as rattler gets it. Raises SpecRefused.

    rattler reads more than this takes: files, addresses and channels in brackets, which would make
    it fetch from anywhere.
    """
    where, colons, bare = text.strip().rpartition("::")
    found = _SPEC.fullmatch(bare) if len(text) <= _MAX_SPEC else None
    if found is None or not (_REST.fullmatch(found[2]) or _BRACKET.fullmatch(found[2])):
        raise SpecRefused(Message("this hub does not understand it"))
    name, rest = found[1].lower(), found[2]
    if name.startswith("__"):
        raise SpecRefused(Message("it names a property of the machine, not a package"))
    if not colons:
        return name, f"{name}{rest}"
    one = channels.find(where)
    if one is None:
        raise SpecRefused(Message("this hub does not allow the channel %(channel)s", channel=where))
    choice.add(one)
    return name, f"{one.url}::{name}{rest}"


# --- Packages by their URL ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlacedPackage:
    """A file that the hub may fetch."""

    url: str
    sha256: str


def place_package(package: CondaPackage, channels: Channels) -> PlacedPackage | Message:
    """Return where a lock's package comes from, or why it is refused."""
    url = channels.place(package.url)
    if url is None:
        host = _host(package.url)
        return Message("this hub does not allow its channel on %(host)s", host=host)
    if not _SHA256.fullmatch(package.sha256):
        return Message("the lock has no SHA-256 for it")
    return PlacedPackage(url, package.sha256)


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or url)[:100]
    except ValueError:
        return url[:100]


_EXPLICIT = re.compile(
    r"(\S+/([^/\s]+)-([^/\s-]+)-[^/\s-]+\.(?:conda|tar\.bz2))#sha256:([0-9a-f]{64})"
)


def explicit_line(url: str, sha256: str) -> str:
    """Return a package as conda's explicit format has it."""
    return f"{url}#sha256:{sha256}"


def split_explicit(lines: Sequence[str]) -> tuple[list[CondaPackage], list[str]]:
    """Return the packages of explicit lines, and the other lines."""
    packages, others = [], []
    for line in lines:
        if found := _EXPLICIT.fullmatch(line.strip()):
            url, name, version, sha256 = found.groups()
            packages.append(CondaPackage(name, version, url, sha256, url.split("/")[-2]))
        else:
            others.append(line)
    return packages, others


def channels_of(urls: Mapping[str, str], default: Sequence[str], *, own_order: bool) -> Channels:
    """Return the channels of an administrator's options."""
    known = [Channel(name, url.rstrip("/")) for name, url in urls.items()]
    return Channels(known, tuple(default), own_order)
