"""Git hosts: GitHub, GitLab, gists, and any Git URL."""

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
from jupyterhub_binder.model import SHORT_SHA, Link, RefKind, Resolved, Spec, describe_ref
from jupyterhub_binder.model.text import Message, any_of
from jupyterhub_binder.repositories.links.address import Place, take_apart
from jupyterhub_binder.repositories.links.understand import check_path, link_at
from jupyterhub_binder.repositories.providers.base import RepoProvider
from jupyterhub_binder.repositories.urls import SHA, parse_remote, plain_path
from jupyterhub_binder.repositories.urls import check_ref as check_git_ref
from jupyterhub_binder.utils.names import safe_name

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_REQUEST = re.compile(
    r"(?:refs/)?(?P<kind>pull|pull-requests|merge[-_]requests)/(?P<number>[1-9][0-9]{0,9})"
    r"(?:/(?P<tip>head|merge|from))?"
)
"""Pull requests, and GitLab's merge requests."""
_HEADS, _TAGS = ["refs", "heads"], ["refs", "tags"]
_ARCHIVE = re.compile(r"\.(?:zip|tar|tgz|tar\.gz|tar\.bz2|bundle)$")
_AT_TREE = frozenset({"tree", "blob", "raw", "edit", "blame", "commits", "commit"})
"""URL words before ref and path."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The URLs and names of a repository."""

    clone_url: str
    repo_url: str
    label: str
    name: str


class GitHostProvider(RepoProvider):
    """Resolves refs with one `git ls-remote`."""

    login_name: ClassVar[str] = "x-access-token"
    """The user name for a token."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for host, token in self.tokens.items():
            user, colon, password = token.partition(":")
            self.git.add_credential(
                host, user if colon else self.login_name, password if colon else token
            )

    @abstractmethod
    def locate(self, repo: str) -> Whereabouts:
        """Return a repository's URLs and names. Pure."""

    def owned_hosts(self) -> tuple[str, ...]:
        """Return its only host."""
        hostname = getattr(self, "hostname", "")
        return (hostname,) if hostname else ()

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Resolve a ref; only the fetch checks a full SHA."""
        return await self.fetch_first([spec])

    async def fetch_first(self, specs: Sequence[Spec]) -> Resolved:
        """Resolve the first existing spec with one request."""
        where = self.locate(specs[0].repo)
        self.git.check(where.clone_url)
        if SHA.fullmatch(specs[0].ref):
            return _resolved(specs[0], where, specs[0].ref, RefKind.COMMIT)
        refs = await self._fetch_refs(where, [spec.ref for spec in specs])
        for spec in specs:
            if found := find_ref(refs, spec.ref):
                branch = _default_branch(refs) if spec.ref == "HEAD" else ""
                return replace(_resolved(spec, where, *found), default_branch=branch)
        last = specs[-1]
        if SHORT_SHA.fullmatch(last.ref):
            sha = await self._fetch_commit(where, refs, last.ref)
            return _resolved(last, where, sha, RefKind.COMMIT)
        raise _no_such_ref(where, last.ref, refs)

    async def _fetch_refs(self, where: Whereabouts, refs: Sequence[str]) -> dict[str, str]:
        if list(refs) == ["HEAD"]:
            return await self.git.ls_remote(where.clone_url, "--symref", pattern="HEAD")
        if len(refs) == 1 and describe_ref(refs[0]):
            # A repository has many more pull requests than branches.
            return await self.git.ls_remote(where.clone_url, pattern=refs[0])
        if any(ref == "HEAD" or ref.startswith("refs/") for ref in refs):
            return await self.git.ls_remote(where.clone_url, "--symref")
        return await self.git.ls_remote(where.clone_url, "--heads", "--tags")

    async def _fetch_commit(self, where: Whereabouts, refs: Mapping[str, str], short: str) -> str:
        """Find a short SHA among refs, then in the history."""
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
                "%(sha)s does not identify a single commit on a branch or tag of %(label)s. "
                "Give more characters of its SHA.",
                label=where.label,
                sha=short,
            )
        return sha


def find_ref(refs: Mapping[str, str], ref: str) -> tuple[str, RefKind] | None:
    """Find a ref's commit; branches before tags."""
    if ref == "HEAD":
        return (refs["HEAD"], RefKind.HEAD) if "HEAD" in refs else None
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref):
        if name.startswith("refs/") and name in refs:
            kind = RefKind.TAG if name.startswith("refs/tags/") else RefKind.BRANCH
            return refs.get(f"{name}^{{}}", refs[name]), kind
    return None


