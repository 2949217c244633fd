"""What the providers of published records share: hosts, DOIs, and JSON that may be anything.

A record is no git repository: its files are listed (`fetch_listing`) and fetched one by one.
What one kind of archive answers is in the module of that archive.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from traitlets import List, Unicode, validate
from yarl import URL

from jupyterhub_binder.archive import Listing
from jupyterhub_binder.download import Downloads, Site
from jupyterhub_binder.errors import NotUnderstood, UpstreamUnavailable
from jupyterhub_binder.model import RefKind, Resolved, Spec
from jupyterhub_binder.providers.base import RepoProvider
from jupyterhub_binder.providers.identity import canonical
from jupyterhub_binder.remotes import host_matches, parse_remote
from jupyterhub_binder.slugs import safe_name

_DOI = re.compile(r"10\.\d{4,9}(?:\.\d+)*/[^\s<>\"'`{}|\\^\x00-\x1f\x7f]{1,200}")
_BEFORE_DOI = re.compile(
    r"(?:https?://)?(?:dx\.|www\.)?doi\.org/(?:doi:)?|info:doi/|doi:\s*(?:https?://doi\.org/)?",
    re.IGNORECASE,
)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Controls, and halves of pairs as JSON may have them."""
_MOST_NAME = 40


class LeadsElsewhere(NotUnderstood):
    """A DOI that is of another kind of archive than it was taken for."""

    def __init__(self, doi: str, url: str) -> None:
        host = URL(url).host
        super().__init__(
            f"{doi} is no record of this kind: it leads to {host}. Paste the address that your "
            "browser shows there."
        )
        self.url = url


def read_doi(text: str) -> str | None:
    """Return the DOI that a text is, in any of the forms in which people copy one.

    None for what is none. Percent escapes are read, punctuation that clings to it is cut off.
    """
    text = text.strip()
    before = _BEFORE_DOI.match(text)
    rest = text[before.end() :] if before else text
    if before and "doi.org" in before[0].lower():
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    doi = unquote(rest).rstrip("/.,;")
    if not _DOI.fullmatch(doi) or ".." in doi.split("/") or not doi.isprintable():
        return None
    return doi


class RecordProvider(RepoProvider):
    """Published records of one kind of archive."""

    takes_ref = False

    hosts = List(
        Unicode(),
        help="""
        Hosts whose records may be fetched, such as ``zenodo.org`` or ``*.example.org``; empty
        for every public host. `Git.allowed_hosts` holds for them too where it is set, and
        `Git.private_hosts` names those that may have an address of your own network.
        """,
    ).tag(config=True)
    file_hosts = List(
        Unicode(),
        help="""
        Hosts, beside `hosts`, that files may come from: archives lead to a storage that is not
        theirs. Ignored where `hosts` is empty.
        """,
    ).tag(config=True)

    @abstractmethod
    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """Ask which files a record has at its resolved_ref.

        Raises RepositoryNotFound, NotAllowed, FetchFailed or UpstreamUnavailable.
        """

    def authorization(self, token: str) -> Mapping[str, str]:
        """Return the headers that hold a token."""
        return {"Authorization": f"Bearer {token}"}

    def site(self, *more_hosts: str) -> Site:
        """Return which hosts may be asked, and the tokens that each of them is told."""
        hosts = (*self.hosts, *self.file_hosts, *more_hosts) if self.hosts else ()
        secrets = {host.lower(): self.authorization(token) for host, token in self.tokens.items()}
        return Site(hosts, secrets)

    @property
    def _web(self) -> Downloads:
        web = self.downloads
        if not isinstance(web, Downloads):
            raise TypeError("a provider of records needs downloads")
        return web

    def owned_hosts(self) -> tuple[str, ...]:
        """Return its hosts."""
        return tuple(self.hosts)

    def check_url(self, url: str | URL) -> URL:
        """Return a record's address, if its host may be asked. Raises NotAllowed."""
        checked = self._web.check(url, self.site())
        self.git.check_host(parse_remote(str(checked.with_query(None).with_path("/-"))))
        return checked

    def resolved(
        self, spec: Spec, version: str, *, page: str, title: str, label: str, repo_url: str
    ) -> Resolved:
        """Return what was found. `page` is where the record is, `repo_url` where people read it."""
        return Resolved(
            spec=spec,
            resolved_ref=version,
            ref_kind=RefKind.VERSION,
            label=label,
            repo_url=repo_url,
            clone_url=page,
            default_name=_name(title, f"{self.prefix}-{version}"),
        )


