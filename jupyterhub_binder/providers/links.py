"""What a pasted text means: from anything a person copies to a link.

Pure. Owns what all kinds of hosts have in common; what the paths of one host mean is that
provider's `parse_url`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.git import SHA, check_ref, parse_remote
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.binderlinks import parse_binder_link, unwrap_badge

MOST_CHARACTERS = 2000

_BARE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+\.[A-Za-z0-9-]+):(?!//)/?([^\s:]+)")
_SSH = re.compile(r"(?:git\+)?(?:ssh|git)://(?:[A-Za-z0-9._-]+@)?([^/@:]+)(?::\d+)?/(.+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def understand(text: str, providers: Iterable[RepoProvider]) -> Link:
    """Return what a pasted text means; the first provider that knows it decides.

    Raises NotUnderstood.
    """
    known = {provider.prefix: provider for provider in providers}
    text = unwrap_badge(_bared(text))
    prefix, _, rest = text.partition("/")
    if prefix in known and "/" in rest:
        return Link(known[prefix].parse_spec(rest))
    if "gh" in known and _BARE.fullmatch(text):
        return Link(known["gh"].parse_spec(text))
    url = to_url(text)
    if (link := parse_binder_link(url, known)) is not None:
        return link
    for provider in known.values():
        if (link := provider.parse_url(url)) is not None:
            return link
    raise NotUnderstood("This hub does not know that kind of host.")


def _bared(text: str) -> str:
    """Take away what clings to a copied link: blanks, brackets, quotes, ``git clone``."""
    if len(text) > MOST_CHARACTERS:
        raise NotUnderstood("That is too long for a link.")
    text = text.strip().strip("<>\"'`").strip()
    if re.match(r"git\s+clone\s", text):
        text = next((word for word in text.split()[2:] if "/" in word), "")
    if not text:
        raise NotUnderstood("Paste the link of a repository, such as https://github.com/org/name.")
    return text


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


def link_at(spec: Spec, tail: Sequence[str]) -> Link:
    """Return the link of a repository and the segments that name a ref, then a path.

    How many of them are the ref is left open (`Link.tail`) where it cannot be known.
    """
    tail = [part for segment in tail for part in segment.split("/") if part]
    if len(tail) > 2 and tail[0] == "refs" and tail[1] in ("heads", "tags"):
        tail = tail[2:]
    if not tail:
        return Link(spec)
    first, *rest = tail
    path = check_path(rest)
    settled = not rest or SHA.fullmatch(first)
    return Link(
        Spec(spec.provider, spec.repo, check_ref(first)), path, "" if settled else "/".join(tail)
    )


def check_path(segments: Sequence[str]) -> str:
    """Return a path inside of a repository. Raises NotUnderstood for one that leads out."""
    path = "/".join(segments)
    if any(segment in (".", "..", ".git") for segment in segments) or not path.isprintable():
        raise NotUnderstood("That link names no file of the repository.")
    return path


def candidates(link: Link) -> list[Link]:
    """Return every reading of an open link, the longest ref first."""
    parts = link.tail.split("/")
    readings = []
    for count in range(min(len(parts), 20), 0, -1):
        try:
            ref = check_ref("/".join(parts[:count]))
        except NotUnderstood:
            continue
        spec = Spec(link.spec.provider, link.spec.repo, ref)
        readings.append(Link(spec, "/".join(parts[count:])))
    return readings
