"""Common to published records: hosts, DOIs and untrusted JSON."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from traitlets import List, Unicode, validate
from yarl import URL

from jupyterhub_binder.errors import NotUnderstood, UpstreamUnavailable
from jupyterhub_binder.model import RefKind, Resolved, Spec
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.identity import canonical
from jupyterhub_binder.repositories.providers.base import RepoProvider
from jupyterhub_binder.repositories.records.checkout import Listing
from jupyterhub_binder.repositories.records.download import Downloads, Site
from jupyterhub_binder.repositories.urls import host_matches, parse_remote
from jupyterhub_binder.utils.names import safe_name

_DOI = re.compile(r"10\.\d{4,9}(?:\.\d+)*/[^\s<>\"'`{}|\\^\x00-\x1f\x7f]{1,200}")
_BEFORE_DOI = re.compile(
    r"(?:https?://)?(?:dx\.|www\.)?doi\.org/(?:doi:)?|info:doi/|doi:\s*(?:https?://doi\.org/)?",
    re.IGNORECASE,
)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and lone surrogates from JSON."""
_MAX_NAME = 40


class LeadsElsewhere(NotUnderstood):
    """The DOI belongs to another archive."""

    def __init__(self, doi: str, url: str) -> None:
        host = URL(url).host
        message = Message(
            "%(doi)s leads to %(host)s, which is another kind of archive. Open the DOI in a "
            "browser and paste the address that you see there.",
            doi=doi,
            host=host,
        )
        super().__init__(message)
        self.url = url


def read_doi(text: str) -> str | None:
    """Find a DOI in any common form."""
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
    """Published records on one kind of archive."""

    takes_ref = False

    hosts = List(
        Unicode(),
        help="""
        Hosts whose records may be fetched, such as `zenodo.org` or `*.example.org`.
        `Git.allowed_hosts` applies too if it is set, and `Git.private_hosts` names hosts that may
        have an address in your own network. Empty: every public host.
        """,
    ).tag(config=True)
    file_hosts = List(
        Unicode(),
        help="""
        Additional hosts that files may come from, because archives often link to another storage.
        Ignored if `hosts` is empty.
        """,
    ).tag(config=True)

    @abstractmethod
    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List a record's files.

        Raises RepositoryNotFound, NotAllowed, FetchFailed or UpstreamUnavailable.
        """

    def authorization(self, token: str) -> Mapping[str, str]:
        """Return the token's headers."""
        return {"Authorization": f"Bearer {token}"}

    def site(self, *more_hosts: str) -> Site:
        """Return the allowed hosts and their tokens."""
        hosts = (*self.hosts, *self.file_hosts, *more_hosts) if self.hosts else ()
        secrets = {host.lower(): self.authorization(token) for host, token in self.tokens.items()}
        return Site(hosts, secrets)

    @property
    def _web(self) -> Downloads:
        web = self.downloads
        if not isinstance(web, Downloads):
            raise TypeError("a record provider needs downloads")
        return web

    def owned_hosts(self) -> tuple[str, ...]:
        """Return its hosts."""
        return tuple(self.hosts)

    def check_url(self, url: str | URL) -> URL:
        """Check a URL's host. Raises NotAllowed."""
        checked = self._web.check(url, self.site())
        self.git.check_host(parse_remote(str(checked.with_query(None).with_path("/-"))))
        return checked

    def resolved(
        self, spec: Spec, version: str, *, page: str, title: str, label: str, repo_url: str
    ) -> Resolved:
        """Return the result. `page` is the record's URL, `repo_url` the one for people."""
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
    name = safe_name(title.lower(), fallback="", max_length=_MAX_NAME + 20) if title else ""
    if len(name) > _MAX_NAME:
        name = name[:_MAX_NAME].rpartition("-")[0] or name[:_MAX_NAME]
    name = name.strip("-._")
    return name if name and name != "environment" else safe_name(fallback)


class DOIProvider(RecordProvider):
    """Records with a DOI."""

    resolver_url = Unicode(
        "https://doi.org",
        help="""
        URL of the DOI resolver. It answers with the address of the record. Default:
        `https://doi.org`.
        """,
    ).tag(config=True)
    doi_pattern: ClassVar[re.Pattern[str] | None] = None
    """Matches DOIs certainly of this kind."""

    @validate("resolver_url")
    def _check_resolver(self, proposal: Mapping[str, Any]) -> str:
        return proposal["value"].rstrip("/")

    def parse_spec(self, text: str) -> Spec:
        """Read a DOI, also percent-encoded. Raises NotUnderstood."""
        doi = read_doi(unquote(text))
        if doi is None:
            raise NotUnderstood(
                "That is not a DOI. Example: %(example)s.", example=self.placeholder
            )
        return Spec(self.prefix, doi)

    def format_spec(self, spec: Spec) -> str:
        """Write the DOI, with a version."""
        return quote(spec.repo)

    def parse_doi(self, doi: str) -> Spec | None:
        """Read this archive's DOIs."""
        claimed = self.doi_pattern is not None and self.doi_pattern.search(doi)
        return Spec(self.prefix, doi) if claimed else None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the DOI."""
        return (canonical(spec.repo),)

    async def fetch_page(self, doi: str) -> URL:
        """Return a record's page, after redirects.

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
        """Recognise this archive's URLs. Pure."""
        return not self.hosts or is_on(url, self.hosts)


def is_on(url: URL, hosts: list[str]) -> bool:
    """Match a URL's host; ``*`` matches any text."""
    try:
        return host_matches(parse_remote(f"https://{url.authority}/-"), hosts)
    except NotUnderstood:
        return False


# --- Untrusted answers ------------------------------------------------------------------------


class Odd(UpstreamUnavailable):
    """An archive's answer has an unknown form."""

    def __init__(self, host: object, what: str) -> None:
        message = Message(
            "This hub does not understand what %(host)s says about %(what)s.",
            host=str(host),
            what=what,
        )
        super().__init__(message)


def dig(answer: Any, *path: str | int, default: Any = None) -> Any:
    """Return the value at a path."""
    for step in path:
        try:
            answer = answer[step] if not isinstance(answer, str) else None
        except (KeyError, IndexError, TypeError):
            return default
    return default if answer is None else answer


def text_at(answer: Any, *path: str | int) -> str:
    """Return text on one line, safe for disks and logs."""
    found = dig(answer, *path)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return _UNFIT.sub("\ufffd", " ".join(str(found).split()))


def size_at(answer: Any, *path: str | int) -> int | None:
    """Return a number of bytes, or None."""
    found = dig(answer, *path)
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,18}", found):
        return int(found)
    return found if type(found) is int and found >= 0 else None


def list_at(answer: Any, *path: str | int) -> list[Any]:
    """Return a list; default: empty."""
    found = dig(answer, *path)
    return found if isinstance(found, list) else []


def time_at(answer: Any, *path: str | int) -> datetime:
    """Return a UTC time; default: 1970."""
    try:
        time = datetime.fromisoformat(text_at(answer, *path))
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
