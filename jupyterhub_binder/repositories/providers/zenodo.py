"""Records on Zenodo and other InvenioRDM archives."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from traitlets import default
from yarl import URL

from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.repositories.links.address import take_apart
from jupyterhub_binder.repositories.links.understand import check_path
from jupyterhub_binder.repositories.providers.records import (
    DOIProvider,
    LeadsElsewhere,
    Odd,
    is_on,
    list_at,
    read_doi,
    size_at,
    text_at,
    time_at,
)
from jupyterhub_binder.repositories.records.checkout import Listing, RemoteFile
from jupyterhub_binder.repositories.records.checksum import Checksum

_RECORD = re.compile(r"/records?/([A-Za-z0-9-]{1,40})(?:/|$)|/doi/10\.[^?#]*?zenodo\.(\d+)$")
_VERSION = re.compile(r"[A-Za-z0-9-]{1,40}")
_SANDBOX_DOI = "10.5072"
"""DOIs of the sandbox, which no resolver knows."""
_SANDBOX = "https://sandbox.zenodo.org"


class ZenodoProvider(DOIProvider):
    """Records on Zenodo: the DOI of a version, or of all versions, for the newest."""

    prefix = "zenodo"
    display_name = "Zenodo"
    placeholder = "10.5281/zenodo.3242074"
    doi_pattern = re.compile(r"/zenodo\.\d+$", re.IGNORECASE)

    @default("hosts")
    def _default_hosts(self) -> list[str]:
        return ["zenodo.org", "*.zenodo.org"]

    def format_spec(self, spec: Spec) -> str:
        """Write the DOI, with a record number."""
        before, dot, _ = spec.repo.rpartition("zenodo.")
        pinned = dot and spec.ref.isdecimal()
        return quote(f"{before}zenodo.{spec.ref}" if pinned else spec.repo)

    def ref_url(self, repo_url: str, resolved_ref: str) -> str:
        """Link to the version by DOI."""
        before, dot, _ = repo_url.rpartition("zenodo.")
        return f"{before}zenodo.{resolved_ref}" if dot and resolved_ref.isdecimal() else repo_url

    def parse_url(self, url: str) -> Link | None:
        """Read a record's or file's page, or a DOI badge."""
        place = take_apart(url)
        if not is_on(URL(place.url), self.hosts):
            return None
        match place.segments:
            case ("record" | "records", record, "files" | "preview", *path):
                return Link(self._at(place.host, record), check_path(path))
            case ("record" | "records", record, *_):
                return Link(self._at(place.host, record))
            case ("api", "records", record, "files", *path, "content"):
                return Link(self._at(place.host, record), check_path(path))
            case ("api", "records", record, *_):
                return Link(self._at(place.host, record))
            case ("doi", *rest) | ("badge", "DOI", *rest):
                return Link(self.parse_spec("/".join(rest).removesuffix(".svg")))
        return None

    def _at(self, host: str, record: str) -> Spec:
        prefix = _SANDBOX_DOI if host.startswith("sandbox.") else "10.5281"
        return self.parse_spec(f"{prefix}/zenodo.{record}")

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Resolve a DOI; of all versions, to the newest."""
        page = await self._fetch_record_page(spec.repo)
        found = _RECORD.search(page.path)
        if found is None:
            raise LeadsElsewhere(spec.repo, str(page))
        record = await self._fetch_record(page, found[1] or found[2], spec.repo)
        version = text_at(record, "id")
        if not _VERSION.fullmatch(version):
            raise Odd(page.host, spec.repo)
        return self.resolved(
            spec,
            version,
            page=str(page.origin() / "records" / version),
            title=text_at(record, "metadata", "title"),
            label=f"doi.org/{spec.repo}",
            repo_url=f"https://doi.org/{quote(spec.repo)}",
        )

    async def _fetch_record_page(self, doi: str) -> URL:
        if read_doi(doi) and doi.startswith(f"{_SANDBOX_DOI}/"):
            return self.check_url(f"{_SANDBOX}/records/{doi.rpartition('.')[2]}")
        return await self.fetch_page(doi)

    async def _fetch_record(self, page: URL, record: str, what: str) -> Any:
        url = page.origin() / "api" / "records" / record
        return await self._web.fetch_json(url, self.site(), what=what)

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files, which never change."""
        page, version = self.check_url(resolved.clone_url), resolved.resolved_ref
        record = await self._fetch_record(page, version, resolved.label)
        url = page.origin() / "api" / "records" / version / "files"
        answer = await self._web.fetch_json(url, self.site(), what=resolved.label)
        files = [_file(page, version, entry) for entry in list_at(answer, "entries")]
        return Listing(
            title=text_at(record, "metadata", "title"),
            time=time_at(record, "metadata", "publication_date"),
            files=tuple(file for file in files if file.path),
            site=self.site(),
            unpacks=True,
        )


def _file(page: URL, version: str, entry: Any) -> RemoteFile:
    path = text_at(entry, "key")
    content = f"{page.origin()}/api/records/{version}/files/{quote(path, safe='')}/content"
    return RemoteFile(
        path=path,
        url=text_at(entry, "links", "content") or content,
        size_bytes=size_at(entry, "size"),
        checksum=Checksum.parse(text_at(entry, "checksum")),
    )
