"""Repositories on git hosts: GitHub, GitLab, gists, and any git URL.

Owns BinderHub's specs of these four and the paths of their web pages. How git is run and
which hosts may be asked is `Git`'s business.
"""

from __future__ import annotations

import difflib
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from traitlets import Unicode

from jupyterhub_binder.errors import NotUnderstood, UnresolvableRef
from jupyterhub_binder.model import Link, RefKind, Resolved, Spec, describe_ref
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.links import check_path, link_at
from jupyterhub_binder.providers.places import Place, take_apart
from jupyterhub_binder.remotes import SHA, parse_remote, plain_path
from jupyterhub_binder.remotes import check_ref as check_git_ref
from jupyterhub_binder.slugs import safe_name

_SHORT_SHA = re.compile(r"[0-9a-f]{7,39}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_REQUEST = re.compile(
    r"(?:refs/)?(?P<kind>pull|pull-requests|merge[-_]requests)/(?P<number>[1-9][0-9]{0,9})"
    r"(?:/(?P<tip>head|merge|from))?"
)
"""A pull request of GitHub, Gitea or Bitbucket, or a merge request of GitLab."""
_AT_TREE = frozenset({"tree", "blob", "raw", "edit", "blame", "commits", "commit"})
"""Words of GitHub's and GitLab's pages after which a ref and a path follow."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The addresses and names of one repository."""

    clone_url: str
    repo_url: str
    label: str
    name: str


