"""Resources on HydroShare, which keeps no earlier versions."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from traitlets import Unicode, default
from yarl import URL

from jupyterhub_binder.errors import FetchFailed, NotUnderstood
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.identity import canonical
from jupyterhub_binder.repositories.links.address import take_apart
from jupyterhub_binder.repositories.links.understand import check_path
from jupyterhub_binder.repositories.providers.records import (
    Odd,
    RecordProvider,
    dig,
    is_on,
    list_at,
    size_at,
    text_at,
    time_at,
)
from jupyterhub_binder.repositories.records.checkout import Listing, RemoteFile
from jupyterhub_binder.repositories.records.checksum import Checksum

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{32})(?![0-9a-f])")
_DOI = re.compile(r"10\.4211/hs\.([0-9a-f]{32})", re.IGNORECASE)
_MAX_PAGES = 1000


class HydroShareProvider(RecordProvider):
    """Resources on HydroShare: a DOI or the resource's 32 digits."""

    prefix = "hydroshare"
    display_name = "HydroShare"
    placeholder = "10.4211/hs.8f7c2f0341ef4180b0dbe97f59130756"

    site_url = Unicode(
        "https://www.hydroshare.org",
        help="URL of HydroShare. Default: `https://www.hydroshare.org`.",
    ).tag(config=True)

    @default("hosts")
    def _default_hosts(self) -> list[str]:
        return ["www.hydroshare.org", "hydroshare.org"]

    @default("file_hosts")
    def _default_file_hosts(self) -> list[str]:
        return ["*.hydroshare.org"]

    def parse_spec(self, text: str) -> Spec:
        """Read the digits, a DOI or URL. Raises NotUnderstood."""
        found = _ID.search(unquote(text).lower())
        if found is None:
            raise NotUnderstood(
                "That is not a HydroShare resource. Write it as %(example)s.",
                example=self.placeholder,
            )
        return Spec(self.prefix, found[1])

    def format_spec(self, spec: Spec) -> str:
        """Write the digits, as BinderHub does."""
        return spec.repo

    def parse_doi(self, doi: str) -> Spec | None:
        """Read HydroShare's DOIs."""
        found = _DOI.fullmatch(doi)
        return Spec(self.prefix, found[1].lower()) if found else None

    def parse_url(self, url: str) -> Link | None:
        """Read a resource's or file's page."""
        place = take_apart(url)
        if not is_on(URL(place.url), self.hosts):
            return None
        match place.segments:
            case ("resource", resource, "data", "contents", *path):
                return Link(self.parse_spec(resource), check_path(path))
            case ("resource", resource, *_):
                return Link(self.parse_spec(resource))
        return None

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the page and the DOI."""
        return canonical(self._page(spec.repo)), canonical(f"10.4211/hs.{spec.repo}")

    def _page(self, resource: str) -> str:
        return f"{self.site_url.rstrip('/')}/resource/{resource}"

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Use the time of change as version."""
        page = self._page(spec.repo)
        about = await self._fetch_about(page, spec.repo)
        return self.resolved(
            spec,
            _version(about, spec.repo),
            page=str(self.check_url(page)),
            title=_title(about),
            label=page.removeprefix("https://"),
            repo_url=page,
        )

    async def _fetch_about(self, page: str, resource: str) -> Any:
        url = self.check_url(page).origin() / "hsapi/resource" / resource / "scimeta/elements"
        return await self._web.fetch_json(
            f"{url}/", self.site(), what=Message("resource %(name)s", name=resource)
        )

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files. Raises FetchFailed if the resource changed."""
        resource, page = resolved.spec.repo, self.check_url(resolved.clone_url)
        entries: list[Any] = []
        url = f"{page.origin() / 'hsapi/resource' / resource / 'files'}/"
        for _ in range(_MAX_PAGES):
            answer = await self._web.fetch_json(
                url, self.site(), what=Message("resource %(name)s", name=resource)
            )
            entries += list_at(answer, "results")
            url = text_at(answer, "next")
            if not url:
                break
        about = await self._fetch_about(str(page), resource)
        if _version(about, resource) != resolved.resolved_ref:
            raise changed(resolved)
        files = [_file(entry, resource) for entry in entries]
        return Listing(
            title=_title(about),
            time=_modified(about),
            files=tuple(file for file in files if file.path and file.url),
            site=self.site(),
        )


def changed(resolved: Resolved) -> FetchFailed:
    """Return the error for a lost version."""
    return FetchFailed(
        "%(label)s has changed, and its archive keeps no earlier versions. Build again.",
        label=resolved.label,
        code="record_changed",
    )


def _title(about: Any) -> str:
    return text_at(about, "title", "value") or text_at(about, "title")


def _modified(about: Any) -> datetime:
    dates = (date for date in list_at(about, "dates") if dig(date, "type") == "modified")
    return time_at(next(dates, None), "start_date")


def _version(about: Any, resource: str) -> str:
    seconds = int(_modified(about).timestamp())
    if not seconds:
        raise Odd("HydroShare", Message("resource %(name)s", name=resource))
    return f"{resource}.v{seconds}"


def _file(entry: Any, resource: str) -> RemoteFile:
    url = text_at(entry, "url")
    _, found, path = url.partition(f"{resource}/data/contents/")
    return RemoteFile(
        path=unquote(path) if found else text_at(entry, "file_name"),
        url=url,
        size_bytes=size_at(entry, "size"),
        checksum=Checksum.parse(text_at(entry, "checksum")),
    )
