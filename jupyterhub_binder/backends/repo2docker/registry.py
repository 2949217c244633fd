"""A client of the Docker Registry API v2 that lists and deletes images.

The engine pushes images. Credentials come from `docker_config`; tokens are requested if needed. All
errors are `BinderError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import aiohttp
from traitlets import Float, Unicode, default
from traitlets.config import LoggingConfigurable
from yarl import URL

from jupyterhub_binder.backends.repo2docker.docker_config import (
    DOCKER_HUB,
    Credentials,
    DockerConfig,
)
from jupyterhub_binder.errors import ConfigurationError, NotAllowed, UpstreamUnavailable
from jupyterhub_binder.utils.http import borrow_session, environment_proxy, take_connection
from jupyterhub_binder.utils.oci import MANIFEST_TYPES, read_challenge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MAX_CONNECTIONS = 100
_DEFAULT_TOKEN_SECONDS = 60
_MAX_TOKEN_SECONDS = 3600
_MAX_TOKEN_CHARACTERS = 2**16
_MAX_BYTES = 4 * 2**20
_PAGE = 1000
_MAX_PAGES = 1000
_MAX_NAMES = 100_000
"""Maximum number of tags or repositories on all pages."""
_MAX_NAME_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class ImageName:
    """A parsed image name."""

    host: str
    repository: str
    tag: str = "latest"

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Parse ``host[:port]/path[:tag]``; the default host is Docker Hub."""
        name = text.partition("@")[0]
        first, slash, rest = name.partition("/")
        if not (slash and ("." in first or ":" in first or first == "localhost")):
            first, rest = DOCKER_HUB, name
        repository, colon, tag = rest.rpartition(":")
        if not colon:
            repository, tag = rest, "latest"
        if first == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(first, repository, tag)


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    until: float


