"""Datasets on any Dataverse installation; the DOI tells which."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from yarl import URL

from jupyterhub_binder.errors import NotUnderstood, RepositoryNotFound, UnresolvableRef
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.repositories.links.address import take_apart
from jupyterhub_binder.repositories.providers.records import (
    DOIProvider,
    LeadsElsewhere,
    Odd,
    dig,
    is_on,
    list_at,
    read_doi,
    size_at,
    text_at,
    time_at,
)
from jupyterhub_binder.repositories.records.checkout import Listing, RemoteFile
from jupyterhub_binder.repositories.records.checksum import Checksum

_PAGES = ("/dataset.xhtml", "/file.xhtml", "/citation")
_PERSISTENT_ID = re.compile(r"[?&]persistentId=([^&#]+)", re.IGNORECASE)
_VERSION = re.compile(r"(\d{1,18})\.v(\d{1,9}\.\d{1,9})")
_ASKED_VERSION = re.compile(r"[?&]version=([^&#]*)", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")
_NEWEST = frozenset({"", ":latest", ":latest-published"})
_PAGE_SIZE = 1000
_MAX_PAGES = 200


class DataverseProvider(DOIProvider):
    """Datasets on Dataverse installations: the DOI of a dataset or of one of its files.

    A ref is a version number, ``2.0``, written as in Dataverse: ``10.7910/DVN/TJCLKP?version=2.0``.
    """

    prefix = "dataverse"
    display_name = "Dataverse"
    placeholder = "10.7910/DVN/TJCLKP"
    takes_any_doi = True

    def authorization(self, token: str) -> dict[str, str]:
        """Return Dataverse's token header."""
        return {"X-Dataverse-key": token}

    def is_page(self, url: URL) -> bool:
        """Recognise Dataverse's URLs."""
        if self.hosts and not is_on(url, self.hosts):
            return False
        return url.path.endswith(_PAGES) and "persistentId" in url.query

    def parse_spec(self, text: str) -> Spec:
        """Read a DOI with optional version. Raises NotUnderstood."""
        plain = unquote(text)
        found = _ASKED_VERSION.search(plain)
        if found is None:
            return super().parse_spec(text)
        spec = super().parse_spec(quote(plain[: found.start()]))
        return Spec(self.prefix, spec.repo, _read_version(found[1], self.default_ref))

    def format_spec(self, spec: Spec) -> str:
        """Write DOI and version."""
        version = "" if spec.ref == self.default_ref else f"?version={spec.ref}"
        return quote(f"{spec.repo}{version}")

    def parse_url(self, url: str) -> Link | None:
        """Read a dataset's or file's page."""
        place, found = take_apart(url), _PERSISTENT_ID.search(url)
        if found is None or not f"/{place.segments[-1]}".endswith(_PAGES):
            return None
        doi = read_doi(unquote(found[1]))
        if doi is None:
            raise NotUnderstood("This hub supports only Dataverse datasets that have a DOI.")
        asked = _ASKED_VERSION.search(url)
        version = _read_version(unquote(asked[1]) if asked else "", self.default_ref)
        return Link(Spec(self.prefix, doi, version))

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Resolve a version; default: the newest published."""
        page = await self.fetch_page(spec.repo)
        base = _base(page)
        dataset = await self._fetch_dataset(base, spec.repo)
        doi = f"{text_at(dataset, 'authority')}/{text_at(dataset, 'identifier')}"
        about = dig(dataset, "latestVersion")
        if spec.ref not in (self.default_ref, _number(about)):
            about = await self._fetch_version(base, doi, spec)
        version = f"{text_at(dataset, 'id')}.v{_number(about)}"
        if not _VERSION.fullmatch(version):
            raise Odd(page.host, spec.repo)
        return self.resolved(
            spec,
            version,
            page=str((base / "dataset.xhtml").with_query(persistentId=f"doi:{doi}")),
            title=_title(about),
            label=f"doi.org/{spec.repo}",
            repo_url=f"https://doi.org/{quote(spec.repo)}",
        )

    async def _fetch_version(self, base: URL, doi: str, spec: Spec) -> Any:
        """Raise UnresolvableRef for a missing version."""
        version = base / "api/datasets/:persistentId/versions" / spec.ref
        try:
            return await self._ask(version, doi, spec.repo)
        except RepositoryNotFound:
            raise UnresolvableRef(
                "%(doi)s has no published version %(version)s. Leave out the version to get "
                "the newest one.",
                doi=spec.repo,
                version=spec.ref,
            ) from None

    async def _fetch_dataset(self, base: URL, doi: str) -> Any:
        """Accept a file's DOI, too."""
        try:
            return await self._ask(base / "api/datasets/:persistentId", doi, doi)
        except RepositoryNotFound:
            file = await self._ask(
                base / "api/files/:persistentId", doi, doi, returnDatasetVersion="true"
            )
        of = read_doi(text_at(file, "datasetVersion", "datasetPersistentId"))
        if of is None:
            raise LeadsElsewhere(doi, str(base))
        return await self._ask(base / "api/datasets/:persistentId", of, doi)

    async def _ask(self, url: URL, doi: str, what: str, **query: Any) -> Any:
        answer = await self._web.fetch_json(
            f"{url}/", self.site(), what=what, persistentId=f"doi:{doi}", **query
        )
        return dig(answer, "data")

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files, which never change."""
        page = self.check_url(resolved.clone_url)
        found = _VERSION.fullmatch(resolved.resolved_ref)
        doi = read_doi(page.query.get("persistentId", ""))
        if found is None or doi is None:
            raise Odd(page.host, resolved.label)
        base = _base(page)
        version = base / "api/datasets/:persistentId/versions" / found[2]
        about = await self._ask(version, doi, resolved.label)
        entries = await self._fetch_files(version / "files", doi, resolved.label)
        closed = [_path(entry) for entry in entries if dig(entry, "restricted") is True]
        return Listing(
            title=_title(about),
            time=time_at(about, "releaseTime"),
            files=tuple(_file(base, e) for e in entries if dig(e, "restricted") is not True),
            site=self.site(),
            left_out=tuple(
                f"Skipped {path!r} because access to it is restricted." for path in closed
            ),
        )

    async def _fetch_files(self, url: URL, doi: str, what: str) -> list[Any]:
        """Return files by page; old installations send all at once."""
        entries: list[Any] = []
        for number in range(_MAX_PAGES):
            part = await self._ask(url, doi, what, limit=_PAGE_SIZE, offset=number * _PAGE_SIZE)
            part = part if isinstance(part, list) else []
            if entries and part[:1] == entries[:1]:
                break
            entries += part
            if len(part) != _PAGE_SIZE:
                break
        return entries


def _read_version(text: str, newest: str) -> str:
    """Return a full version number. Raises NotUnderstood for a draft."""
    if text.lower() in _NEWEST:
        return newest
    if (found := _NUMBER.fullmatch(text)) is None:
        raise NotUnderstood("This hub supports only published versions of Dataverse datasets.")
    return f"{int(found[1])}.{int(found[2] or 0)}"


def _base(page: URL) -> URL:
    return page.origin().with_path(page.path.rpartition("/")[0])


def _number(version: Any) -> str:
    return f"{text_at(version, 'versionNumber')}.{text_at(version, 'versionMinorNumber')}"


def _title(version: Any) -> str:
    fields = list_at(version, "metadataBlocks", "citation", "fields")
    titles = (text_at(field, "value") for field in fields if dig(field, "typeName") == "title")
    return next(titles, "")


def _path(entry: Any) -> str:
    name = text_at(entry, "dataFile", "originalFileName") or text_at(entry, "label")
    folder = text_at(entry, "directoryLabel").strip("/")
    return f"{folder}/{name}" if folder else name


def _file(base: URL, entry: Any) -> RemoteFile:
    """Return a file as uploaded, not Dataverse's table made of it.

    For tables, size and checksum are unreliable.
    """
    data = dig(entry, "dataFile")
    table = bool(text_at(data, "originalFileFormat") or text_at(data, "originalFileName"))
    url = base / "api/access/datafile" / str(size_at(data, "id") or 0)
    return RemoteFile(
        path=_path(entry),
        url=str(url.with_query(format="original") if table else url),
        size_bytes=None if table else size_at(data, "filesize"),
        checksum=None if table else _checksum(data),
    )


def _checksum(data: Any) -> Checksum | None:
    value = text_at(data, "checksum", "value") or text_at(data, "md5")
    return Checksum.parse(value)
