"""Turns pasted text into a link, trying all forms in order. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.repositories.identity import matches
from jupyterhub_binder.repositories.links.address import take_apart, to_url
from jupyterhub_binder.repositories.links.binder import parse_binder_link
from jupyterhub_binder.repositories.links.hub import parse_hub_link
from jupyterhub_binder.repositories.links.unwrap import unwrap_badge, unwrap_viewer
from jupyterhub_binder.repositories.providers.base import RepoProvider
from jupyterhub_binder.repositories.providers.records import read_doi
from jupyterhub_binder.repositories.urls import SHA, check_ref
from jupyterhub_binder.utils.validation import MAX_ADDRESS_CHARACTERS

_MAX_WRAPPINGS = 4

_TAKES_VALUE = re.compile(
    r"-[bocju]|--(?:branch|revision|origin|config|jobs|upload-pack|depth|filter|reference"
    r"|reference-if-able|separate-git-dir|server-option|shallow-since|shallow-exclude|template"
    r"|bundle-uri|ref-format)"
)
"""Options of ``git clone`` whose value is the next word."""
_BARE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")


def understand(text: str, providers: Iterable[RepoProvider]) -> Link:
    """Let the first provider that recognises the text decide. Raises NotUnderstood."""
    known = {provider.prefix: provider for provider in providers}
    return _understand(text, known, _MAX_WRAPPINGS)


def _understand(text: str, known: Mapping[str, RepoProvider], wrappings: int) -> Link:
    if wrappings == 0:
        raise NotUnderstood(
            "That link contains too many other links. Paste the address of the repository itself."
        )
    text = _bared(text)
    if re.match(r"git\s+clone\s", text):
        return _read_clone(text, known, wrappings)
    if (link := _read_text(text, known)) is not None:
        return link
    url = unwrap_viewer(to_url(text))
    take_apart(url)  # refuse an invalid URL for every provider
    if (link := _read_around(url, known, wrappings)) is not None:
        return link
    for provider in sorted(known.values(), key=lambda each: each.takes_any_host):
        if (link := provider.parse_url(url)) is not None:
            return link
    raise NotUnderstood("This hub does not support repositories on that host.")


def _bared(text: str) -> str:
    """Strip blanks, brackets, quotes and badges."""
    if len(text) > MAX_ADDRESS_CHARACTERS:
        raise NotUnderstood("That link is too long.")
    text = unwrap_badge(text.strip()).strip().strip("<>\"'`").strip()
    if not text:
        raise _nothing()
    return text


def _nothing() -> NotUnderstood:
    return NotUnderstood("Paste the link of a repository, such as https://github.com/owner/name.")


def _read_clone(text: str, known: Mapping[str, RepoProvider], wrappings: int) -> Link:
    """Read ``git clone``, with its branch."""
    address = ref = ""
    words = iter(word.strip("\"'") for word in text.split()[2:])
    for word in words:
        option, _, value = word.partition("=")
        if _TAKES_VALUE.fullmatch(word):
            value = next(words, "")
        elif word.startswith("-b"):
            option, value = "-b", word[2:]
        elif not word.startswith("-"):
            address = address or word
        if option in ("-b", "--branch", "--revision"):
            ref = value
    if not address:
        raise _nothing()
    return at_ref(_understand(address, known, wrappings - 1), ref, known)


def at_ref(link: Link, ref: str, known: Mapping[str, RepoProvider]) -> Link:
    """Return the link at a ref, if there is one and its provider has refs."""
    provider = known[link.spec.provider]
    if not ref or not provider.takes_ref:
        return link
    spec = provider.parse_spec(provider.format_spec(replace(link.spec, ref=ref)))
    return replace(link, spec=spec, tail="")


def _read_text(text: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Read what is no URL."""
    for provider in known.values():
        if (link := provider.parse_text(text)) is not None:
            return link
    return _read_spec(text, known) or _read_doi(text, known)


def _read_spec(text: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Read ``<prefix>/<spec>``, or ``owner/name`` on GitHub."""
    prefix, _, rest = text.partition("/")
    if prefix in known and ("/" in rest or not known[prefix].takes_ref):
        try:
            return Link(known[prefix].parse_spec(rest))
        except NotUnderstood:
            if "/" in rest:
                raise
    if "gh" in known and _BARE.fullmatch(text):
        return Link(known["gh"].parse_spec(text))
    return None


def _read_doi(text: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Read a DOI, even of an unknown archive."""
    doi = read_doi(text)
    if doi is None:
        return None
    for provider in known.values():
        if (spec := provider.parse_doi(doi)) is not None:
            return Link(spec)
    for provider in known.values():
        if provider.takes_any_doi:
            return Link(provider.parse_spec(doi))
    raise NotUnderstood("This hub does not support the archive of that DOI.")


def _read_around(url: str, known: Mapping[str, RepoProvider], wrappings: int) -> Link | None:
    """Read a link of any other BinderHub or hub."""
    owned = [host for provider in known.values() for host in provider.owned_hosts()]
    if matches([url], owned):
        return None
    link = parse_binder_link(url, known)
    if link is not None:
        return link

    def understand_inner(text: str, ref: str = "") -> Link:
        return at_ref(_understand(text, known, wrappings - 1), ref, known)

    return parse_hub_link(url, understand_inner)


def link_at(spec: Spec, tail: Sequence[str]) -> Link:
    """Return the link for segments with a ref, then a path.

    If the ref's length is unknown, they stay in `Link.tail`.
    """
    tail = [part for segment in tail for part in segment.split("/") if part]
    if len(tail) > 2 and tail[0] == "refs" and tail[1] in ("heads", "tags"):
        tail = tail[2:]
    if not tail:
        return Link(spec)
    first, *rest = tail
    if not rest or SHA.fullmatch(first):
        return Link(Spec(spec.provider, spec.repo, check_ref(first)), check_path(rest))
    whole = "/".join(tail)
    readings = candidates(Link(spec, tail=whole))
    shortest = readings[-1] if readings else Link(replace(spec, ref=check_ref(first)))  # raises
    check_path(shortest.path.split("/"))
    return replace(shortest, tail=whole)


def check_path(segments: Sequence[str]) -> str:
    """Return a path inside a repository. Raises NotUnderstood."""
    path = "/".join(segments)
    if any(segment in (".", "..", ".git") for segment in segments) or not path.isprintable():
        raise NotUnderstood("That link names a path that is not inside the repository.")
    return path


def candidates(link: Link) -> list[Link]:
    """Return every reading of an open link, longest ref first."""
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