class Registry(LoggingConfigurable):
    """The registry of our images."""

    url = Unicode(
        help="""
        URL of the registry's API. Default: https at the host in `Repo2DockerBackend.image_prefix`,
        or http if the host is this machine. For example `http://registry.internal:5000`.
        """,
    ).tag(config=True)

    docker_config = Unicode(
        help="""
        A folder with a `config.json` that holds credentials (`docker login` and Kubernetes secrets
        of type dockerconfigjson make one). Default: the backend's `docker_config`, then the
        variable DOCKER_CONFIG, then `~/.docker`. Credential programs in it (`credHelpers`,
        `credsStore`) must be on the service's PATH. The `auth.json` of `podman login` is not read:
        link it as `config.json` into a folder and set `Repo2DockerBackend.docker_config` to that
        folder.
        """,
    ).tag(config=True)

    timeout_seconds = Float(
        20, min=1, help="Time limit for one answer of the registry, in seconds. Default: 20."
    ).tag(config=True)

    refresh_seconds = Float(
        300,
        min=0,
        help="""
        How long credentials from a program are used before the program is asked again, in seconds.
        Credentials of cloud registries expire after about an hour. Default: 300.
        """,
    ).tag(config=True)

    image_prefix = Unicode(help="Prefix of image names. The backend sets it.")

    @default("url")
    def _default_url(self) -> str:
        host = self.host
        if host == DOCKER_HUB:
            return "https://registry-1.docker.io"
        local = host.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if local else 'https'}://{host}"

    @property
    def host(self) -> str:
        """The host in image names."""
        return ImageName.parse(f"{self.image_prefix}x").host

    session: aiohttp.ClientSession | None = None
    """The service's HTTP session; without one the client opens its own at the start."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._config: DockerConfig | None = None
        self._credentials: Credentials | None = None
        self._fetched = 0.0
        self._tokens: dict[str, _Token] = {}
        self._basic = False

    async def start(self) -> None:
        """Read the credentials. Raises ConfigurationError."""
        folder = self.docker_config or os.environ.get("DOCKER_CONFIG") or "~/.docker"
        self._config = await asyncio.to_thread(DockerConfig.read, folder, self.host)
        await self._fetch_credentials(self._config)
        self._session = await self._stack.enter_async_context(borrow_session(self.session))

    async def _fetch_credentials(self, config: DockerConfig) -> None:
        self._fetched = time.monotonic()
        self._credentials = await config.fetch()

    async def _refresh_credentials(self) -> None:
        """Get credentials from a program again, because they expire."""
        config = self._config
        if config and config.helper and time.monotonic() - self._fetched > self.refresh_seconds:
            try:
                await self._fetch_credentials(config)
            except ConfigurationError as error:
                raise NotAllowed(error.message) from error

    async def stop(self) -> None:
        """Close connections. Idempotent."""
        self._session = None
        await self._stack.aclose()

    # --- Questions --------------------------------------------------------------------------

    async def fetch_digest(self, image: str) -> str | None:
        """Return the digest of an image's manifest, or None.

        Raises UpstreamUnavailable, NotAllowed.
        """
        name = ImageName.parse(image)
        path = f"{_path(name.repository)}/manifests/{quote(name.tag, safe='')}"
        async with self._ask("HEAD", path, name.repository) as answer:
            if answer.status == 404:
                return None
            self._check(answer, name.repository)
            return answer.headers.get("Docker-Content-Digest") or ""

    async def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return all tags of ``host/path``, or []."""
        name = ImageName.parse(repository).repository
        first = f"{_path(name)}/tags/list?n={_PAGE}"
        return tuple(await self._list(first, name, "tags"))

    async def list_repositories(self) -> tuple[str, ...]:
        """Return all repositories' paths, if the registry lists them."""
        return tuple(await self._list(f"_catalog?n={_PAGE}", "", "repositories"))

    async def list_images(self, prefix: str) -> tuple[str, ...]:
        """Return images that begin with a prefix, with tags; [] if the registry does not list them."""
        begin = ImageName.parse(f"{prefix}x").repository.removesuffix("x")
        try:
            found = [path for path in await self.list_repositories() if path.startswith(begin)]
        except (NotAllowed, UpstreamUnavailable) as error:
            self.log.warning("The images in the registry can't be listed: %s", error.message)
            return ()
        images: list[str] = []
        for name in [f"{self.host}/{path}" for path in found]:
            images += [f"{name}:{tag}" for tag in await self.list_tags(name)]
            self._check_number(images)
        return tuple(images)

    async def _list(self, path: str, repository: str, field: str) -> list[str]:
        found: list[str] = []
        for _ in range(_MAX_PAGES):
            async with self._ask("GET", path, repository) as answer:
                if answer.status == 404:
                    return found
                self._check(answer, repository)
                found += _read_names((await _read_json(answer)).get(field))
                self._check_number(found)
                following = re.match(
                    r'<(?:https?://[^/]+)?/v2/([^>]+)>;\s*rel="?next', _link(answer)
                )
            if following is None:
                return found
            path = following[1]
        raise UpstreamUnavailable(
            "The list of images in the registry %(host)s is longer than %(count)s pages, "
            "the limit.",
            host=self.host,
            count=_MAX_PAGES,
        )

    def _check_number(self, names: Sequence[str]) -> None:
        if len(names) > _MAX_NAMES:
            raise UpstreamUnavailable(
                "The registry %(host)s lists more than %(count)s names, the limit.",
                host=self.host,
                count=_MAX_NAMES,
            )

    async def delete(self, image: str) -> None:
        """Remove an image's manifest. Idempotent.

        The registry frees the space at its next garbage collection. Raises NotAllowed if deletion
        is disabled, UpstreamUnavailable.
        """
        digest = await self.fetch_digest(image)
        if not digest:
            return
        name = ImageName.parse(image).repository
        async with self._ask("DELETE", f"{_path(name)}/manifests/{digest}", name) as answer:
            if answer.status == 405:
                raise NotAllowed(
                    "The registry %(host)s does not allow images to be deleted. Debian's and "
                    "Docker's registries allow it with `storage.delete.enabled: true`.",
                    host=self.host,
                )
            if answer.status != 404:
                self._check(answer, name)

    async def health(self) -> str | None:
        """Return None if the registry accepts the credentials, else what to do."""
        try:
            async with self._ask("GET", "", "") as answer:
                self._check(answer, "")
        except (UpstreamUnavailable, NotAllowed) as error:
            return error.message
        return None

    # --- Requests ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _ask(
        self, method: str, path: str, repository: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, again with a token or password if required."""
        scope = f"repository:{repository}:{'delete' if method == 'DELETE' else 'pull'}"
        if not repository:
            scope = "registry:catalog:*" if path else ""
        try:
            async with take_connection(self._connections, self.timeout_seconds):
                answer = await self._send(method, path, self._known_header(scope))
                if answer.status == 401:
                    answer.release()
                    if header := await self._authenticate(answer, scope):
                        answer = await self._send(method, path, header)
                async with answer:
                    yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailable(
                "The registry %(host)s does not answer (%(why)s).",
                host=self.host,
                why=type(error).__name__,
            ) from error

    async def _send(self, method: str, path: str, header: str | None) -> aiohttp.ClientResponse:
        headers = {"Accept": MANIFEST_TYPES, **({"Authorization": header} if header else {})}
        return await self._request(method, f"{self.url.rstrip('/')}/v2/{path}", headers=headers)

    async def _request(self, method: str, url: str | URL, **options: Any) -> aiohttp.ClientResponse:
        """Send a request without following redirects, which must not get credentials."""
        if self._session is None:
            raise UpstreamUnavailable("The registry's client has been stopped.")
        return await self._session.request(
            method,
            url,
            allow_redirects=False,
            proxy=environment_proxy(URL(url)),
            timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
            **options,
        )

    def _known_header(self, scope: str) -> str | None:
        token = self._tokens.get(scope)
        if token is not None and token.until > time.monotonic():
            return token.header
        return self._credentials.header if self._basic and self._credentials else None

    async def _authenticate(self, answer: aiohttp.ClientResponse, scope: str) -> str | None:
        await self._refresh_credentials()
        challenge = answer.headers.get("WWW-Authenticate", "")
        scheme, asked = read_challenge(challenge if challenge.isascii() else "")
        if scheme == "basic" and self._credentials is not None:
            self._basic = True
            return self._credentials.header
        if scheme == "bearer" and asked.get("realm"):
            token = await self._fetch_token(asked, scope)
            self._keep(scope, token)
            return token.header
        return None

    def _keep(self, scope: str, token: _Token) -> None:
        """Keep a token; drop expired ones."""
        now = time.monotonic()
        good = {known: kept for known, kept in self._tokens.items() if kept.until > now}
        self._tokens = {**good, scope: token}

    async def _fetch_token(self, asked: Mapping[str, str], scope: str) -> _Token:
        wanted = {"service": asked.get("service", ""), "scope": asked.get("scope") or scope}
        realm = self._read_realm(asked["realm"])
        headers = {"Authorization": self._credentials.header} if self._credentials else {}
        params = {k: v for k, v in wanted.items() if v}
        async with await self._request("GET", realm, params=params, headers=headers) as answer:
            self._check(answer, asked.get("scope", ""))
            found = await _read_json(answer)
        token = _read_token(found)
        if token is None:
            raise UpstreamUnavailable(
                "The registry %(host)s did not return a token.", host=self.host
            )
        return token

    def _read_realm(self, text: str) -> URL:
        """Return the token server's URL. Raises NotAllowed if it must not get credentials."""
        try:
            realm = URL(text)
        except ValueError as error:
            raise UpstreamUnavailable(
                "The registry %(host)s returned an invalid address for tokens.", host=self.host
            ) from error
        if self._credentials is not None and not may_have_credentials(realm, URL(self.url)):
            raise NotAllowed(
                "The registry %(host)s asks for its credentials to be sent to "
                "%(scheme)s://%(there)s. They are sent only over https, or over http to the "
                "registry itself if it uses http. An administrator should check the registry's "
                "realm and Registry.url.",
                host=self.host,
                scheme=realm.scheme[:20] or "http",
                there=(realm.raw_host or "")[:100],
            )
        return realm

    def _check(self, answer: aiohttp.ClientResponse, what: str) -> None:
        if answer.status in (401, 403):
            if not what:
                raise NotAllowed(
                    "The registry %(host)s refused access. An administrator should check the "
                    "credentials in Registry.docker_config.",
                    host=self.host,
                )
            raise NotAllowed(
                "The registry %(host)s refused access to %(what)s. An administrator should "
                "check the credentials in Registry.docker_config.",
                host=self.host,
                what=what,
            )
        if answer.status >= 300:
            raise UpstreamUnavailable(
                "The registry %(host)s answered with status %(status)s.",
                host=self.host,
                status=answer.status,
            )


