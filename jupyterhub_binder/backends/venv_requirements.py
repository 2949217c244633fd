"""Reads requirement lines that a stranger wrote; decides which of them uv may be handed.

uv runs on the host with the network, so a line may not make it read a file of the host, ask
an address of the local network, or expand one of our variables. Pure but for `load`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

Load = Callable[[str], str | None]
"""Gives the text of a file of the checkout by its path there, None where there is none."""

_MOST_FILES = 20
_MOST_LINES = 5000
_LONGEST_LINE = 4000

_HARMLESS = ("--only-binary", "--prefer-binary", "--no-deps", "--require-hashes", "--use-feature")
_INDEXES = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index")
_CONSTRAINTS = ("-c", "--constraint")
_VCS = ("git+https",)
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, slots=True)
class Policy:
    """What an admin lets a requirement line reach."""

    index_urls: Collection[str] = ("https://download.pytorch.org/whl/",)
    """Beginnings of package indexes that a line may add."""
    url_hosts: Collection[str] = ("github.com", "gitlab.com")
    """Hosts from which a line may name a file or a git repository."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is not obeyed, and why in one sentence."""

    path: str
    line: str
    why: str


@dataclass(slots=True)
class Requirements:
    """What was asked for: packages of an index, and what comes from elsewhere."""

    packages: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """Folders of the checkout (``.``, ``-e ./tools``) and addresses: for the sandbox only.

    Even a wheel from an address is: its metadata may name any further address.
    """
    constraints: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    prereleases: bool = False
    refused: list[Refused] = field(default_factory=list)


def read_requirements(text: str, *, path: str, load: Load, policy: Policy) -> Requirements:
    """Return what a requirements file asks for, with the files that it includes."""
    reader = _Reader(load, policy)
    reader.read(text, path, constraints=False)
    return reader.found