class GitHostProvider(RepoProvider):
    """What all git hosts share: refs are resolved by asking `git ls-remote` once."""

    login_name: ClassVar[str] = "x-access-token"
    """The name that a token goes by."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for host, token in self.tokens.items():
            user, colon, password = token.partition(":")
            self.git.add_credential(
                host, user if colon else self.login_name, password if colon else token
            )

    @abstractmethod
    def locate(self, repo: str) -> Whereabouts:
        """Say where a repository is. Pure."""

    def owned_hosts(self) -> tuple[str, ...]:
        """Return its host, where it has but one."""
        hostname = getattr(self, "hostname", "")
        return (hostname,) if hostname else ()

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Ask the host what the ref is now.

        A full sha is taken at its word: whether the repository has it shows at the fetch.
        Raises UnresolvableRef, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        return await self.fetch_first([spec])

    async def fetch_first(self, specs: Sequence[Spec]) -> Resolved:
        """Ask the host, once, for the first of several specs that exists."""
        where = self.locate(specs[0].repo)
        self.git.check(where.clone_url)
        if SHA.fullmatch(specs[0].ref):
            return _resolved(specs[0], where, specs[0].ref, RefKind.COMMIT)
        refs = await self._fetch_refs(where, [spec.ref for spec in specs])
        for spec in specs:
            if found := find_ref(refs, spec.ref):
                return _resolved(spec, where, *found)
        last = specs[-1]
        if _SHORT_SHA.fullmatch(last.ref):
            sha = await self._fetch_commit(where, refs, last.ref)
            return _resolved(last, where, sha, RefKind.COMMIT)
        raise _no_such_ref(where, last.ref, refs)

    async def _fetch_refs(self, where: Whereabouts, refs: Sequence[str]) -> dict[str, str]:
        if list(refs) == ["HEAD"]:
            return await self.git.ls_remote(where.clone_url, pattern="HEAD")
        if len(refs) == 1 and describe_ref(refs[0]):
            # A repository has many more of these than branches.
            return await self.git.ls_remote(where.clone_url, pattern=refs[0])
        if any(ref == "HEAD" or ref.startswith("refs/") for ref in refs):
            return await self.git.ls_remote(where.clone_url)
        return await self.git.ls_remote(where.clone_url, "--heads", "--tags")

    async def _fetch_commit(self, where: Whereabouts, refs: Mapping[str, str], short: str) -> str:
        """Return the commit that a short sha means: the tip of a ref, else one of the history."""
        tips = {
            sha
            for name, sha in refs.items()
            if sha.startswith(short) and f"{name}^{{}}" not in refs
        }
        if len(tips) == 1:
            return tips.pop()
        sha = None if tips else await self.git.find_commit(where.clone_url, short)
        if sha is None:
            raise UnresolvableRef(
                f"No branch or tag of {where.label} leads to exactly one commit that begins with "
                f"{short}: give more of its sha."
            )
        return sha


def find_ref(refs: Mapping[str, str], ref: str) -> tuple[str, RefKind] | None:
    """Return the commit of a ref among those that a repository listed; branches before tags."""
    if ref == "HEAD":
        return (refs["HEAD"], RefKind.HEAD) if "HEAD" in refs else None
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref):
        if name.startswith("refs/") and name in refs:
            kind = RefKind.TAG if name.startswith("refs/tags/") else RefKind.BRANCH
            return refs.get(f"{name}^{{}}", refs[name]), kind
    return None


def _resolved(spec: Spec, where: Whereabouts, sha: str, kind: RefKind) -> Resolved:
    return Resolved(
        spec=spec,
        resolved_ref=sha,
        ref_kind=kind,
        label=where.label,
        repo_url=where.repo_url,
        clone_url=where.clone_url,
        default_name=where.name,
    )


def _no_such_ref(where: Whereabouts, ref: str, refs: Mapping[str, str]) -> UnresolvableRef:
    if ref == "HEAD":
        return UnresolvableRef(f"{where.label} is empty, or has no default branch: name a branch.")
    if words := describe_ref(ref):
        return UnresolvableRef(f"{where.label} has no {words}: check its number.")
    names = {re.sub(r"^refs/(heads|tags)/|\^\{\}$", "", name) for name in refs}
    close = difflib.get_close_matches(ref, sorted(names)[:5000], n=3)
    ask = f" Did you mean {' or '.join(close)}?" if close else " Check its name."
    return UnresolvableRef(
        f"{where.label} has no branch, tag or commit {ref}.{ask}", detail={"suggestions": close}
    )


def read_request(ref: str) -> str:
    """Return a ref as typed, that of a pull or merge request in the one form that hosts have.

    ``pull/12``, ``pull/12/head`` and ``merge-requests/3`` are such; of a branch of that name
    ``refs/heads/…`` is the whole one.
    """
    found = _REQUEST.fullmatch(ref)
    if found is None:
        return ref
    kind = "merge-requests" if found["kind"].startswith("merge") else found["kind"]
    tip = "from" if kind == "pull-requests" else "head"
    return f"refs/{kind}/{found['number']}/{found['tip'] or tip}"


def check_ref(ref: str) -> str:
    """Return a ref as git has it. Raises NotUnderstood."""
    return check_git_ref(read_request(ref.strip()))


def _without_git(name: str) -> str:
    return name.removesuffix(".git")


def _check_names(names: Sequence[str], *, what: str) -> None:
    if not all(_NAME.fullmatch(name) and name.strip(".") for name in names):
        raise NotUnderstood(f"That names no repository: it is written {what}.")


class GitHubProvider(GitHostProvider):
    """Repositories on GitHub, or on one GitHub Enterprise server."""

    prefix = "gh"
    display_name = "GitHub"
    placeholder = "https://github.com/org/name"

    hostname = Unicode("github.com", help="The host; that of a GitHub Enterprise server.").tag(
        config=True
    )

    def parse_spec(self, text: str) -> Spec:
        """Read ``org/name/ref``; without a ref, HEAD."""
        org, _, rest = text.partition("/")
        name, _, ref = rest.partition("/")
        return self._spec(unquote(org), unquote(name), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``org/name/ref``."""
        return f"{quote(spec.repo)}/{quote(spec.ref)}"

    def _spec(self, org: str, name: str, ref: str = "") -> Spec:
        name = _without_git(name)
        _check_names([org, name], what="org/name")
        return Spec(self.prefix, f"{org}/{name}", check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read a page of a repository, a file's included."""
        place = take_apart(url)
        raw = place.host == "raw.githubusercontent.com" and self.hostname == "github.com"
        if not raw and place.host.removeprefix("www.") != self.hostname:
            return None
        if len(place.segments) < 2:
            raise NotUnderstood(f"That names no repository: open one on {self.hostname}.")
        org, name, *rest = place.segments
        spec = self._spec(org, name)
        return link_at(spec, rest) if raw else _github_page(spec, rest)

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Return the page at a commit."""
        return f"{repo_url}/tree/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Say where a repository is."""
        url = f"https://{self.hostname}/{quote(repo)}"
        return Whereabouts(url, url, f"{self.hostname}/{repo}", safe_name(repo.partition("/")[2]))


def _github_page(spec: Spec, rest: Sequence[str]) -> Link:
    match list(rest):
        case [word, *tail] if word in _AT_TREE:
            return link_at(spec, tail)
        case ["releases", "tag", *tag] if tag:
            return Link(Spec(spec.provider, spec.repo, check_ref("/".join(tag))))
        case ["pull", _, "commits", sha] if SHA.fullmatch(sha):
            return Link(Spec(spec.provider, spec.repo, sha))
        case ["pull", number, *_] if _REQUEST.fullmatch(f"pull/{number}"):
            return Link(Spec(spec.provider, spec.repo, check_ref(f"pull/{number}")))
    return Link(spec)


class GitLabProvider(GitHostProvider):
    """Repositories on gitlab.com, or on one GitLab of one's own."""

    prefix = "gl"
    display_name = "GitLab"
    login_name = "oauth2"
    placeholder = "https://gitlab.com/group/name"

    hostname = Unicode("gitlab.com", help="The host; that of a GitLab of your own.").tag(
        config=True
    )

    def parse_spec(self, text: str) -> Spec:
        """Read ``group%2Fname/ref``, with as many groups as there are; without a ref, HEAD."""
        namespace, _, ref = text.partition("/")
        if "%2f" not in namespace.lower():
            raise NotUnderstood("A GitLab repository is written with %2F for /: group%2Fname/ref.")
        return self._spec(unquote(namespace), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``group%2Fname/ref``."""
        return f"{quote(spec.repo, safe='')}/{quote(spec.ref)}"

    def _spec(self, namespace: str, ref: str = "") -> Spec:
        repo = _without_git(namespace.strip("/"))
        names = repo.split("/")
        _check_names(names if len(names) > 1 else [""], what="group/name")
        return Spec(self.prefix, repo, check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read a page of a repository, a file's included."""
        place = take_apart(url)
        if place.host.removeprefix("www.") != self.hostname:
            return None
        names, page = _gitlab_page(place.segments)
        return _gitlab_link(self._spec("/".join(names)), page)

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Return the page at a commit."""
        return f"{repo_url}/-/tree/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Say where a repository is."""
        url = f"https://{self.hostname}/{quote(repo)}"
        name = safe_name(repo.rpartition("/")[2])
        return Whereabouts(f"{url}.git", url, f"{self.hostname}/{repo}", name)


def _gitlab_page(segments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Part a GitLab path into the repository's and the page's; old ones have no ``-``."""
    for at, segment in enumerate(segments):
        if segment == "-":
            return segments[:at], segments[at + 1 :]
        if at >= 2 and segment in _AT_TREE:
            return segments[:at], segments[at:]
    return segments, ()


def _gitlab_link(spec: Spec, page: Sequence[str]) -> Link:
    match list(page):
        case [word, *tail] if word in _AT_TREE:
            return link_at(spec, tail)
        case ["tags", *tag] if tag:
            return Link(Spec(spec.provider, spec.repo, check_ref("/".join(tag))))
        case ["merge_requests", number, *_] if _REQUEST.fullmatch(f"pull/{number}"):
            return Link(Spec(spec.provider, spec.repo, check_ref(f"merge-requests/{number}")))
    return Link(spec)


class GistProvider(GitHostProvider):
    """Gists on GitHub."""

    prefix = "gist"
    display_name = "Gist"
    placeholder = "https://gist.github.com/user/id"

    hostname = Unicode("gist.github.com", help="The host of the gists.").tag(config=True)

    def parse_spec(self, text: str) -> Spec:
        """Read ``user/id`` or ``user/id/ref``."""
        user, _, rest = text.partition("/")
        gist, _, ref = rest.partition("/")
        return self._spec(unquote(user), unquote(gist), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``user/id/ref``."""
        return f"{quote(spec.repo)}/{quote(spec.ref)}"

    def _spec(self, user: str, gist: str, ref: str = "") -> Spec:
        gist = _without_git(gist)
        _check_names([user, gist], what="user/id")
        return Spec(self.prefix, f"{user}/{gist}", check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read a gist's page; one without its user is left to the git provider."""
        place = take_apart(url)
        match place.segments if place.host == self.hostname else ():
            case (user, gist, "raw", ref, *path) if SHA.fullmatch(ref):
                return Link(self._spec(user, gist, ref), check_path(path))
            case (user, gist, ref, *_) if SHA.fullmatch(ref):
                return Link(self._spec(user, gist, ref))
            case (user, gist, *_):
                return Link(self._spec(user, gist))
        return None

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Return the page at a commit."""
        return f"{repo_url}/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Say where a gist is."""
        url = f"https://{self.hostname}/{quote(repo)}"
        name = safe_name(f"gist-{repo.rpartition('/')[2][:8]}")
        return Whereabouts(f"{url}.git", url, f"{self.hostname}/{repo}", name)


class GitProvider(GitHostProvider):
    """Any repository that git can fetch by URL, where `Git` allows its host."""

    prefix = "git"
    display_name = "Git repository"
    takes_any_host = True
    placeholder = "https://example.org/name.git"

    def parse_spec(self, text: str) -> Spec:
        """Read ``percent-encoded URL/ref``; without a ref, HEAD."""
        encoded, _, ref = text.partition("/")
        url = unquote(encoded)
        if "/" not in url:
            raise NotUnderstood("The repository's URL must be percent-encoded: https%3A%2F%2F….")
        return self._spec(take_apart(url), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``percent-encoded URL/ref``."""
        return f"{quote(spec.repo, safe='')}/{quote(spec.ref)}"

    def _spec(self, place: Place, ref: str = "") -> Spec:
        remote = parse_remote(place.url)
        path = remote.path if remote.scheme == "file" else plain_path(remote.path)
        return Spec(self.prefix, str(replace(remote, path=path)), check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read any URL: as a page of GitLab, Gitea or Bitbucket where it has their form."""
        place = take_apart(url)
        if place.url.startswith("file:"):
            return Link(self._spec(place))
        root = place.url.removesuffix(urlsplit(place.url).path)
        if "-" in place.segments[2:]:
            names, page = _gitlab_page(place.segments)
            return _gitlab_link(self._spec(take_apart(f"{root}/{_path(names)}.git")), page)
        match place.segments:
            case (org, name, "src", "branch" | "tag" | "commit", *tail) if tail:
                return link_at(self._spec(take_apart(f"{root}/{_path([org, name])}")), tail)
            case (org, name, "pulls", number, *_) if _REQUEST.fullmatch(f"pull/{number}"):
                spec = self._spec(take_apart(f"{root}/{_path([org, name])}"), f"pull/{number}")
                return Link(spec)
            case (org, name, "src", *tail) if place.host == "bitbucket.org" and tail:
                return link_at(self._spec(take_apart(f"{root}/{_path([org, name])}")), tail)
        return Link(self._spec(place))

    def locate(self, repo: str) -> Whereabouts:
        """Say where a repository is."""
        remote = parse_remote(repo)
        label = _without_git(repo.removeprefix(f"{remote.scheme}://"))
        name = safe_name(unquote(label.rpartition("/")[2]))
        return Whereabouts(repo, _without_git(repo), label, name)


def _path(names: Sequence[str]) -> str:
    return "/".join(quote(name) for name in names)
