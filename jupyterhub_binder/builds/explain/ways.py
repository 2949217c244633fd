"""The ways out of a failure, as buttons where the service can do them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from jupyterhub_binder.backends.base import Pythons
from jupyterhub_binder.backends.pythons import serves_python
from jupyterhub_binder.builds.explain.rules import FailureRule
from jupyterhub_binder.model.failures import Way, WayKind
from jupyterhub_binder.model.text import Message

_LABELS = {
    WayKind.AGAIN: Message("Build again"),
    WayKind.NEWEST: Message("Build the newest commit"),
    WayKind.ADMIN: Message("Copy for your administrator"),
}
_UNKNOWN = (WayKind.AGAIN, WayKind.ADMIN)
"""Ways out of a failure that no rule explains."""


@dataclass(frozen=True, slots=True)
class RecipeText:
    """A configuration file of the repository."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class FilesAtHost:
    """Where the repository's files can be read by people, and which Pythons there are."""

    provider: str = ""
    repo_url: str = ""
    ref: str = ""
    """The commit."""
    files: Sequence[RecipeText] = ()
    """The configuration files that the build used."""
    pythons: Pythons = field(default_factory=Pythons)


def make_ways(
    rule: FailureRule | None, values: Mapping[str, str], place: FilesAtHost
) -> tuple[Way, ...]:
    """Return a rule's ways out that exist here."""
    kinds = rule.ways if rule else _UNKNOWN
    found = (_make(kind, rule, values, place) for kind in kinds)
    return tuple(way for way in found if way is not None)


def _make(
    kind: WayKind, rule: FailureRule | None, values: Mapping[str, str], place: FilesAtHost
) -> Way | None:
    if kind is WayKind.ADVICE:
        return Way(kind, Message.from_parts(rule.advice, "", values)) if rule else None
    if kind is WayKind.PYTHON:
        return _another_python(values, place.pythons)
    if kind is WayKind.OPEN:
        return _open(rule.opens if rule else (), values, place)
    return Way(kind, _LABELS[kind])


def _another_python(values: Mapping[str, str], pythons: Pythons) -> Way | None:
    """Return a build with another Python: one that is needed, the hub's own, or an older one."""
    others = [one for one in pythons.offered if one != pythons.used]
    if "needs" in values:
        found = [one for one in others if serves_python(one, values["needs"])]
    elif "asked" in values:  # no Python here is what the repository asks for
        found = [pythons.used] if pythons.offered else []
    else:
        found = [one for one in pythons.offered[: _place_of(pythons)] if one in others]
    if not found:
        return None
    label = Message("Build with Python %(version)s", version=found[-1])
    return Way(WayKind.PYTHON, label, python=found[-1])


def _place_of(pythons: Pythons) -> int:
    return pythons.offered.index(pythons.used) if pythons.used in pythons.offered else 0


def _open(names: Sequence[str], values: Mapping[str, str], place: FilesAtHost) -> Way | None:
    """Return a link to the first of the files that names a value, else to the first of them.

    The file that the sentence itself names comes before all others.
    """
    own = [file for name in names for file in place.files if _base(file.path) == name]
    if not own:
        return None
    own.sort(key=lambda file: file.path != values.get("path"))
    found = ((file, find_line(file.text, values)) for file in own)
    file, number = next(((file, n) for file, n in found if n), (own[0], 0))
    url = address_of_file(place, file.path, number)
    if not url:
        return None
    if number:
        label = Message("Open %(path)s, line %(number)s", path=file.path, number=number)
    else:
        label = Message("Open %(path)s", path=file.path)
    return Way(WayKind.OPEN, label, url)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


_ENDS = "=<>!~;[ ("


def find_line(text: str, values: Mapping[str, str]) -> int:
    """Return the number of the first line that begins with a package; 0 if there is none."""
    wanted = {_bare(values[name]) for name in ("package", "requirement") if name in values}
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip().lstrip("-").strip().strip("'\",")
        if plain and _bare(plain) in wanted:
            return number
    return 0


def _bare(text: str) -> str:
    """Return a package's name: of ``Foo_Bar[x]>=1`` it is ``foo-bar``."""
    end = min((at for one in _ENDS if (at := text.find(one)) >= 0), default=len(text))
    return text[:end].strip().lower().replace("_", "-").replace(".", "-")


def address_of_file(place: FilesAtHost, path: str, line: int = 0) -> str:
    """Return the page of a file at its host; empty if the host is not known."""
    parts = urlsplit(place.repo_url)
    if parts.scheme not in ("https", "http") or not place.ref:
        return ""
    base, name = place.repo_url.removesuffix(".git").rstrip("/"), quote(path)
    kind = _HOSTS.get(parts.hostname or "") or _PROVIDERS.get(place.provider)
    if kind is None:
        return ""
    mark = f"#{_LINE.get(kind, 'L')}{line}" if line else ""
    return f"{base}/{_VIEWS[kind]}/{quote(place.ref)}/{name}{mark}"


_VIEWS = {"github": "blob", "gitlab": "-/blob", "forgejo": "src/commit", "bitbucket": "src"}
_LINE = {"bitbucket": "lines-"}
_PROVIDERS = {"gh": "github", "gl": "gitlab"}
_HOSTS = {
    "github.com": "github",
    "gitlab.com": "gitlab",
    "codeberg.org": "forgejo",
    "bitbucket.org": "bitbucket",
}