class _Reader:
    """Walks a requirements file and its includes."""

    def __init__(self, load: Load, policy: Policy) -> None:
        self.found = Requirements()
        self._load = load
        self._policy = policy
        self._seen: set[str] = set()
        self._lines = 0

    def read(self, text: str, path: str, *, constraints: bool) -> None:
        self._seen.add(path)
        for line in _logical_lines(text):
            self._lines += 1
            if self._lines > _MOST_LINES:
                self._refuse(path, "", f"there are more than {_MOST_LINES} lines")
                return
            self._line(line, path, constraints=constraints)

    def _refuse(self, path: str, line: str, why: str) -> None:
        self.found.refused.append(Refused(path, line[:200], why))

    def _line(self, line: str, path: str, *, constraints: bool) -> None:
        option, value = _option(line)
        if len(line) > _LONGEST_LINE:
            self._refuse(path, line, f"it has more than {_LONGEST_LINE} characters")
        elif "${" in line or not line.isprintable():
            self._refuse(path, line, "variables and control characters are not allowed")
        elif option in ("-r", "--requirement", *_CONSTRAINTS):
            self._include(value, path, line, constraints=constraints or option in _CONSTRAINTS)
        elif option in ("-e", "--editable"):
            self._source(value, path, line, editable=True)
        elif option in _INDEXES:
            self._index(value, path, line)
        elif option == "--pre":
            self.found.prereleases = True
        elif option in _HARMLESS:
            pass
        elif option:
            self._refuse(path, line, f"the option {option} is not supported here")
        else:
            self._requirement(line, path, constraints=constraints)

    def _include(self, value: str, path: str, line: str, *, constraints: bool) -> None:
        target = inside_checkout(value, posixpath.dirname(path))
        if target is None:
            self._refuse(path, line, "it names a file outside of the repository")
        elif target in self._seen:
            pass
        elif len(self._seen) >= _MOST_FILES:
            self._refuse(path, line, f"there are more than {_MOST_FILES} files")
        elif (text := self._load(target)) is None:
            self._refuse(path, line, f"there is no file {target} in the repository")
        else:
            self.read(text, target, constraints=constraints)

    def _index(self, value: str, path: str, line: str) -> None:
        allowed = any(_begins(value, known) for known in self._policy.index_urls)
        if allowed:
            self.found.indexes.append(value)
        else:
            self._refuse(path, line, "this hub does not allow that package index")

    def _requirement(self, line: str, path: str, *, constraints: bool) -> None:
        if _is_location(line):
            self._source(line, path, line, editable=False)
            return
        try:
            asked = Requirement(re.sub(r"\s--hash[= ]\S+", "", line).strip())
        except (InvalidRequirement, RecursionError) as error:
            self._refuse(path, line, f"it is not a requirement ({str(error).splitlines()[0]})")
            return
        if asked.url is None:
            (self.found.constraints if constraints else self.found.packages).append(str(asked))
        elif constraints:
            # uv on the host reads constraints, and would fetch what they name.
            self._refuse(path, line, "a constraint may not hold an address")
        elif why := self._why_not(asked.url):
            self._refuse(path, line, why)
        else:
            self.found.sources.append(str(asked))

    def _source(self, value: str, path: str, line: str, *, editable: bool) -> None:
        """Take a line that names a place instead of a package."""
        if " " in value:
            self._refuse(path, line, "options and markers after an address are not supported")
            return
        if "://" in value and not value.startswith("file:"):
            if why := self._why_not(value):
                self._refuse(path, line, why)
            else:
                self.found.sources.append(value)
            return
        # Relative to where pip would run: the checkout's root.
        place, bracket, extras = value.removeprefix("file:").partition("[")
        target = inside_checkout(place, "")
        if target is None:
            self._refuse(path, line, "it names a place outside of the repository")
            return
        text = f"./{target}" if target else "."
        self.found.sources.append(f"{'-e ' if editable else ''}{text}{bracket}{extras}")

    def _why_not(self, url: str) -> str | None:
        """Say what speaks against fetching a URL."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return "its address cannot be read"
        if parts.scheme not in ("https", *_VCS):
            return f"{parts.scheme or 'this kind of'} addresses are not allowed, https ones are"
        if "@" in parts.netloc or port not in (None, 443):
            return "its address may not hold credentials or a port"
        if parts.hostname not in self._policy.url_hosts:
            return f"this hub does not fetch packages from {parts.hostname}"
        return None


def inside_checkout(place: str, folder: str) -> str | None:
    """Return a path of the checkout in its plain form, None where it leads out of it."""
    place = unquote(place)
    if place.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", place):
        return None
    path = posixpath.normpath(posixpath.join(folder, place))
    if path == ".." or path.startswith("../"):
        return None
    return "" if path == "." else path


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines without comments, those that a backslash continues joined.

    The work grows with the text's length alone, whatever it holds.
    """
    whole: list[str] = []
    for line in text.removeprefix("\ufeff").splitlines():
        whole.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        joined, whole = " ".join(whole), []
        if bare := _COMMENT.sub("", joined).strip():
            yield bare.replace("\t", " ")
    if bare := _COMMENT.sub("", " ".join(whole)).strip():
        yield bare.replace("\t", " ")


def _option(line: str) -> tuple[str, str]:
    """Split ``-r x``, ``-rx``, ``--long x`` and ``--long=x``; no option is two empty strings."""
    if line.startswith("--"):
        name, _, value = line.replace("=", " ", 1).partition(" ")
        return name, value.strip()
    if line.startswith("-"):
        return line[:2], line[2:].strip()
    return "", ""


def _is_location(line: str) -> bool:
    """Say whether a line is a path or an address rather than a package's name."""
    first = line.split(";")[0].split(" ")[0]
    if re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*@", line):
        return False
    return first.startswith((".", "/", "~", "file:")) or "/" in first or "://" in first


def _begins(url: str, known: str) -> bool:
    return url == known or url.startswith(known.rstrip("/") + "/")