def _default_branch(refs: Mapping[str, str]) -> str:
    """Return the name of the default branch; "" if the host does not tell, or tells nonsense."""
    name = refs.get("HEAD@", "")
    try:
        return check_git_ref(name) if name else ""
    except NotUnderstood:
        return ""


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
        return UnresolvableRef(
            "%(label)s is empty or has no default branch. Give a branch.", label=where.label
        )
    if words := describe_ref(ref):
        return UnresolvableRef(
            "%(label)s has no %(request)s. Check the number.", label=where.label, request=words
        )
    names = {re.sub(r"^refs/(heads|tags)/|\^\{\}$", "", name) for name in refs}
    close = difflib.get_close_matches(ref, sorted(names)[:5000], n=3)
    if not close:
        return UnresolvableRef(
            "%(label)s has no branch, tag or commit %(ref)s. Check the name.",
            label=where.label,
            ref=ref,
            detail={"suggestions": close},
        )
    return UnresolvableRef(
        "%(label)s has no branch, tag or commit %(ref)s. Did you mean %(names)s?",
        label=where.label,
        ref=ref,
        names=any_of(close),
        detail={"suggestions": close},
    )


def read_request(ref: str) -> str:
    """Return a ref, with pull and merge requests in the host's form.

    A branch called ``pull/12`` needs ``refs/heads/…``.
    """
    found = _REQUEST.fullmatch(ref)
    if found is None:
        return ref
    kind = "merge-requests" if found["kind"].startswith("merge") else found["kind"]
    tip = "from" if kind == "pull-requests" else "head"
    return f"refs/{kind}/{found['number']}/{found['tip'] or tip}"


def check_ref(ref: str) -> str:
    """Return a valid ref. Raises NotUnderstood."""
    return check_git_ref(read_request(ref.strip()))


def _without_git(name: str) -> str:
    return name.removesuffix(".git").rstrip("/")


def _check_names(names: Sequence[str], *, what: str) -> None:
    if not all(_NAME.fullmatch(name) and name.strip(".") for name in names):
        raise NotUnderstood(
            "That is not the name of a repository. Write it as %(form)s.", form=what
        )


