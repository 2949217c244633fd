"""Reads .gitmodules: which folders are submodules, and where they come from. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

MAX_SUBMODULES = 50

_SECTION = re.compile(r'\[\s*submodule\s+"(?:[^"\\]|\\.)*+"\s*\]\s*', re.IGNORECASE)
_ENTRY = re.compile(r"(path|url)[ \t]*=[ \t]*(.*)", re.IGNORECASE)
_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+):(?!/)(.+)")
_OVER_HTTPS = ("ssh", "git", "git+ssh")


@dataclass(frozen=True, slots=True)
class Submodule:
    """One submodule, as written."""

    path: str
    url: str


def read_submodules(text: str) -> tuple[Submodule, ...]:
    """Return the submodules of a .gitmodules, up to a limit.

    Unknown lines are skipped: what is not found here is not fetched, and said to be left out.
    """
    found: list[Submodule] = []
    known: dict[str, str] = {}
    for line in [*map(str.strip, text.splitlines()), "["]:
        if line.startswith("["):
            path = known.get("path", "").rstrip("/")
            if path and len(found) < MAX_SUBMODULES:
                found.append(Submodule(path, known.get("url", "")))
            known = {}
            line = line[header.end() :] if (header := _SECTION.match(line)) else ""
        if entry := _ENTRY.fullmatch(line):
            known[entry[1].lower()] = entry[2].strip().strip('"')
    return tuple(found)


def url_of_submodule(url: str, parent: str) -> str:
    """Return a submodule's URL over https; a relative one begins at its parent's.

    A URL that is fetched with a key, such as ``git@host:owner/name``, becomes its host's for https.
    What is no URL stays as it is written.
    """
    try:
        return _over_https(url, parent)
    except ValueError:
        return url


def _over_https(url: str, parent: str) -> str:
    if url.startswith(("./", "../")):
        parts = urlsplit(parent.rstrip("/"))
        path = posixpath.normpath(f"{parts.path}/{url}")
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    if "://" not in url and (found := _SCP.fullmatch(url)):
        return f"https://{found[1]}/{found[2]}"
    parts = urlsplit(url)
    if parts.scheme in _OVER_HTTPS:
        return f"https://{parts.hostname or ''}{parts.path}"
    return url