def _path(repository: str) -> str:
    return quote(repository, safe="/")


def _link(answer: aiohttp.ClientResponse) -> str:
    return answer.headers.get("Link", "")


async def _read_json(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await answer.content.read(_MAX_BYTES)
    while len(body) < _MAX_BYTES and (more := await answer.content.read(_MAX_BYTES)):
        body += more
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamUnavailable("The registry's answer is not JSON.") from error
    if not isinstance(found, dict):
        raise UpstreamUnavailable("The registry's answer is not a JSON object.")
    return cast("dict[str, Any]", found)


def _read_names(said: object) -> list[str]:
    """Return the names on one page; null means none."""
    if said is None:
        return []
    if not isinstance(said, list):
        raise UpstreamUnavailable("The registry's answer does not contain a list of names.")
    names = cast("list[object]", said)
    kept = [one for one in names if isinstance(one, str) and len(one) <= _MAX_NAME_CHARACTERS]
    if len(kept) < len(names):
        raise UpstreamUnavailable("The registry's answer contains an invalid name.")
    return kept


def _read_token(found: Mapping[str, Any]) -> _Token | None:
    """Return a token that fits into a header, or None."""
    text = found.get("token") or found.get("access_token")
    if not isinstance(text, str) or not (text.isascii() and text.isprintable()):
        return None
    if len(text) > _MAX_TOKEN_CHARACTERS:
        return None
    return _Token(f"Bearer {text}", time.monotonic() + 0.8 * _read_seconds(found.get("expires_in")))


def _read_seconds(said: object) -> float:
    if not isinstance(said, (int, float)):
        return _DEFAULT_TOKEN_SECONDS
    return min(said, _MAX_TOKEN_SECONDS) if said > 0 else 0


def may_have_credentials(realm: URL, registry: URL) -> bool:
    """Whether a token server may get the registry's credentials. Pure.

    It may over https, or over http if it is the registry itself. Its URL must not contain
    credentials.
    """
    if realm.user is not None or realm.password is not None or not realm.raw_host:
        return False
    return realm.scheme == "https" or (
        realm.scheme == "http" and _origin(realm) == _origin(registry)
    )


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port
