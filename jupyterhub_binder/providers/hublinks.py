"""Links that are copied from a JupyterHub: nbgitpuller's, and those of this service's own pages.

Pure. What such a link names in the end is given back to `links` to understand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.binderlinks import Query, read_pull_path, read_query

_HUB_PAGE = re.compile(
    r"(?:/[^/]+)*?/hub/(?:login|oauth_login|spawn|spawn-pending|logout|home)\b.*"
)
_SERVICE_NEW = re.compile(r"(?:/[^/]+)*?/services/[^/]+/new/?")
_SERVICE_PAGE = re.compile(
    r"(?:/[^/]+)*?/services/[^/]+/(environments|builds|launch)/([a-z0-9]{10})/?"
)
_SERVER = re.compile(r"(?:/[^/]+)*?/(?:user/[^/]+|hub/user-redirect)/.*")


def parse_hub_link(
    url: str, known: Mapping[str, RepoProvider], understand: Callable[[str], Link]
) -> Link | None:
    """Read a link of a hub; None for what is none. `understand` reads what is in it.

    Raises NotUnderstood for one that leads into a hub and names no repository.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    query = read_query(parts.query)
    if parts.path.endswith("/git-pull") and "repo" in query:
        return _pulled(query, known, understand)
    if _SERVICE_NEW.fullmatch(parts.path) and "url" in query:
        return _at_ref(understand(query["url"][0]), query.get("ref", [""])[0], known)
    if _HUB_PAGE.fullmatch(parts.path) and "next" in query:
        return understand(urljoin(f"{parts.scheme}://{parts.netloc}/", query["next"][0]))
    if found := _SERVICE_PAGE.fullmatch(parts.path):
        raise NotUnderstood(
            "That is the address of a page here, not of a repository: open it in the browser.",
            code="page_of_this_service",
            detail={"page": found[1], "id": found[2]},
        )
    if _HUB_PAGE.fullmatch(parts.path) or _SERVER.fullmatch(parts.path):
        raise NotUnderstood(
            "That link leads into a server of a hub: it names no repository. Paste the address "
            "of the repository that its files are from."
        )
    return None


def _pulled(
    query: Query, known: Mapping[str, RepoProvider], understand: Callable[[str], Link]
) -> Link:
    """Return the link of the repository that is pulled: it is the environment's too."""
    repo, ref = query["repo"][0], query.get("branch", [""])[0]
    link = _at_ref(understand(repo), ref, known)
    return replace(link, path=read_pull_path(repo, query))


def _at_ref(link: Link, ref: str, known: Mapping[str, RepoProvider]) -> Link:
    if not ref:
        return link
    provider = known[link.spec.provider]
    if not provider.takes_ref:
        return link
    return replace(
        link, spec=provider.parse_spec(provider.format_spec(replace(link.spec, ref=ref))), tail=""
    )
