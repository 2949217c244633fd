"""Addresses as people copy them, taken apart; pure, and below all that reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.remotes import parse_remote

_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+):(?!//)/?([^\s:]+)")
_SSH = re.compile(r"(?:git\+)?(?:ssh|git)://(?:[A-Za-z0-9._-]+@)?([^/@:]+)(?::\d+)?/(.+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def to_url(text: str) -> str:
    """Return a pasted text as a URL with a scheme; what git writes for ssh becomes https.

    Raises NotUnderstood.
    """
    text = re.sub(r"^git\+(?=https?://)", "", text)
    if found := _SSH.fullmatch(text) or (None if _SCHEME.match(text) else _SCP.fullmatch(text)):
        return f"https://{found[1]}/{found[2]}"
    if _SCHEME.match(text):
        return text
    if "." in text.partition("/")[0] and "/" in text:
        return f"https://{text}"
    raise NotUnderstood(
        "That is no link to a repository. Paste its address from the browser, "
        "such as https://github.com/org/name, or org/name for one on GitHub."
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A browser's URL, taken apart: query and fragment gone, the path decoded."""

    url: str
    """Its one spelling as far as the path, without a slash at the end."""
    host: str
    """With the port where it is an unusual one."""
    segments: tuple[str, ...]


def take_apart(url: str) -> Place:
    """Read a URL. Raises NotUnderstood for what is none, or carries a name or password."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/")
    remote = str(parse_remote(bare))
    parts = urlsplit(remote)
    segments = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
    return Place(remote, parts.netloc, segments)
