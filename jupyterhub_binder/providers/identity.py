"""One text for one repository, however it was spelled: what ban and allow lists are matched on.

Pure. ``github.com/org/name`` is what ``gh/Org/Name``, ``https://github.com/org/name.git`` and
``https://GitHub.com/org/n%61me/`` have in common. Who keeps such lists, and what they say to a
person whose repository is on one, is left to others.
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
"""The codes of what a list refuses, whoever keeps it."""

Hosts = Mapping[str, str]
"""Providers' prefixes to where their repositories are: ``gh`` to ``github.com``; ``git`` to ""."""

_DOI = re.compile(
    r"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/(?:doi:)?|doi:\s*|info:doi/)?(10\.\d{4,9}/\S+)"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_PERSISTENT_ID = re.compile(
    r"\?(?:[^#]*&)?persistentid=(?:doi:|https?://doi\.org/)(10\.\d{4,9}/[^&#]+)"
)
_GIT = re.compile(r"^git\+(?=[a-z]+://)", re.IGNORECASE)
_SCP = re.compile(r"^(?:[^@/:]+@)?([^@/:]+):(?!\d+(?:/|$))/?(.+)$")
_MOST_ROUNDS = 8


@lru_cache(maxsize=2_000)
def canonical(text: str) -> str:
    """Return the one spelling of a repository's address, a DOI, or a pattern of such.

    Lower case and without scheme, ``www.``, default port, ``.git``, query and slashes at the
    end; percent escapes are read until none is left, and ``..`` is followed. A DOI becomes
    ``doi.org/10.…``. A text that is nothing of the kind comes back folded, never raises.
    """
    text = unicodedata.normalize("NFKC", decoded(text.strip())).casefold().replace("\\", "/")
    if found := _DOI.fullmatch(text) or _PERSISTENT_ID.search(text):
        return f"doi.org/{_path(found[1])}"
    scheme = _SCHEME.match(text)
    host, _, path = text[scheme.end() if scheme else 0 :].lstrip("/").partition("/")
    path = re.split(r"[?#]", path, maxsplit=1)[0] if scheme else path
    return f"{_host(host)}/{_path(path)}".strip("/")


def decoded(text: str) -> str:
    """Read percent escapes until none is left: once more hides nothing."""
    for _ in range(_MOST_ROUNDS):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def _host(netloc: str) -> str:
    host = netloc.rpartition("@")[2]
    host = re.sub(r":(?:443|80|22)?$", "", host).rstrip(".")
    if not host.isascii():
        with contextlib.suppress(UnicodeError):  # what is no name is left as it is
            host = host.encode("idna").decode()
    return host.removeprefix("www.")


def _path(path: str) -> str:
    path = posixpath.normpath(f"/{path}").strip("/")
    return path.removesuffix(".git").rstrip("/")


# --- Names: what a repository is known by ----------------------------------------------------


def normalise(text: str, hosts: Hosts) -> str:
    """Return the one spelling of what somebody wrote for a repository.

    As `canonical`, and what git writes for ssh is the same; ``gh/org/name`` is read by `hosts`.
    """
    return canonical(as_url(text, hosts))


def as_url(text: str, hosts: Hosts) -> str:
    """Write a provider's spec, and what git writes for ssh, as a URL without a scheme."""
    bare = decoded(text).replace("\\", "/").strip().strip("<>\"'`").strip()
    prefix, slash, rest = bare.partition("/")
    if slash and prefix.lower() in hosts:
        host = hosts[prefix.lower()]
        bare = f"{host}/{rest}" if host else rest
    bare = _GIT.sub("", bare)
    found = None if "://" in bare else _SCP.match(bare)
    return f"{found[1]}/{found[2]}" if found else bare


def names_of(spec: Spec, *urls: str, hosts: Hosts) -> frozenset[str]:
    """Return every name of a repository that its spec and its addresses tell.

    A gist is its id, whoever's name stands before it.
    """
    found = {normalise(f"{spec.provider}/{spec.repo}", hosts)}
    found |= {canonical(url) for url in urls if url}
    return frozenset(found | {without_owner(name, hosts) for name in found})


def without_owner(name: str, hosts: Hosts) -> str:
    """Return a gist's name without whose it is; all else as it is."""
    host, _, path = name.partition("/")
    gists = host == hosts.get("gist") or host.startswith("gist.")
    owner, slash, gist = path.partition("/")
    return f"{host}/{gist}" if gists and owner and slash else name


# --- Patterns: what a list means -------------------------------------------------------------


def means(pattern: str, names: Iterable[str]) -> bool:
    """Say whether a pattern in its one spelling means a repository that has these names."""
    return any(compiled(pattern).fullmatch(name) for name in names)


def matches(identities: Iterable[str], patterns: Iterable[str]) -> bool:
    """Say whether a repository is meant by one of the patterns, both written in any way.

    A pattern is an address as anybody writes it, with ``*`` for any text and ``?`` for one
    character of a name: ``github.com/org/*``. It means all that lies below it too:
    ``github.com/org`` is every repository of ``org``.
    """
    names = [canonical(identity) for identity in identities]
    return any(means(pattern, names) for pattern in map(canonical_pattern, patterns))


def pattern_of(text: str, hosts: Hosts) -> str:
    """Return the one spelling of what somebody wrote in a list, as `normalise` of a repository."""
    pattern = canonical_pattern(as_url(text, hosts))
    return pattern if re.search(r"[*?]", pattern) else without_owner(pattern, hosts)


def canonical_pattern(text: str) -> str:
    """Return the one spelling of a pattern."""
    # A "?" of a pattern is a wildcard, no query: it is kept from being cut off.
    return canonical(text.replace("?", "\ue000")).replace("\ue000", "?")


@lru_cache(maxsize=10_000)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return what a pattern in its one spelling means, for canonical names.

    A star in a host stands for no slash: ``*.example.org`` is no folder of another host.
    """
    if not pattern:
        return re.compile("(?!)")
    host, slash, path = pattern.partition("/")
    wanted = _glob(host, "[^/]*") + (f"/{_glob(path.rstrip('/'), '.*')}" if slash else "")
    return re.compile(f"{wanted}(?:/.*)?", re.DOTALL)


def _glob(text: str, star: str) -> str:
    text = re.sub(r"\*+", "*", text)
    return "".join({"*": star, "?": "[^/]"}.get(each, re.escape(each)) for each in text)
