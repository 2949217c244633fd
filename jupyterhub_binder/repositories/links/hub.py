"""Links from a JupyterHub: nbgitpuller's and our own pages'. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link
from jupyterhub_binder.repositories.links.binder import read_pull_path, read_query

_HUB_PAGE = re.compile(
    r"(?:/[^/]+)*?/hub/(?:(?:login|oauth_login|logout|home|spawn)/?"
    r"|spawn(?:-pending)?/[^/]+(?:/[^/]+)?/?)"
)
_SERVICE_NEW = re.compile(r"(?:/[^/]+)*?/services/[^/]+/new/?")
_SERVICE_PAGE = re.compile(
    r"(?:/[^/]+)*?/services/[^/]+/(environments|builds|launch)/([a-z0-9]{10})/?"
)
_SERVER = re.compile(
    r"(?:/[^/]+)*?/(?:user/[^/]+(?:/[^/]+)??|hub/user-redirect)/"
    r"(?:(?:lab|tree|notebooks|edit|doc|files|view|nbconvert|terminals|api|git-pull|voila|rstudio"
    r"|proxy|vscode|desktop|shiny)(?:/.*)?)?"
)
"""Git hosts, too, have users, groups and repositories called ``user`` or ``hub``."""
_GIT_HOST = re.compile(r"(?:[^.]+\.)*?(?:git|gitlab|gitea|forgejo|codeberg)[^.]*\.", re.IGNORECASE)
"""On a host with such a name, ``/user/x/tree/main`` is a page of the repository ``user/x``."""
_REPOSITORY = re.compile(r".*(?:\.git/?|/-/.*)")


def parse_hub_link(url: str, understand: Callable[..., Link]) -> Link | None:
    """Parse a hub link, or return None. Raises NotUnderstood.

    `understand` reads the inner link and takes a ref.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if _REPOSITORY.fullmatch(parts.path):
        return None
    query = read_query(parts.query)
    if parts.path.endswith("/git-pull") and "repo" in query:
        repo, ref = query["repo"][0], query.get("branch", [""])[0]
        return replace(understand(repo, ref), path=read_pull_path(repo, query))
    if _SERVICE_NEW.fullmatch(parts.path) and "url" in query:
        return understand(query["url"][0], query.get("ref", [""])[0])
    if _HUB_PAGE.fullmatch(parts.path) and "next" in query:
        return understand(urljoin(f"{parts.scheme}://{parts.netloc}/", query["next"][0]))
    if found := _SERVICE_PAGE.fullmatch(parts.path):
        raise NotUnderstood(
            "That is a page of this hub, not a repository. Open it in your browser.",
            code="page_of_this_service",
            detail={"page": found[1], "id": found[2]},
        )
    if _HUB_PAGE.fullmatch(parts.path):
        raise _leads_to_server()
    if _SERVER.fullmatch(parts.path) and not _GIT_HOST.match(parts.hostname or ""):
        raise _leads_to_server()
    return None


def _leads_to_server() -> NotUnderstood:
    return NotUnderstood(
        "That link leads to a running server, not to a repository. Paste the address of the "
        "repository that its files come from. For a repository on a Git host, paste its address "
        "without what follows its name."
    )
