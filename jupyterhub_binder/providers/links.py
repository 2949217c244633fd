"""What a pasted text means: from anything a person copies to a link.

Pure. Owns in which order it is tried what a text may be, and what refs and paths of all hosts
have in common; what the paths of one host mean is that provider's `parse_url`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.inputs import MOST_ADDRESS_CHARACTERS
from jupyterhub_binder.model import Link, Spec
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.binderlinks import parse_binder_link
from jupyterhub_binder.providers.hublinks import parse_hub_link
from jupyterhub_binder.providers.identity import matches
from jupyterhub_binder.providers.places import take_apart, to_url
from jupyterhub_binder.providers.records import read_doi
from jupyterhub_binder.providers.wrappings import unwrap_badge, unwrap_viewer
from jupyterhub_binder.remotes import SHA, check_ref

_MOST_WRAPPINGS = 4

_BARE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}")


def understand(text: str, providers: Iterable[RepoProvider]) -> Link:
    """Return what a pasted text means; the first provider that knows it decides.

    Raises NotUnderstood.
    """
    known = {provider.prefix: provider for provider in providers}
    return _understand(text, known, _MOST_WRAPPINGS)


def _understand(text: str, known: Mapping[str, RepoProvider], wrappings: int) -> Link:
    if wrappings == 0:
        raise NotUnderstood("That link leads to links without an end.")
    text = _bared(text)
    if (link := _read_spec(text, known) or _read_doi(text, known)) is not None:
        return link
    url = unwrap_viewer(to_url(text))
    take_apart(url)  # what is no address is refused whoever's it would be
    if (link := _read_around(url, known, wrappings)) is not None:
        return link
    for provider in sorted(known.values(), key=lambda each: each.takes_any_host):
        if (link := provider.parse_url(url)) is not None:
            return link
    raise NotUnderstood("This hub does not know that kind of host.")


def _bared(text: str) -> str:
    """Take away what clings to a copied link: blanks, brackets, quotes, badges, ``git clone``."""
    if len(text) > MOST_ADDRESS_CHARACTERS:
        raise NotUnderstood("That is too long for a link.")
    text = unwrap_badge(text.strip()).strip().strip("<>\"'`").strip()
    if re.match(r"git\s+clone\s", text):
        text = next((word for word in text.split()[2:] if "/" in word), "")
    if not text:
        raise NotUnderstood("Paste the link of a repository, such as https://github.com/org/name.")
    return text


def _read_spec(text: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Read BinderHub's ``<prefix>/<spec>``, or a repository of GitHub by its name."""
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
    """Read a DOI. Where its form does not say whose it is, that shows when it is asked for."""
    doi = read_doi(text)
    if doi is None:
        return None
    for provider in known.values():
        if (spec := provider.parse_doi(doi)) is not None:
            return Link(spec)
    for provider in known.values():
        if provider.takes_any_doi:
            return Link(provider.parse_spec(doi))
    raise NotUnderstood("That DOI is of no kind of archive that this hub takes.")


def _read_around(url: str, known: Mapping[str, RepoProvider], wrappings: int) -> Link | None:
    """Read a link of a BinderHub or a hub, on any host that is not one of repositories."""
    owned = [host for provider in known.values() for host in provider.owned_hosts()]
    if matches([url], owned):
        return None
    link = parse_binder_link(url, known)
    if link is not None:
        return link
    return parse_hub_link(url, known, lambda text: _understand(text, known, wrappings - 1))


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
    if not rest or SHA.fullmatch(first):
        return Link(Spec(spec.provider, spec.repo, check_ref(first)), check_path(rest))
    whole = "/".join(tail)
    readings = candidates(Link(spec, tail=whole))
    shortest = readings[-1] if readings else Link(replace(spec, ref=check_ref(first)))  # raises
    check_path(shortest.path.split("/"))
    return replace(shortest, tail=whole)


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
