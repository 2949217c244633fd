"""Splits copied URLs into their parts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.repositories.urls import parse_remote

_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+):(?!//)/?([^\s:]+)")
_SSH = re.compile(r"(?:git\+)?(?:ssh|git)://(?:[A-Za-z0-9._-]+@)?([^/@:]+)(?::\d+)?/(.+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def to_url(text: str) -> str:
    """Add a scheme; ssh becomes https. Raises NotUnderstood."""
    text = re.sub(r"^git\+(?=https?://)", "", text)
    if found := _SSH.fullmatch(text) or (None if _SCHEME.match(text) else _SCP.fullmatch(text)):
        return f"https://{found[1]}/{found[2]}"
    if _SCHEME.match(text):
        return text
    if "." in text.partition("/")[0] and "/" in text:
        return f"https://{text}"
    raise NotUnderstood(
        "That is not a link to a repository. Paste an address from your browser, such as "
        "https://github.com/owner/name, or write owner/name for a repository on GitHub."
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A browser URL with a decoded path, without query."""

    url: str
    """Without a trailing slash."""
    host: str
    """With a port unless it is the default."""
    segments: tuple[str, ...]


def take_apart(url: str) -> Place:
    """Parse a URL. Raises NotUnderstood, also if it contains a name or password."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/")
    remote = str(parse_remote(bare))
    parts = urlsplit(remote)
    segments = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
    return Place(remote, parts.netloc, segments)
