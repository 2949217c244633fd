"""Links of a BinderHub, such as mybinder.org's and ours: ``/v2/<provider>/<spec>?urlpath=...``.

Pure. Their spec is BinderHub's own; their query says what opens, and of which repository: an
nbgitpuller link in ``urlpath`` brings the files of another one. `hublinks` reads such links
where they stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlencode

from jupyterhub_binder.errors import InvalidInput, NotUnderstood
from jupyterhub_binder.inputs import clean_address, split_address
from jupyterhub_binder.model import Link
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.places import take_apart, to_url
from jupyterhub_binder.remotes import check_ref

Query: TypeAlias = Mapping[str, Sequence[str]]

_V2 = re.compile(
    r"https?://[^?#]+?/v2/(gh|gl|gist|git|zenodo|figshare|hydroshare|dataverse|ckan)/"
    r"([^?#]+)(?:\?([^#]*))?(?:#.*)?"
)
_SURE = re.compile(
    r"https?://(?:(?:[^/?#]+\.)?mybinder\.org|[^?#]+?/services/[^/?#]+)/v2/([^/?#]+)"
)
"""What is a BinderHub's whatever comes next: elsewhere ``v2`` may be a group of a git server."""
_FILE = re.compile(r"/?(?:(?:lab|doc)(?:/workspaces/[^/]+)?/tree|tree|notebooks|edit)/(.+)")
_GIT_PULL = re.compile(r"/?git-pull(?:\?(.*))?")
_NO_APP = frozenset({"", "lab"})
"""What a server opens anyway."""
_MOST_FIELDS = 50
_MOST_SHOWN = 40


def format_binder_link(provider: RepoProvider, link: Link) -> str:
    """Return what `parse_binder_link` reads, below a BinderHub's address: ``v2/gh/org/name/main``."""
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
    """Read the link of any BinderHub; None for what is none.

    Raises NotUnderstood where it is one, of a provider that this hub has not, or of no spec.
    """
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
        return NotUnderstood(f"That Binder link names no repository after {prefix}/.")
    shown = unquote(prefix)[:_MOST_SHOWN]
    return NotUnderstood(
        f"That Binder link is of a provider called {shown}, and this hub has none. "
        f"It has {', '.join(known)}."
    )


def read_query(text: str) -> Query:
    """Return the fields of a query. Raises NotUnderstood for one that is too long."""
    try:
        return parse_qs(text, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise NotUnderstood("That link asks for too many things at once.") from None


def _open(link: Link, query: Query) -> Link:
    """Return a link with what its query wants opened, and from where."""
    for name in ("labpath", "filepath"):
        if name in query:
            return replace(link, path=clean_path(query[name][0]))
    urlpath, *more = query.get("urlpath", [""])
    if found := _GIT_PULL.fullmatch(urlpath):
        # Where nobody escaped it, its fields have become the link's own.
        inner = {**query, "urlpath": more, **read_query(found[1] or "")}
        return _pull(link, inner)
    plain = unquote(urlpath)
    twice = _FILE.match(plain) and not _FILE.match(urlpath)
    return replace(link, path=read_urlpath(plain if twice else urlpath))


def _pull(link: Link, query: Query) -> Link:
    repo = next(iter(query.get("repo", ())), "")
    if not repo:
        raise NotUnderstood("That link pulls from a repository, and does not say which.")
    url = take_apart(to_url(repo)).url
    ref = next(iter(query.get("branch", ())), "")
    return replace(
        link,
        path=read_pull_path(url, query),
        content_url=url,
        content_ref=check_ref(ref) if ref else "",
    )


def read_pull_path(repo: str, query: Query) -> str:
    """Return the file of the pulled repository that an nbgitpuller link opens, or the address.

    Its paths begin with the folder that the repository is pulled into.
    """
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
    """Return the folder that nbgitpuller pulls a repository into, by its URL."""
    return repo.rstrip("/").rpartition("/")[2].removesuffix(".git")


def read_urlpath(urlpath: str) -> str:
    """Return what an address below a server opens: a file of the repository, else the address.

    Raises NotUnderstood for one that leads out of the server.
    """
    bare = re.split(r"[?#]", urlpath, maxsplit=1)[0]
    if found := _FILE.fullmatch(bare):
        return clean_path(unquote(found[1]))
    if bare.strip("/") in _NO_APP and not bare.startswith("//"):
        return ""
    try:
        return clean_address(f"/{urlpath.removeprefix('/')}")
    except InvalidInput:
        raise NotUnderstood("That link opens an address that is none of the server's.") from None


def clean_path(path: str) -> str:
    """Return a path inside of a repository. Raises NotUnderstood for one that leads out."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if ".." in segments or ".git" in segments or "\\" in path or not path.isprintable():
        raise NotUnderstood("That Binder link opens no file of its repository.")
    return "/".join(segments)
