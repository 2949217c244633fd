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
from urllib.parse import parse_qs, unquote, urlencode

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.places import take_apart, to_url
from jupyterhub_binder.remotes import check_ref

Query: TypeAlias = Mapping[str, Sequence[str]]

_V2 = re.compile(
    r"https?://[^?#]+?/v2/(gh|gl|gist|git|zenodo|figshare|hydroshare|dataverse|ckan)/"
    r"([^?#]+)(?:\?([^#]*))?(?:#.*)?"
)
_FILE = re.compile(r"/?(?:(?:lab|doc)(?:/workspaces/[^/]+)?/tree|tree|notebooks|edit)/(.+)")
_GIT_PULL = re.compile(r"/?git-pull(?:\?(.*))?")
_NO_APP = frozenset({"", "lab"})
"""What a server opens anyway."""
_MOST_FIELDS = 50
_MOST_APP = 500


def format_binder_link(provider: RepoProvider, link: Link) -> str:
    """Return what `parse_binder_link` reads, below a BinderHub's address: ``v2/gh/org/name/main``."""
    query = f"?{urlencode(_query(link), safe='/')}" if _query(link) else ""
    return f"v2/{provider.prefix}/{provider.format_spec(link.spec)}{query}"


def _query(link: Link) -> dict[str, str]:
    if link.content_url:
        return {"urlpath": f"git-pull?{urlencode(_pull_query(link), safe='/')}"}
    if link.app:
        return {"urlpath": link.app}
    return {"labpath": link.path} if link.path else {}


def _pull_query(link: Link) -> dict[str, str]:
    folder = folder_of(link.content_url)
    opened = link.app or (f"lab/tree/{folder}/{link.path}" if link.path else "")
    query = {"repo": link.content_url, "branch": link.content_ref, "urlpath": opened}
    return {name: text for name, text in query.items() if text}


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
    return _open(Link(known[prefix].parse_spec(spec)), read_query(found[3] or ""))


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
    path, app = read_urlpath(unquote(urlpath) if _FILE.match(unquote(urlpath)) else urlpath)
    return replace(link, path=path, app=app)


def _pull(link: Link, query: Query) -> Link:
    repo = next(iter(query.get("repo", ())), "")
    if not repo:
        raise NotUnderstood("That link pulls from a repository, and does not say which.")
    url = take_apart(to_url(repo)).url
    ref = next(iter(query.get("branch", ())), "")
    path, app = read_pull_path(url, query)
    return replace(
        link, path=path, app=app, content_url=url, content_ref=check_ref(ref) if ref else ""
    )


def read_pull_path(repo: str, query: Query) -> tuple[str, str]:
    """Return the file of the pulled repository that an nbgitpuller link opens, or the application.

    Its paths begin with the folder that the repository is pulled into.
    """
    urlpath = next(iter(query.get("urlpath", ())), "")
    path, app = read_urlpath(urlpath)
    if not urlpath and "subPath" in query:
        return clean_path(query["subPath"][0]), ""
    target = next(iter((*query.get("targetPath", ()), *query.get("targetpath", ()))), "")
    folder = clean_path(target) or folder_of(repo)
    inside = path.startswith(f"{folder}/")
    return (path.removeprefix(f"{folder}/") if inside else ""), app


def folder_of(repo: str) -> str:
    """Return the folder that nbgitpuller pulls a repository into, by its URL."""
    return repo.rstrip("/").rpartition("/")[2].removesuffix(".git")


def read_urlpath(urlpath: str) -> tuple[str, str]:
    """Return the file that an address below a server opens, or else the application.

    Raises NotUnderstood for one that leads out of the server.
    """
    if found := _FILE.fullmatch(urlpath.partition("?")[0].partition("#")[0]):
        return clean_path(found[1]), ""
    app = urlpath.strip("/")
    bare = re.split(r"[?#]", app, maxsplit=1)[0]
    if bare.rstrip("/") in _NO_APP:
        return "", ""
    printable = re.fullmatch(r"[^\s\\]+", app) and app.isprintable() and len(app) <= _MOST_APP
    # Whatever is in front of the server may take an escaped slash for a slash.
    texts = (urlpath.partition("?")[0], unquote(urlpath.partition("?")[0]))
    if not printable or any(map(_leads_out, texts)):
        raise NotUnderstood("That link opens an address that is none of the server's.")
    return "", app


def _leads_out(address: str) -> bool:
    """Say whether an address below a server might be read as one elsewhere."""
    return (
        "//" in address
        or "\\" in address
        or not address.isprintable()
        or re.match(r"/*[A-Za-z][A-Za-z0-9+.-]*:", address) is not None
        or ".." in address.split("/")
    )


def clean_path(path: str) -> str:
    """Return a path inside of a repository. Raises NotUnderstood for one that leads out."""
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    if ".." in segments or ".git" in segments or "\\" in path or not path.isprintable():
        raise NotUnderstood("That Binder link opens no file of its repository.")
    return "/".join(segments)