def _name(title: str, fallback: str) -> str:
    name = safe_name(title.lower(), fallback="", most=_MOST_NAME + 20) if title else ""
    if len(name) > _MOST_NAME:
        name = name[:_MOST_NAME].rpartition("-")[0] or name[:_MOST_NAME]
    name = name.strip("-._")
    return name if name and name != "environment" else safe_name(fallback)


class DOIProvider(RecordProvider):
    """Records that are named by a DOI."""

    resolver_url = Unicode(
        "https://doi.org", help="What resolves DOIs: it answers with the address of the record."
    ).tag(config=True)
    doi_pattern: ClassVar[re.Pattern[str] | None] = None
    """Which DOIs are certainly of this kind; None for those that nobody else claims."""

    @validate("resolver_url")
    def _check_resolver(self, proposal: Mapping[str, Any]) -> str:
        return proposal["value"].rstrip("/")

    def parse_spec(self, text: str) -> Spec:
        """Read a DOI, percent-encoded or not. Raises NotUnderstood."""
        doi = read_doi(unquote(text))
        if doi is None:
            raise NotUnderstood(f"That is no DOI: it is written {self.placeholder}.")
        return Spec(self.prefix, doi)

    def format_spec(self, spec: Spec) -> str:
        """Write the DOI; that of the version where `ref` is one."""
        return quote(spec.repo)

    def parse_doi(self, doi: str) -> Spec | None:
        """Take a DOI that has this archive's form."""
        claimed = self.doi_pattern is not None and self.doi_pattern.search(doi)
        return Spec(self.prefix, doi) if claimed else None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the DOI."""
        return (canonical(spec.repo),)

    async def fetch_page(self, doi: str) -> URL:
        """Ask where a record is: its page, after all redirects.

        Raises LeadsElsewhere, RepositoryNotFound, NotAllowed or UpstreamUnavailable.
        """
        resolver = URL(self.resolver_url)
        asked = f"{self.resolver_url}/{quote(doi)}"
        target = await self._web.fetch_target(asked, Site((resolver.authority,)), what=doi)
        if not self.is_page(target):
            raise LeadsElsewhere(doi, str(target))
        page = self.check_url(target)
        return await self._web.fetch_landing(page, self.site(resolver.authority), what=doi)

    def is_page(self, url: URL) -> bool:
        """Say whether an address is one of this kind of archive. Pure."""
        return not self.hosts or is_on(url, self.hosts)


def is_on(url: URL, hosts: list[str]) -> bool:
    """Say whether an address is on one of some hosts, ``*`` being any text."""
    try:
        return host_matches(parse_remote(f"https://{url.authority}/-"), hosts)
    except NotUnderstood:
        return False


# --- Answers, which may be anything -----------------------------------------------------------


class Odd(UpstreamUnavailable):
    """An archive answered in a form that we do not know."""

    def __init__(self, host: object, what: str) -> None:
        super().__init__(f"{host} described {what} in a way that this hub does not understand.")


def dig(answer: Any, *path: str | int, default: Any = None) -> Any:
    """Return what lies at a path of an answer; the default where anything is missing."""
    for step in path:
        try:
            answer = answer[step] if not isinstance(answer, str) else None
        except (KeyError, IndexError, TypeError):
            return default
    return default if answer is None else answer


def text_at(answer: Any, *path: str | int) -> str:
    """Return a text of an answer on one line, fit for disks and logs; empty where there is none."""
    found = dig(answer, *path)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return _UNFIT.sub("\ufffd", " ".join(str(found).split()))


def size_at(answer: Any, *path: str | int) -> int | None:
    """Return a number of bytes of an answer; None where there is none."""
    found = dig(answer, *path)
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,18}", found):
        return int(found)
    return found if type(found) is int and found >= 0 else None


def list_at(answer: Any, *path: str | int) -> list[Any]:
    """Return a list of an answer; empty where there is none."""
    found = dig(answer, *path)
    return found if isinstance(found, list) else []


def time_at(answer: Any, *path: str | int) -> datetime:
    """Return a time of an answer, as UTC; 1970 where there is none."""
    try:
        time = datetime.fromisoformat(text_at(answer, *path))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
