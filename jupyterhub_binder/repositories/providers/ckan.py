"""Datasets on CKAN sites, which keep no earlier versions of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from yarl import URL

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model import Link, Resolved, Spec
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.identity import canonical
from jupyterhub_binder.repositories.providers.hydroshare import changed
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
from jupyterhub_binder.repositories.records.checkout import Listing, RemoteFile, file_name
from jupyterhub_binder.repositories.records.checksum import Checksum
from jupyterhub_binder.repositories.urls import parse_remote

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_DATASET = re.compile(r"(?P<before>.*?)/dataset/(?P<name>[^/]+)(?:/(?P<rest>.*))?")
_HISTORY = re.compile(r"(?:activity|history)/([A-Za-z0-9-]{1,100})")
_GIT_HOSTS = re.compile(r"(?:git|gitlab|gitea|forgejo|code)\.|codeberg\.org$|bitbucket\.org$")


@dataclass(frozen=True, slots=True)
class _Dataset:
    base: str
    name: str
    activity: str = ""

    @property
    def page(self) -> str:
        return f"{self.base}/dataset/{self.name}"

    @property
    def url(self) -> str:
        return f"{self.page}?activity_id={self.activity}" if self.activity else self.page


class CKANProvider(RecordProvider):
    """Datasets on CKAN sites, by URL; with an ``activity_id``, in that state."""

    prefix = "ckan"
    display_name = "CKAN"
    placeholder = "https://demo.ckan.org/dataset/my-sample-dataset-001"

    def authorization(self, token: str) -> dict[str, str]:
        """Return CKAN's token header."""
        return {"Authorization": token}

    def parse_spec(self, text: str) -> Spec:
        """Read an encoded dataset URL. Raises NotUnderstood."""
        dataset = _parse(unquote(text))
        if dataset is None:
            raise NotUnderstood(
                "That is not the address of a CKAN dataset. Example: %(example)s.",
                example=self.placeholder,
            )
        return Spec(self.prefix, dataset.url)

    def format_spec(self, spec: Spec) -> str:
        """Write the encoded dataset URL."""
        return quote(spec.repo, safe="")

    def parse_url(self, url: str) -> Link | None:
        """Read a dataset's, file's or history page."""
        dataset = _parse(url)
        if dataset is None or not self._may_be_one(URL(dataset.base)):
            return None
        return Link(Spec(self.prefix, dataset.url))

    def _may_be_one(self, base: URL) -> bool:
        if self.hosts:
            return is_on(base, self.hosts)
        return not _GIT_HOSTS.match(base.host or "")

    def identities(self, spec: Spec) -> tuple[str, ...]:
        """Return the URL without its state."""
        return (canonical(spec.repo),)

    async def fetch_resolved(self, spec: Spec) -> Resolved:
        """Use the time of change as version."""
        dataset = self._dataset(spec)
        about = await self._fetch_about(dataset)
        return self.resolved(
            spec,
            _version(about, dataset),
            page=dataset.url,
            title=text_at(about, "title") or dataset.name,
            label=dataset.page.partition("://")[2],
            repo_url=dataset.url,
        )

    def _dataset(self, spec: Spec) -> _Dataset:
        dataset = _parse(spec.repo)
        if dataset is None:
            raise NotUnderstood(
                "That is not the address of a CKAN dataset. Example: %(example)s.",
                example=self.placeholder,
            )
        self.check_url(dataset.base)
        return dataset

    async def _fetch_about(self, dataset: _Dataset) -> Any:
        api = f"{dataset.base}/api/3/action"
        if dataset.activity:
            action, query = "activity_data_show", {"id": dataset.activity, "object_type": "package"}
        else:
            action, query = "package_show", {"id": dataset.name}
        answer = await self._web.fetch_json(
            f"{api}/{action}",
            self.site(),
            what=Message("dataset %(name)s", name=dataset.name),
            **query,
        )
        result = dig(answer, "result")
        return dig(result, "package", default=result)

    async def fetch_listing(self, resolved: Resolved) -> Listing:
        """List files. Raises FetchFailed if the dataset changed."""
        dataset = self._dataset(resolved.spec)
        about = await self._fetch_about(dataset)
        if _version(about, dataset) != resolved.resolved_ref:
            raise changed(resolved)
        return Listing(
            title=text_at(about, "title") or dataset.name,
            time=time_at(about, "metadata_modified"),
            files=_files(list_at(about, "resources")),
            site=self.site(),
        )


def _parse(url: str) -> _Dataset | None:
    bare = re.split(r"[?#]", url, maxsplit=1)[0].rstrip("/")
    if not bare.startswith(("http://", "https://")):
        return None
    remote = parse_remote(bare)
    found = _DATASET.fullmatch(re.sub("/{2,}", "/", remote.path))
    if found is None or not _NAME.fullmatch(found["name"]) or found["name"].endswith(".git"):
        return None
    base = str(remote).removesuffix(remote.path) + found["before"].rstrip("/")
    if ".." in base.split("/"):
        return None
    return _Dataset(base, found["name"], _activity(found["rest"] or "", url))


def _activity(rest: str, url: str) -> str:
    """Return the URL's state, if any."""
    if found := _HISTORY.fullmatch(rest.rstrip("/")):
        return found[1]
    try:
        asked = parse_qs(urlsplit(url).query).get("activity_id", [""])[0]
    except ValueError:
        return ""
    return asked if re.fullmatch(r"[A-Za-z0-9-]{1,100}", asked) else ""


def _version(about: Any, dataset: _Dataset) -> str:
    seconds = int(time_at(about, "metadata_modified").timestamp())
    if not seconds:
        raise Odd(URL(dataset.base).host, Message("dataset %(name)s", name=dataset.name))
    return f"{dataset.name}.v{seconds}"


def _files(resources: list[Any]) -> tuple[RemoteFile, ...]:
    """Make names unique."""
    files: dict[str, RemoteFile] = {}
    for resource in resources:
        url, key = text_at(resource, "url"), text_at(resource, "id")
        if not url:
            continue
        name = unquote(file_name(url, key or "resource"))
        if name in files:
            path = PurePosixPath(name)
            name = f"{path.stem}-{key[:8] or len(files)}{path.suffix}"
        # People type the size of external files by hand.
        uploaded = dig(resource, "url_type") == "upload"
        files[name] = RemoteFile(
            path=name,
            url=url,
            size_bytes=size_at(resource, "size") if uploaded else None,
            checksum=Checksum.parse(text_at(resource, "hash")),
        )
    return tuple(files.values())