class GitHubProvider(GitHostProvider):
    """Repositories on GitHub or a GitHub Enterprise server."""

    prefix = "gh"
    display_name = "GitHub"
    placeholder = "https://github.com/owner/name"

    hostname = Unicode(
        "github.com", help="The host, for example of a GitHub Enterprise server."
    ).tag(config=True)

    def parse_spec(self, text: str) -> Spec:
        """Read ``owner/name/ref``; default: HEAD."""
        org, _, rest = text.partition("/")
        name, _, ref = rest.partition("/")
        return self._spec(unquote(org), unquote(name), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``owner/name/ref``."""
        return f"{quote(spec.repo)}/{quote(spec.ref)}"

    def _spec(self, org: str, name: str, ref: str = "") -> Spec:
        name = _without_git(name)
        _check_names([org, name], what="owner/name")
        return Spec(self.prefix, f"{org}/{name}", check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read any page."""
        place = take_apart(url)
        beside = place.host if self.hostname == "github.com" else ""
        raw, code = beside == "raw.githubusercontent.com", beside == "codeload.github.com"
        if not raw and not code and place.host.removeprefix("www.") != self.hostname:
            return None
        if len(place.segments) < 2:
            raise NotUnderstood(
                "That address does not name a repository. Open a repository on %(host)s and "
                "paste its address.",
                host=self.hostname,
            )
        org, name, *rest = place.segments
        spec = self._spec(org, name)
        if code and len(rest) > 1:
            return _at_archive(spec, rest[1:])
        return link_at(spec, rest) if raw else _github_page(spec, rest)

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Link to a commit."""
        return f"{repo_url}/tree/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Locate it."""
        url = f"https://{self.hostname}/{quote(repo)}"
        return Whereabouts(url, url, f"{self.hostname}/{repo}", safe_name(repo.partition("/")[2]))


def _github_page(spec: Spec, rest: Sequence[str]) -> Link:
    match list(rest):
        case [word, *tail] if word in _AT_TREE:
            return link_at(spec, tail)
        case ["archive" | "zipball" | "tarball", *ref] if ref:
            return _at_archive(spec, ref)
        case ["releases", "tag", *tag] | ["releases", "download", *tag, _] if tag:
            return Link(Spec(spec.provider, spec.repo, check_ref("/".join(tag))))
        case ["releases", "latest", *_] | ["compare", _, *_]:
            raise _no_version()
        case ["pull", _, "commits", sha] if SHA.fullmatch(sha):
            return Link(Spec(spec.provider, spec.repo, sha))
        case ["pull", number, *_] if _REQUEST.fullmatch(f"pull/{number}"):
            return Link(Spec(spec.provider, spec.repo, check_ref(f"pull/{number}")))
    return Link(spec)


def _at_archive(spec: Spec, ref: Sequence[str]) -> Link:
    """Read the ref of a download, such as ``refs/tags/v1.0.zip``."""
    parts = list(ref[2:] if len(ref) > 2 and list(ref[:2]) in (_HEADS, _TAGS) else ref)
    name = _ARCHIVE.sub("", "/".join(parts))
    return Link(Spec(spec.provider, spec.repo, check_ref(name)))


def _no_version() -> NotUnderstood:
    return NotUnderstood(
        "That page does not stand for one version of the repository. Paste the address of a "
        "branch, a tag or a release."
    )


class GitLabProvider(GitHostProvider):
    """Repositories on gitlab.com or another GitLab server."""

    prefix = "gl"
    display_name = "GitLab"
    login_name = "oauth2"
    placeholder = "https://gitlab.com/group/name"

    hostname = Unicode("gitlab.com", help="The host, for example of your own GitLab server.").tag(
        config=True
    )

    def parse_spec(self, text: str) -> Spec:
        """Read ``group%2Fname/ref``, also nested groups; default: HEAD."""
        namespace, _, ref = text.partition("/")
        if "%2f" not in namespace.lower():
            raise NotUnderstood(
                "In the name of a GitLab repository, write %2F for each slash: group%2Fname/ref."
            )
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
        """Read any page."""
        place = take_apart(url)
        if place.host.removeprefix("www.") != self.hostname:
            return None
        names, page = _gitlab_page(place.segments)
        return _gitlab_link(self._spec("/".join(names)), page)

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Link to a commit."""
        return f"{repo_url}/-/tree/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Locate it."""
        url = f"https://{self.hostname}/{quote(repo)}"
        name = safe_name(repo.rpartition("/")[2])
        return Whereabouts(f"{url}.git", url, f"{self.hostname}/{repo}", name)


def _gitlab_page(segments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Split a path; old URLs have no ``-``."""
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
        case ["archive", *ref, _] if ref:
            return _at_archive(spec, ref)
        case ["releases", "permalink", *_] | ["compare", _, *_]:
            raise _no_version()
        case ["releases", tag, *_]:
            return Link(Spec(spec.provider, spec.repo, check_ref(tag)))
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

    hostname = Unicode("gist.github.com", help="The host of gists.").tag(config=True)

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
        """Read a gist's page with a user."""
        place = take_apart(url)
        match place.segments if place.host == self.hostname else ():
            case (user, gist, "archive", name) if SHA.fullmatch(_ARCHIVE.sub("", name)):
                return Link(self._spec(user, gist, _ARCHIVE.sub("", name)))
            case (user, gist, "raw", ref, *path) if SHA.fullmatch(ref):
                return Link(self._spec(user, gist, ref), check_path(path))
            case (user, gist, ref, *_) if SHA.fullmatch(ref):
                return Link(self._spec(user, gist, ref))
            case (user, gist, *_):
                return Link(self._spec(user, gist))
        return None

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Link to a commit."""
        return f"{repo_url}/{resolved_ref}"

    def locate(self, repo: str) -> Whereabouts:
        """Locate it."""
        url = f"https://{self.hostname}/{quote(repo)}"
        name = safe_name(f"gist-{repo.rpartition('/')[2][:8]}")
        return Whereabouts(f"{url}.git", url, f"{self.hostname}/{repo}", name)


class GitProvider(GitHostProvider):
    """Any repository that Git can fetch from an allowed host."""

    prefix = "git"
    display_name = Message("Git repository")
    takes_any_host = True
    placeholder = "https://example.org/name.git"

    def parse_spec(self, text: str) -> Spec:
        """Read ``encoded URL/ref``; default: HEAD."""
        encoded, _, ref = text.partition("/")
        url = unquote(encoded)
        if "/" not in url:
            raise NotUnderstood("The repository's URL must be percent-encoded: https%3A%2F%2F….")
        return self._spec(take_apart(url), unquote(ref))

    def format_spec(self, spec: Spec) -> str:
        """Write ``encoded URL/ref``."""
        return f"{quote(spec.repo, safe='')}/{quote(spec.ref)}"

    def _spec(self, place: Place, ref: str = "") -> Spec:
        remote = parse_remote(place.url)
        # Git finds the .git of a folder by itself.
        local = remote.scheme == "file"
        path = remote.path.removesuffix("/.git") if local else plain_path(remote.path)
        return Spec(self.prefix, str(replace(remote, path=path)), check_ref(ref))

    def parse_url(self, url: str) -> Link | None:
        """Read any URL, also a file's page."""
        place = take_apart(url)
        if place.url.startswith("file:"):
            return Link(self._spec(place))
        root = place.url.removesuffix(urlsplit(place.url).path)
        if "-" not in place.segments[2:] and len(place.segments) > 2:
            spec = self._spec(take_apart(f"{root}/{_path(place.segments[:2])}"))
            if (link := _forge_page(spec, place)) is not None:
                return link
        names, page = _gitlab_page(place.segments)
        old = "-" not in place.segments
        if not page or (old and (len(page) < 2 or page[-1].endswith(".git"))):
            return Link(self._spec(place))
        if old and _names_git_folder(names):
            raise NotUnderstood(
                "That is a page about a repository's files, and its address does not say which "
                "version. Paste the address that “git clone” takes, and give the branch beside it."
            )
        return _gitlab_link(self._spec(take_apart(f"{root}/{_path(names)}.git")), page)

    def locate(self, repo: str) -> Whereabouts:
        """Locate it."""
        remote = parse_remote(repo)
        label = _without_git(self._shown(repo.removeprefix(f"{remote.scheme}://")))
        name = safe_name(unquote(label.rpartition("/")[2]))
        return Whereabouts(repo, _without_git(repo), label, name)

    def _shown(self, path: str) -> str:
        """Return a folder of this machine as seen from its root, and another path as it is."""
        roots = (f"{root.rstrip('/')}/" for root in self.git.file_roots)
        return next((path[len(root) :] for root in roots if path.startswith(root)), path)


def _forge_page(spec: Spec, place: Place) -> Link | None:
    """Read a page of Gitea, Forgejo or Bitbucket, or return None."""
    match place.segments[2:]:
        case ("src" | "raw" | "media" | "commits", "branch" | "tag" | "commit", *tail) if tail:
            return link_at(spec, tail)
        case ("pulls", number, *_) if _REQUEST.fullmatch(f"pull/{number}"):
            return Link(replace(spec, ref=check_ref(f"pull/{number}")))
        case ("releases", "tag", *tag) | ("releases", "download", *tag, _) if tag:
            return Link(replace(spec, ref=check_ref("/".join(tag))))
        case ("archive", *ref) if ref and _ARCHIVE.search(ref[-1]):
            return _at_archive(spec, ref)
        case ("src" | "branch", *tail) if place.host == "bitbucket.org" and tail:
            return link_at(spec, tail)
        case ("get", *ref) if place.host == "bitbucket.org" and ref:
            return _at_archive(spec, ref)
    return None


def _names_git_folder(names: Sequence[str]) -> bool:
    """Recognise the pages of cgit and GitWeb, below the repository's own address."""
    return any(name.endswith(".git") for name in names)


def _path(names: Sequence[str]) -> str:
    return "/".join(quote(name) for name in names)
