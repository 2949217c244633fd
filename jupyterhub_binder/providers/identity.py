"""One text for one repository, however it was spelled: what ban and allow lists are matched on.

Pure. ``github.com/org/name`` is what ``gh/Org/Name``, ``https://github.com/org/name.git`` and
``https://GitHub.com/org/n%61me/`` have in common. Who keeps such lists is left to others.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

_DOI = re.compile(
    r"(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/(?:doi:)?|doi:\s*|info:doi/)?(10\.\d{4,9}/\S+)"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_PERSISTENT_ID = re.compile(
    r"\?(?:[^#]*&)?persistentid=(?:doi:|https?://doi\.org/)(10\.\d{4,9}/[^&#]+)"
)
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


def matches(identities: Iterable[str], patterns: Iterable[str]) -> bool:
    """Say whether a repository is meant by one of the patterns.

    A pattern is an address as anybody writes it, with ``*`` for any text and ``?`` for one
    character of a name: ``github.com/org/*``. It means all that lies below it too:
    ``github.com/org`` is every repository of ``org``.
    """
    names = [canonical(identity) for identity in identities]
    return any(
        compiled(pattern).fullmatch(name)
        for pattern in map(canonical_pattern, patterns)
        for name in names
    )


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
