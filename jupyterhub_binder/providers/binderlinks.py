"""Links of a BinderHub, such as mybinder.org's and ours: ``/v2/<provider>/<spec>?urlpath=...``.

Pure. Their spec is BinderHub's own; of what their query asks for, the file to open is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlencode

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link
from jupyterhub_binder.providers.base import RepoProvider

_BADGE = re.compile(r"\[!\[[^\]]*\]\([^()\s]*\)\]\((\S+)\)")
_V2 = re.compile(
    r"https?://[^?#]+?/v2/(gh|gl|gist|git|zenodo|figshare|hydroshare|dataverse|ckan)/"
    r"([^?#]+)(?:\?([^#]*))?(?:#.*)?"
)
_FILE = re.compile(r"/?(?:(?:lab|doc)(?:/workspaces/[^/]+)?/tree|tree|notebooks|edit)/(.+)")


def unwrap_badge(text: str) -> str:
    """Return the link behind a badge's Markdown; any other text as it is."""
    found = _BADGE.fullmatch(text)
    return found[1] if found else text


def format_binder_link(provider: RepoProvider, link: Link) -> str:
    """Return what `parse_binder_link` reads, below a BinderHub's address: ``v2/gh/org/name/main``."""
    query = f"?{urlencode({'labpath': link.path}, safe='/')}" if link.path else ""
    return f"v2/{provider.prefix}/{provider.format_spec(link.spec)}{query}"


def parse_binder_link(url: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Read the link of any BinderHub; None for what is none.

    Raises NotUnderstood where it is one, of a provider that this hub has not, or of no spec.
    """
    found = _V2.fullmatch(url)
    if found is None:
        return None
    prefix, spec = found[1], found[2].rstrip("/")
    if prefix not in known:
        raise NotUnderstood(
            f"That Binder link is of the provider {prefix!r}; this hub has {', '.join(known)}."
        )
    link = Link(known[prefix].parse_spec(spec))
    return replace(link, path=_path_to_open(parse_qs(found[3] or "")))


def _path_to_open(query: Mapping[str, list[str]]) -> str:
    """Return the file of the repository that a link opens; empty for its root."""
    path = next((query[name][0] for name in ("labpath", "filepath") if name in query), None)
    if path is None:
        found = _FILE.fullmatch(unquote(query.get("urlpath", [""])[0]).partition("?")[0])
        path = found[1] if found else ""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if ".." in segments or ".git" in segments or not path.isprintable():
        raise NotUnderstood("That Binder link opens no file of its repository.")
    return "/".join(segments)
