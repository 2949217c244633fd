"""One spelling for each repository, which allow and ban lists match. Pure.

``gh/Org/Name`` and ``https://GitHub.com/org/n%61me.git/`` become ``github.com/org/name``.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import unquote

from jupyterhub_binder.model import Spec

BANNED = "repository_banned"
NOT_ON_LIST = "repository_not_allowed"
"""Error codes for repositories that a list refuses."""

Hosts = Mapping[str, str]
"""``gh`` to ``github.com``, ``git`` to ""."""

_DOI = re.compile(
    r"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/(?:doi:)?|doi:\s*|info:doi/)?(10\.\d{4,9}/\S+)"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_PERSISTENT_ID = re.compile(
    r"\?(?:[^#]*&)?persistentid=(?:doi:|https?://doi\.org/)(10\.\d{4,9}/[^&#]+)"
)
_GIT = re.compile(r"^git\+(?=[a-z]+://)", re.IGNORECASE)
_SCP = re.compile(r"^(?:[^@/:]+@)?([^@/:]+):(?!\d+(?:/|$))/?(.+)$")
_MAX_ROUNDS = 8


@lru_cache(maxsize=2_000)
def canonical(text: str) -> str:
    """Normalise a URL, DOI or pattern. Never raises.

    Drops scheme, ``www.``, default port, ``.git``, query and trailing slashes; resolves escapes and
    ``..``. A DOI becomes ``doi.org/10.…``.
    """
    text = unicodedata.normalize("NFKC", decoded(text.strip())).casefold().replace("\\", "/")
    if found := _DOI.fullmatch(text) or _PERSISTENT_ID.search(text):
        return f"doi.org/{_path(found[1])}"
    scheme = _SCHEME.match(text)
    host, _, path = text[scheme.end() if scheme else 0 :].lstrip("/").partition("/")
    path = re.split(r"[?#]", path, maxsplit=1)[0] if scheme else path
    return f"{_host(host)}/{_path(path)}".strip("/")


def decoded(text: str) -> str:
    """Decode percent escapes, also nested ones."""
    for _ in range(_MAX_ROUNDS):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def _host(netloc: str) -> str:
    host = netloc.rpartition("@")[2]
    host = re.sub(r":(?:443|80|22)?$", "", host).rstrip(".")
    if not host.isascii():
        with contextlib.suppress(UnicodeError):  # an invalid name stays unchanged
            host = host.encode("idna").decode()
    return host.removeprefix("www.")


def _path(path: str) -> str:
    path = posixpath.normpath(f"/{path}").strip("/")
    return path.removesuffix(".git").rstrip("/")


# --- Names: what a repository is known by ----------------------------------------------------


def normalise(text: str, hosts: Hosts) -> str:
    """As `canonical`, also for ssh URLs and, with `hosts`, specs."""
    return canonical(as_url(text, hosts))


def as_url(text: str, hosts: Hosts) -> str:
    """Write a spec or ssh URL without a scheme."""
    bare = decoded(text).replace("\\", "/").strip().strip("<>\"'`").strip()
    prefix, slash, rest = bare.partition("/")
    if slash and prefix.lower() in hosts:
        host = hosts[prefix.lower()]
        bare = f"{host}/{rest}" if host else rest
    bare = _GIT.sub("", bare)
    found = None if "://" in bare else _SCP.match(bare)
    return f"{found[1]}/{found[2]}" if found else bare


def names_of(spec: Spec, *urls: str, hosts: Hosts) -> frozenset[str]:
    """Return all names; a gist's without its user."""
    found = {normalise(f"{spec.provider}/{spec.repo}", hosts)}
    found |= {canonical(url) for url in urls if url}
    return frozenset(found | {without_owner(name, hosts) for name in found})


def without_owner(name: str, hosts: Hosts) -> str:
    """Remove the user from a gist's name."""
    host, _, path = name.partition("/")
    gists = host == hosts.get("gist") or host.startswith("gist.")
    owner, slash, gist = path.partition("/")
    return f"{host}/{gist}" if gists and owner and slash else name


# --- Patterns: what a list means -------------------------------------------------------------


def means(pattern: str, names: Iterable[str]) -> bool:
    """Match a normalised pattern."""
    return any(compiled(pattern).fullmatch(name) for name in names)


def matches(identities: Iterable[str], patterns: Iterable[str]) -> bool:
    """Say whether a pattern matches a repository.

    ``*`` is any text, ``?`` one character. ``github.com/org`` includes everything below.
    """
    names = [canonical(identity) for identity in identities]
    return any(means(pattern, names) for pattern in map(canonical_pattern, patterns))


def pattern_of(text: str, hosts: Hosts) -> str:
    """Normalise a list entry."""
    pattern = canonical_pattern(as_url(text, hosts))
    return pattern if re.search(r"[*?]", pattern) else without_owner(pattern, hosts)


def canonical_pattern(text: str) -> str:
    """Normalise a pattern."""
    # "?" is a wildcard here, not the start of a query.
    return canonical(text.replace("?", "\ue000")).replace("\ue000", "?")


@lru_cache(maxsize=10_000)
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a normalised pattern.

    A star in a host matches no slash, so ``*.example.org`` matches no folder of another host.
    """
    if not pattern:
        return re.compile("(?!)")
    host, slash, path = pattern.partition("/")
    wanted = _glob(host, "[^/]*") + (f"/{_glob(path.rstrip('/'), '.*')}" if slash else "")
    return re.compile(f"{wanted}(?:/.*)?", re.DOTALL)


def _glob(text: str, star: str) -> str:
    """Write a pattern as a regular expression.

    The first place where a part fits is the best one. Only the last star may try others, so that
    time doesn't explode with the number of stars.
    """
    first, *parts = (_part(part) for part in re.split(r"\*+", text))
    if not parts:
        return first
    *middle, last = parts
    return "".join([first, *(f"(?>{star}?{part})" for part in middle), star, last])


def _part(text: str) -> str:
    return "".join("[^/]" if each == "?" else re.escape(each) for each in text)
