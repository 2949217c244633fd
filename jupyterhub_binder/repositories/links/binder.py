"""BinderHub links: ``/v2/<provider>/<spec>?urlpath=...``. Pure.

An nbgitpuller link in ``urlpath`` brings another repository's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlencode

from jupyterhub_binder.errors import InvalidInput, NotUnderstood
from jupyterhub_binder.model import Link
from jupyterhub_binder.repositories.links.address import take_apart, to_url
from jupyterhub_binder.repositories.providers.base import RepoProvider
from jupyterhub_binder.repositories.urls import check_ref
from jupyterhub_binder.utils.validation import clean_address, split_address

Query: TypeAlias = Mapping[str, Sequence[str]]

_V2 = re.compile(
    r"https?://[^?#]+?/v2/(gh|gl|gist|git|zenodo|figshare|hydroshare|dataverse|ckan"
    r"|docker)/"
    r"([^?#]+)(?:\?([^#]*))?(?:#.*)?"
)
_SURE = re.compile(
    r"https?://(?:(?:[^/?#]+\.)?mybinder\.org|[^?#]+?/services/[^/?#]+)/v2/([^/?#]+)"
)
"""Only BinderHub has these; other ``v2`` may be Git groups."""
_FILE = re.compile(r"/?(?:(?:lab|doc)(?:/workspaces/[^/]+)?/tree|tree|notebooks|edit)/(.+)")
_GIT_PULL = re.compile(r"/?git-pull(?:\?(.*))?")
_NO_APP = frozenset({"", "lab"})
"""Every server opens these."""
_MAX_FIELDS = 50
_MAX_SHOWN = 40


def format_binder_link(provider: RepoProvider, link: Link) -> str:
    """Return the path that `parse_binder_link` reads."""
    query = f"?{urlencode(_query(link), safe='/')}" if _query(link) else ""
    return f"v2/{provider.prefix}/{provider.format_spec(link.spec)}{query}"


def _query(link: Link) -> dict[str, str]:
    if link.content_url:
        return {"urlpath": f"git-pull?{urlencode(_pull_query(link), safe='/')}"}
    if link.path.startswith("/"):
        return {"urlpath": link.path.removeprefix("/")}
    return {"labpath": link.path} if link.path else {}


def _pull_query(link: Link) -> dict[str, str]:
    folder, opened = folder_of(link.content_url), link.path
    if opened.startswith("/"):
        before, file, after = split_address(opened)
        opened = f"{before}{f'{quote(folder)}/{file}' if file else ''}{after}".removeprefix("/")
    elif opened:
        opened = f"lab/tree/{quote(f'{folder}/{opened}')}"
    query = {"repo": link.content_url, "branch": link.content_ref, "urlpath": opened}
    return {name: text for name, text in query.items() if text}


def parse_binder_link(url: str, known: Mapping[str, RepoProvider]) -> Link | None:
    """Parse a BinderHub link, or return None. Raises NotUnderstood."""
    found = _V2.fullmatch(url)
    if found is None:
        if sure := _SURE.match(url):
            raise _refuse(sure[1], known)
        return None
    prefix, spec = found[1], found[2].rstrip("/")
    if prefix not in known:
        raise _refuse(prefix, known)
    return _open(Link(known[prefix].parse_spec(spec)), read_query(found[3] or ""))


def _refuse(prefix: str, known: Mapping[str, RepoProvider]) -> NotUnderstood:
    if prefix in known:
        return NotUnderstood("That Binder link has no repository after %(prefix)s/.", prefix=prefix)
    shown = unquote(prefix)[:_MAX_SHOWN]
    return NotUnderstood(
        "That Binder link is for the provider %(prefix)s, which this hub does not have. It has "
        "%(known)s.",
        prefix=shown,
        known=", ".join(known),
    )


def read_query(text: str) -> Query:
    """Parse a query. Raises NotUnderstood if too long."""
    try:
        return parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise NotUnderstood("That link has too many parameters.") from None


def _open(link: Link, query: Query) -> Link:
    for name in ("labpath", "filepath"):
        if name in query:
            return replace(link, path=clean_path(query[name][0]))
    urlpath, *more = query.get("urlpath", [""])
    if found := _GIT_PULL.fullmatch(urlpath):
        # Without escaping, the inner link's fields are part of the outer link.
        inner = {**query, "urlpath": more, **read_query(found[1] or "")}
        return _pull(link, inner)
    plain = unquote(urlpath)
    twice = _FILE.match(plain) and not _FILE.match(urlpath)
    return replace(link, path=read_urlpath(plain if twice else urlpath))


def _pull(link: Link, query: Query) -> Link:
    repo = next(iter(query.get("repo", ())), "")
    if not repo:
        raise NotUnderstood("That nbgitpuller link does not say which repository to pull.")
    url = take_apart(to_url(repo)).url
    ref = next(iter(query.get("branch", ())), "")
    return replace(
        link,
        path=read_pull_path(url, query),
        content_url=url,
        content_ref=check_ref(ref) if ref else "",
    )


def read_pull_path(repo: str, query: Query) -> str:
    """Return the path that an nbgitpuller link opens, without its folder."""
    urlpath = next(iter(query.get("urlpath", ())), "")
    if not urlpath and "subPath" in query:
        return clean_path(query["subPath"][0])
    target = next(iter((*query.get("targetPath", ()), *query.get("targetpath", ()))), "")
    folder = clean_path(target) or folder_of(repo)
    path = read_urlpath(urlpath)
    if path.startswith("/"):
        before, file, after = split_address(path)
        return f"{before}{file.removeprefix(f'{quote(folder)}/')}{after}"
    return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else ""


def folder_of(repo: str) -> str:
    """Return nbgitpuller's folder for a repository."""
    return repo.rstrip("/").rpartition("/")[2].removesuffix(".git")


def read_urlpath(urlpath: str) -> str:
    """Return the file, else the path. Raises NotUnderstood."""
    bare = re.split(r"[?#]", urlpath, maxsplit=1)[0]
    if found := _FILE.fullmatch(bare):
        return clean_path(unquote(found[1]))
    if bare.strip("/") in _NO_APP and not bare.startswith("//"):
        return ""
    try:
        return clean_address(f"/{urlpath.removeprefix('/')}")
    except InvalidInput:
        raise NotUnderstood("That link opens an address that is not on the server.") from None


def clean_path(path: str) -> str:
    """Return a path inside a repository. Raises NotUnderstood."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if ".." in segments or ".git" in segments or "\\" in path or not path.isprintable():
        raise NotUnderstood("That Binder link opens a path that is not inside its repository.")
    return "/".join(segments)
