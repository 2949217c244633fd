"""A local server that answers as the archives' public APIs do, and as they do on a bad day.

One address stands for all of them: the resolver of DOIs, Zenodo, Figshare, HydroShare,
Dataverse, CKAN, and the storage that their files are kept in.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from traitlets.config import Config

from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers

Fault = Callable[[web.Request], Any]
RESOURCE = "8f7c2f0341ef4180b0dbe97f59130756"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def make_zip(files: Mapping[str, bytes], *, compress: bool = True) -> bytes:
    """Return a zip file; a name that ends with a slash is a folder."""
    packed = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


@dataclass
class ArchiveServer:
    """What the archives hold, and how they misbehave."""

    url: str = ""
    dois: dict[str, str] = field(default_factory=dict)
    """Where a DOI leads: an address, or a path of this server."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The storage: what is at ``/storage/<name>``."""
    answers: dict[str, Any] = field(default_factory=dict)
    """JSON by path with its query; a text that begins with ``->`` is a redirect."""
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    """What happens to the next requests for a path, one each."""
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    ranges: bool = True

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def paths(self) -> list[str]:
        """Return what was asked for, in order."""
        return [path for path, _ in self.asked]

    def config(self) -> Config:
        """Return the configuration with which the providers ask this server alone."""
        c = Config()
        for name in ("Zenodo", "Figshare", "HydroShare"):
            c[f"{name}Provider"].hosts = ["127.0.0.1"]
            c[f"{name}Provider"].file_hosts = []
        c.DOIProvider.resolver_url = f"{self.url}/resolver"
        c.FigshareProvider.api_url = f"{self.url}/v2"
        c.HydroShareProvider.site_url = self.url
        c.Downloads.longest_wait_seconds = 2
        return c

    def providers(self, config: Config | None = None) -> Providers:
        git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
        merged = self.config()
        merged.merge(config or Config())
        return Providers(git=git, config=merged)

    def fetcher(self, providers: Providers, **traits: Any) -> Fetcher:
        return Fetcher(
            git=providers.git, archives=providers, watch_seconds=0.02, free_bytes=0, **traits
        )

    # --- What they hold -------------------------------------------------------------------------

    def add_zenodo(
        self, record: str, files: Mapping[str, bytes], *, concept: str = "", title: str = "Data"
    ) -> None:
        """Publish a record; of the DOI of all its versions it is the newest."""
        about = {
            "id": int(record),
            "conceptrecid": concept or record,
            "metadata": {"title": title, "publication_date": "2024-03-01"},
            "links": {"files": f"{self.url}/api/records/{record}/files"},
        }
        self.dois[f"10.5281/zenodo.{record}"] = f"/records/{record}"
        self.answers[f"/records/{record}"] = "<html>a page for people</html>"
        self.answers[f"/api/records/{record}"] = about
        if concept:
            self.dois[f"10.5281/zenodo.{concept}"] = f"/doi/10.5281/zenodo.{concept}"
            self.answers[f"/doi/10.5281/zenodo.{concept}"] = f"->/records/{record}"
            self.answers[f"/api/records/{concept}"] = f"->/api/records/{record}"
        entries = [
            {
                "key": name,
                "size": len(data),
                "checksum": f"md5:{md5(data)}",
                "links": {"content": self._store(f"zenodo-{record}", name, data)},
            }
            for name, data in files.items()
        ]
        self.answers[f"/api/records/{record}/files"] = {"enabled": True, "entries": entries}

    def add_figshare(
        self, article: str, versions: list[Mapping[str, bytes]], *, links: tuple[str, ...] = ()
    ) -> None:
        """Publish an article in versions 1, 2, …; its files come in pages of 100."""
        at = f"/v2/articles/{article}/versions"
        self.answers[at] = [{"version": n, "url": ""} for n in range(1, len(versions) + 1)]
        for number, files in enumerate(versions, 1):
            self.answers[f"{at}/{number}"] = {
                "title": f"Article {article}",
                "published_date": "2024-03-01T10:00:00Z",
            }
            entries: list[dict[str, Any]] = [
                {
                    "name": name,
                    "size": len(data),
                    "is_link_only": False,
                    "computed_md5": md5(data),
                    "download_url": self._store(f"figshare-{article}-{number}", name, data),
                }
                for name, data in files.items()
            ]
            entries += [
                {"name": name, "size": 0, "is_link_only": True, "download_url": "https://x.org/y"}
                for name in links
            ]
            for page in range(len(entries) // 100 + 1):
                part = entries[page * 100 : page * 100 + 100]
                self.answers[f"{at}/{number}/files?page={page + 1}&page_size=100"] = part

    def add_hydroshare(
        self, files: Mapping[str, bytes], *, modified: str = "2024-03-01T10:00:00.123+00:00"
    ) -> None:
        """Publish the resource; its files come in pages of two."""
        at = f"/hsapi/resource/{RESOURCE}"
        self.answers[f"/resource/{RESOURCE}"] = "<html>a page for people</html>"
        self.dois[f"10.4211/hs.{RESOURCE}"] = f"/resource/{RESOURCE}"
        self.answers[f"{at}/scimeta/elements/"] = {
            "title": "A resource",
            "dates": [
                {"type": "created", "start_date": "2020-01-01T00:00:00Z"},
                {"type": "modified", "start_date": modified},
            ],
        }
        entries = []
        for name, data in files.items():
            page = f"/resource/{RESOURCE}/data/contents/{name}"
            self.answers[page] = f"->{self._store('hydroshare', name, data)}"
            entries.append(
                {
                    "file_name": name.rpartition("/")[2],
                    "url": f"{self.url}{page}",
                    "size": len(data),
                    "checksum": md5(data),
                }
            )
        pages = [entries[n : n + 2] for n in range(0, len(entries), 2)] or [[]]
        for number, part in enumerate(pages, 1):
            more = f"{self.url}{at}/files/?page={number + 1}" if number < len(pages) else None
            answer = {"count": len(entries), "next": more, "results": part}
            self.answers[f"{at}/files/{f'?page={number}' if number > 1 else ''}"] = answer

    def add_dataverse(
        self,
        doi: str,
        files: Mapping[str, bytes],
        *,
        version: str = "2.1",
        file_doi: str = "",
        earlier: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        """Publish a dataset, and maybe a DOI of one of its files, and versions before this one."""
        for number, had in (earlier or {}).items():
            self.add_dataverse(doi, had, version=number)
        authority, _, identifier = doi.partition("/")
        major, _, minor = version.partition(".")
        query = f"?persistentId=doi:{doi}"
        about = {
            "versionNumber": int(major),
            "versionMinorNumber": int(minor),
            "releaseTime": "2024-03-01T10:00:00Z",
            "metadataBlocks": {
                "citation": {"fields": [{"typeName": "title", "value": "A dataset"}]}
            },
        }
        dataset = {
            "id": 77,
            "protocol": "doi",
            "authority": authority,
            "identifier": identifier,
            "latestVersion": about,
        }
        entries = []
        for number, (name, data) in enumerate(files.items(), 1 + 1000 * len(earlier or ())):
            folder, _, label = name.rpartition("/")
            self.answers[f"/api/access/datafile/{number}"] = (
                f"->{self._store('dataverse', name, data)}"
            )
            file = {"id": number, "filesize": len(data)}
            file["checksum"] = {"type": "MD5", "value": md5(data)}  # type: ignore[assignment]
            entries.append(
                {"label": label, "directoryLabel": folder, "restricted": False, "dataFile": file}
            )
        self.dois[doi] = f"/citation{query}"
        self.answers[f"/citation{query}"] = f"->/dataset.xhtml{query}"
        self.answers[f"/dataset.xhtml{query}"] = "<html>a page for people</html>"
        at = "/api/datasets/:persistentId"
        self.answers[f"{at}/{query}"] = {"status": "OK", "data": dataset}
        self.answers[f"{at}/versions/{version}/{query}"] = {"status": "OK", "data": about}
        files_at = f"{at}/versions/{version}/files/{query}"
        self.answers[f"{files_at}&limit=1000&offset=0"] = {"status": "OK", "data": entries}
        if file_doi:
            asked = f"?persistentId=doi:{file_doi}"
            self.dois[file_doi] = f"/file.xhtml{asked}"
            self.answers[f"/file.xhtml{asked}"] = "<html>a page for people</html>"
            self.answers[f"/api/files/:persistentId/{asked}&returnDatasetVersion=true"] = {
                "data": {"datasetVersion": {"datasetPersistentId": f"doi:{doi}"}}
            }

    def add_ckan(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        modified: str = "2024-03-01T10:00:00.123456",
        activity: str = "",
        before: str = "/data",
    ) -> str:
        """Publish a dataset; return its address."""
        resources: list[dict[str, Any]] = [
            {
                "id": f"{number:08d}-0000",
                "url": self._store(f"ckan-{number}", file, data),
                "url_type": "upload",
                "size": len(data),
                "hash": md5(data),
            }
            for number, (file, data) in enumerate(files.items(), 1)
        ]
        about = {"title": name, "metadata_modified": modified, "resources": resources}
        api = f"{before}/api/3/action"
        if activity:
            asked = f"{api}/activity_data_show?id={activity}&object_type=package"
            self.answers[asked] = {"success": True, "result": {"package": about}}
            return f"{self.url}{before}/dataset/{name}?activity_id={activity}"
        self.answers[f"{api}/package_show?id={name}"] = {"success": True, "result": about}
        return f"{self.url}{before}/dataset/{name}"

    def _store(self, kind: str, name: str, data: bytes) -> str:
        self.files[f"{kind}/{name}"] = data
        return f"{self.url}/storage/{kind}/{name}"

    # --- How they answer ------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        asked = f"{path}?{request.query_string}" if request.query_string else path
        asked = request.rel_url.human_repr() if asked not in self.answers else asked
        self.asked.append((asked, dict(request.headers)))
        for key in (asked, path):
            if self.faults[key]:
                return await self.faults[key].pop(0)(request)
        if path.startswith("/resolver/"):
            target = self.dois.get(path.removeprefix("/resolver/"))
            if target is None:
                raise web.HTTPNotFound
            raise web.HTTPFound(target if "://" in target else f"{self.url}{target}")
        if path.startswith("/storage/"):
            return self._send(request, self.files[path.removeprefix("/storage/")])
        answer = self.answers.get(asked, self.answers.get(path))
        if answer is None:
            raise web.HTTPNotFound
        if isinstance(answer, str) and answer.startswith("->"):
            raise web.HTTPFound(answer[2:])
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/html")
        return web.json_response(answer)

    def _send(self, request: web.Request, data: bytes) -> web.Response:
        wanted = request.http_range if self.ranges and "Range" in request.headers else None
        if wanted is None:
            return web.Response(body=data)
        start, stop, _ = wanted.indices(len(data))
        shown = f"bytes {start}-{stop - 1}/{len(data)}"
        return web.Response(body=data[start:stop], status=206, headers={"Content-Range": shown})


@asynccontextmanager
async def archives(ssl: Any = None) -> AsyncIterator[ArchiveServer]:
    """Run a server for as long as the context lasts."""
    server = ArchiveServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server._answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"{'https' if ssl else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


# --- A bad day ------------------------------------------------------------------------------------


def status(number: int, **headers: str) -> Fault:
    """Answer with an error."""

    async def answer(_: web.Request) -> web.Response:
        shown = {name.replace("_", "-"): text for name, text in headers.items()}
        return web.Response(status=number, headers=shown)

    return answer


def redirect(to: str) -> Fault:
    """Lead elsewhere."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": to})

    return answer


def cut(data: bytes) -> Fault:
    """Send half of it, then break the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def endless(chunk: bytes = b"\0" * 65536) -> Fault:
    """Send without an end, and without saying how much."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(chunk)

    return answer


def hang(first: bytes = b"") -> Fault:
    """Send the beginning, if any, then nothing for ever."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if first:
            await response.prepare(request)
            await response.write(first)
        await asyncio.Event().wait()
        return response

    return answer
