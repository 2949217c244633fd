"""Articles on Figshare and its institutional portals."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from traitlets import Unicode, default
from yarl import URL

from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.repositories.identity import canonical
from jupyterhub_binder.repositories.links.address import take_apart
from jupyterhub_binder.repositories.providers.records import (
    DOIProvider,
    LeadsElsewhere,
    Odd,
    is_on,
    size_at,
    text_at,
    time_at,
)
from jupyterhub_binder.repositories.records.checkout import Listing, RemoteFile
from jupyterhub_binder.repositories.records.checksum import Checksum

_ARTICLE = re.compile(r"figshare\.(\d{1,18})(?:\.v(\d{1,9}))?$", re.IGNORECASE)
_VERSION = re.compile(r"(\d{1,18})\.v(\d{1,9})")
_PAGE = re.compile(r"/articles/(?:[^/]+/){0,3}?(\d{1,18})(?:/(\d{1,9}))?/?$")
_PAGE_SIZE = 100
_MAX_PAGES = 100


class FigshareProvider(DOIProvider):
    """Articles on Figshare: a DOI with a version (``….v2``), or without, for the newest."""

    prefix = "figshare"
    display_name = "Figshare"
    placeholder = "10.6084/m9.figshare.9782777.v1"
    doi_pattern = _ARTICLE

    api_url = Unicode(
        "https://api.figshare.com/v2",
        help="URL of Figshare's API. Default: `https://api.figshare.com/v2`.",
    ).tag(config=True)

    @default("hosts")
    def _default_hosts(self) -> list[str]:
        return ["figshare.com", "*.figshare.com"]

    @default("file_hosts")
    def _default_file_hosts(self) -> list[str]:
        return ["*.amazonaws.com"]

    def authorization(self, token: str) -> dict[str, str]:
        """Return Figshare's token header."""
        return {"Authorization": f"token {token}"}

    def format_spec(self, spec: Spec) -> str:
        """Write the DOI, with a version."""
        return quote(_pinned(spec.repo, spec.ref))

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Link to the version by DOI."""
        return _pinned(repo_url, resolved_ref)

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the DOI, and that of the article in all versions."""
        article = re.sub(r"\.v\d+$", "", spec.repo, flags=re.IGNORECASE)
        return (*super().identities(spec), canonical(article))

    def parse_url(self, url: str) -> Link | None:
        """Read an article's page."""
        place = take_apart(url)
        if not is_on(URL(place.url), self.hosts):
            return None
        found = _PAGE.search("/" + "/".join(place.segments))
        if found is None:
            return None
        version = f".v{found[2]}" if found[2] else ""
        return Link(Spec(self.prefix, f"10.6084/m9.figshare.{found[1]}{version}"))

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Resolve the version; default: the newest."""
        home = self.check_url(f"https://{self._home}")
        article, version = await self._identify(spec.repo)
        if not version:
            versions = await self._ask(spec.repo, "articles", article, "versions")
            numbers = [n for each in versions if (n := size_at(each, "version"))]
            if not numbers:
                raise Odd(URL(self.api_url).host, spec.repo)
            version = str(max(numbers))
        about = await self._ask(spec.repo, "articles", article, "versions", version)
        return self.resolved(
            spec,
            f"{article}.v{version}",
            page=str(home / "articles" / article),
            title=text_at(about, "title"),
            label=f"doi.org/{spec.repo}",
            repo_url=f"https://doi.org/{quote(spec.repo)}",
        )

    @property
    def _home(self) -> str:
        return next((host for host in self.hosts if "*" not in host), "figshare.com")

    async def _identify(self, doi: str) -> tuple[str, str]:
        """Return article and version; an institution's page tells them."""
        found = _ARTICLE.search(doi)
        if found is None:
            page = await self.fetch_page(doi)
            found = _PAGE.search(page.path)
            if found is None:
                raise LeadsElsewhere(doi, str(page))
        return found[1], found[2] or ""

    async def _ask(self, what: str, *path: str, **query: int) -> Any:
        url = URL(self.api_url).joinpath(*path)
        return await self._web.fetch_json(url, self.site(url.authority), what=what, **query)

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files by page."""
        found = _VERSION.fullmatch(resolved.resolved_ref)
        if found is None:
            raise Odd(URL(self.api_url).host, resolved.label)
        self.check_url(resolved.clone_url)
        where = ("articles", found[1], "versions", found[2])
        about = await self._ask(resolved.label, *where)
        entries: list[Any] = []
        for page in range(1, _MAX_PAGES + 1):
            part = await self._ask(resolved.label, *where, "files", page=page, page_size=_PAGE_SIZE)
            entries += part if isinstance(part, list) else []
            if not isinstance(part, list) or len(part) < _PAGE_SIZE:
                break
        links = [
            text_at(e, "name") for e in entries if isinstance(e, dict) and e.get("is_link_only")
        ]
        return Listing(
            title=text_at(about, "title"),
            time=time_at(about, "published_date"),
            files=tuple(_file(e) for e in entries if text_at(e, "name") not in (*links, "")),
            site=self.site(URL(self.api_url).authority),
            unpacks=True,
            left_out=tuple(
                f"Skipped {name!r} because Figshare has only a link to it." for name in links
            ),
        )


def _file(entry: Any) -> RemoteFile:
    return RemoteFile(
        path=text_at(entry, "name"),
        url=text_at(entry, "download_url"),
        size_bytes=size_at(entry, "size"),
        checksum=Checksum.parse(text_at(entry, "computed_md5") or text_at(entry, "supplied_md5")),
    )


def _pinned(doi: str, version: str) -> str:
    if not _VERSION.fullmatch(version) or not _ARTICLE.search(doi):
        return doi
    return _ARTICLE.sub(f"figshare.{version}", doi)
