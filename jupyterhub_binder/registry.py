"""A client of the Docker Registry HTTP API v2: is an image there, which tags, remove it.

Images go up through a container engine, which has them; here they are only asked for and
deleted. Credentials come from `dockerconfig`; where a registry wants tokens, they are fetched
for them. Whatever it answers, what is raised is a `BinderError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import aiohttp
from traitlets import Float, Unicode, default
from traitlets.config import LoggingConfigurable
from yarl import URL

from jupyterhub_binder.dockerconfig import DOCKER_HUB, Credentials, DockerConfig
from jupyterhub_binder.errors import ConfigurationError, NotAllowed, UpstreamUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DEFAULT_TOKEN_SECONDS = 60
_MOST_TOKEN_SECONDS = 3600
_MOST_TOKEN_CHARACTERS = 2**16
_MOST_BYTES = 4 * 2**20
_PAGE = 1000
_MOST_PAGES = 1000
_MOST_NAMES = 100_000
"""Tags or repositories in all, however many pages they come on."""
_MOST_NAME_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class ImageName:
    """A container image's name, taken apart."""

    host: str
    repository: str
    tag: str = "latest"

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read ``host[:port]/path[:tag]``; without a host it is Docker Hub's."""
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
    """One registry: the one that image names begin with."""

    url = Unicode(
        help="""Where the registry's API is. Default: https at the host that
        `Repo2DockerBackend.image_prefix` names, http on this machine. For example
        `http://registry.internal:5000`.""",
    ).tag(config=True)

    docker_config = Unicode(
        help="""A folder that holds a `config.json` with credentials (`docker login` and Kubernetes
        secrets of type dockerconfigjson make one). Default: that of the backend, else what the
        variable DOCKER_CONFIG names, else the user's `~/.docker`. Programs that it names
        (`credHelpers`, `credsStore`) are asked; they must be on the service's PATH. The
        `auth.json` of `podman login` is not looked for: link it as `config.json` into a folder
        that `Repo2DockerBackend.docker_config` names, which both then read.""",
    ).tag(config=True)

    timeout_seconds = Float(
        20, min=1, help="How long one answer may take, in seconds. Default: 20."
    ).tag(config=True)

    refresh_seconds = Float(
        300,
        min=0,
        help="""How long credentials that a program gave are used before it is asked anew, in
        seconds: those of clouds' registries end after an hour. Default: 300.""",
    ).tag(config=True)

    image_prefix = Unicode(help="What the images' names begin with; set by the backend.")

    @default("url")
    def _default_url(self) -> str:
        host = self.host
        if host == DOCKER_HUB:
            return "https://registry-1.docker.io"
        local = host.partition(":")[0] in ("localhost", "127.0.0.1")
        return f"{'http' if local else 'https'}://{host}"

    @property
    def host(self) -> str:
        """Return the host of the images' names."""
        return ImageName.parse(f"{self.image_prefix}x").host

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session: aiohttp.ClientSession | None = None
        self._config: DockerConfig | None = None
        self._credentials: Credentials | None = None
        self._fetched = 0.0
        self._tokens: dict[str, _Token] = {}
        self._basic = False

    async def start(self) -> None:
        """Read the credentials; raises ConfigurationError when they cannot be."""
        folder = self.docker_config or os.environ.get("DOCKER_CONFIG") or "~/.docker"
        self._config = await asyncio.to_thread(DockerConfig.read, folder, self.host)
        await self._fetch_credentials(self._config)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.timeout_seconds), trust_env=True
        )

    async def _fetch_credentials(self, config: DockerConfig) -> None:
        self._fetched = time.monotonic()
        self._credentials = await config.fetch()

    async def _refresh_credentials(self) -> None:
        """Ask a program for credentials again, since those that it gave may be good no more."""
        config = self._config
        if config and config.helper and time.monotonic() - self._fetched > self.refresh_seconds:
            try:
                await self._fetch_credentials(config)
            except ConfigurationError as error:
                raise NotAllowed(error.message) from error

    async def stop(self) -> None:
        """Close the connections; closing twice is harmless."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- Questions --------------------------------------------------------------------------

    async def fetch_digest(self, image: str) -> str | None:
        """Return the digest of an image's manifest; None if it is not there.

        Raises UpstreamUnavailable, and NotAllowed when the credentials do not suffice.
        """
        name = ImageName.parse(image)
        path = f"{_path(name.repository)}/manifests/{quote(name.tag, safe='')}"
        async with self._ask("HEAD", path, name.repository) as answer:
            if answer.status == 404:
                return None
            self._check(answer, name.repository)
            return answer.headers.get("Docker-Content-Digest") or ""

    async def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of ``host/path``, all pages of them; none if it is not there."""
        name = ImageName.parse(repository).repository
        first = f"{_path(name)}/tags/list?n={_PAGE}"
        return tuple(await self._list(first, name, "tags"))

    async def list_repositories(self) -> tuple[str, ...]:
        """Return the paths of all repositories; not every registry tells."""
        return tuple(await self._list(f"_catalog?n={_PAGE}", "", "repositories"))

    async def list_images(self, prefix: str) -> tuple[str, ...]:
        """Return the names, with tags, of the images that begin with a prefix, host included.

        Not every registry tells; one that does not has none.
        """
        begin = ImageName.parse(f"{prefix}x").repository.removesuffix("x")
        try:
            found = [path for path in await self.list_repositories() if path.startswith(begin)]
        except (NotAllowed, UpstreamUnavailable) as error:
            self.log.warning("The registry's images are not known: %s", error.message)
            return ()
        images: list[str] = []
        for name in [f"{self.host}/{path}" for path in found]:
            images += [f"{name}:{tag}" for tag in await self.list_tags(name)]
            self._check_number(images)
        return tuple(images)

    async def _list(self, path: str, repository: str, field: str) -> list[str]:
        found: list[str] = []
        for _ in range(_MOST_PAGES):
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
            f"The registry {self.host} has a list that does not end after {_MOST_PAGES} pages."
        )

    def _check_number(self, names: Sequence[str]) -> None:
        if len(names) > _MOST_NAMES:
            raise UpstreamUnavailable(
                f"The registry {self.host} lists more than {_MOST_NAMES} names; no more are read."
            )

    async def delete(self, image: str) -> None:
        """Remove an image's manifest; gone already is success.

        The registry frees the space when it next collects its garbage. Raises NotAllowed when
        it does not let images be deleted, UpstreamUnavailable when it does not answer.
        """
        digest = await self.fetch_digest(image)
        if not digest:
            return
        name = ImageName.parse(image).repository
        async with self._ask("DELETE", f"{_path(name)}/manifests/{digest}", name) as answer:
            if answer.status == 405:
                raise NotAllowed(
                    f"The registry {self.host} does not delete images; Debian's and Docker's do with "
                    "`storage.delete.enabled: true`."
                )
            if answer.status != 404:
                self._check(answer, name)

    async def health(self) -> str | None:
        """Return None if the registry answers and takes the credentials, else what to do."""
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
        """Send a request, once more with a token or a password when it is asked for one."""
        scope = f"repository:{repository}:{'delete' if method == 'DELETE' else 'pull'}"
        if not repository:
            scope = "registry:catalog:*" if path else ""
        try:
            answer = await self._send(method, path, self._known_header(scope))
            if answer.status == 401:
                answer.release()
                if header := await self._authenticate(answer, scope):
                    answer = await self._send(method, path, header)
            async with answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailable(
                f"The registry {self.host} does not answer ({type(error).__name__})."
            ) from error

    async def _send(self, method: str, path: str, header: str | None) -> aiohttp.ClientResponse:
        if self._session is None:
            raise UpstreamUnavailable("The registry's client has been stopped.")
        headers = {"Accept": _MANIFESTS, **({"Authorization": header} if header else {})}
        # Redirects of manifests stay within a registry; a token must not leave it.
        return await self._session.request(
            method, f"{self.url.rstrip('/')}/v2/{path}", headers=headers, allow_redirects=False
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
        """Keep a token, and of the others those that are still good."""
        now = time.monotonic()
        good = {known: kept for known, kept in self._tokens.items() if kept.until > now}
        self._tokens = {**good, scope: token}

    async def _fetch_token(self, asked: Mapping[str, str], scope: str) -> _Token:
        wanted = {"service": asked.get("service", ""), "scope": asked.get("scope") or scope}
        realm = self._read_realm(asked["realm"])
        headers = {"Authorization": self._credentials.header} if self._credentials else {}
        assert self._session is not None
        # No redirects: credentials go to the realm that was checked, and nowhere else.
        async with self._session.get(
            realm,
            params={k: v for k, v in wanted.items() if v},
            headers=headers,
            allow_redirects=False,
        ) as answer:
            self._check(answer, asked.get("scope", ""))
            found = await _read_json(answer)
        token = _read_token(found)
        if token is None:
            raise UpstreamUnavailable(f"The registry {self.host} gave no token.")
        return token

    def _read_realm(self, text: str) -> URL:
        """Return where tokens are, as a challenge says; NotAllowed where credentials must not go."""
        try:
            realm = URL(text)
        except ValueError as error:
            raise UpstreamUnavailable(
                f"The registry {self.host} names no address where tokens are."
            ) from error
        if self._credentials is not None and not may_have_credentials(realm, URL(self.url)):
            raise NotAllowed(
                f"The registry {self.host} wants its credentials sent to "
                f"{realm.scheme[:20] or 'http'}://{(realm.raw_host or '')[:100]}. They are sent over "
                "https alone, and over http only to the very address of a registry that is itself "
                "on http; the hub's admin should look at the registry's realm and at Registry.url."
            )
        return realm

    def _check(self, answer: aiohttp.ClientResponse, what: str) -> None:
        if answer.status in (401, 403):
            raise NotAllowed(
                f"The registry {self.host} refuses access{f' to {what}' if what else ''}; the hub's "
                "admin should look at the credentials in Registry.docker_config."
            )
        if answer.status >= 300:
            raise UpstreamUnavailable(
                f"The registry {self.host} answered with status {answer.status}."
            )


def _path(repository: str) -> str:
    return quote(repository, safe="/")


def _link(answer: aiohttp.ClientResponse) -> str:
    return answer.headers.get("Link", "")


async def _read_json(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await answer.content.read(_MOST_BYTES)
    while len(body) < _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES)):
        body += more
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamUnavailable("The registry's answer is no JSON.") from error
    if not isinstance(found, dict):
        raise UpstreamUnavailable("The registry's answer is not understood.")
    return cast("dict[str, Any]", found)


def _read_names(said: object) -> list[str]:
    """Return the names of one page; a registry says null where it has none."""
    if said is None:
        return []
    if not isinstance(said, list):
        raise UpstreamUnavailable("The registry's answer holds no list of names.")
    names = cast("list[object]", said)
    kept = [one for one in names if isinstance(one, str) and len(one) <= _MOST_NAME_CHARACTERS]
    if len(kept) < len(names):
        raise UpstreamUnavailable("The registry's answer holds what is no name.")
    return kept


def _read_token(found: Mapping[str, Any]) -> _Token | None:
    """Return the token of an answer; None where it has none that fits into a header."""
    text = found.get("token") or found.get("access_token")
    if not isinstance(text, str) or not (text.isascii() and text.isprintable()):
        return None
    if len(text) > _MOST_TOKEN_CHARACTERS:
        return None
    return _Token(f"Bearer {text}", time.monotonic() + 0.8 * _read_seconds(found.get("expires_in")))


def _read_seconds(said: object) -> float:
    if not isinstance(said, (int, float)):
        return _DEFAULT_TOKEN_SECONDS
    return min(said, _MOST_TOKEN_SECONDS) if said > 0 else 0


def may_have_credentials(realm: URL, registry: URL) -> bool:
    """Say whether a registry's credentials may go to where it says that tokens are.

    They may over https, and over http to the host and port of a registry that is on http, which
    gets them in any case. An address with credentials of its own is none. Pure.
    """
    if realm.user is not None or realm.password is not None or not realm.raw_host:
        return False
    return realm.scheme == "https" or (
        realm.scheme == "http" and _origin(realm) == _origin(registry)
    )


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port


_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def read_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Take a WWW-Authenticate header apart: its scheme in lower case, and its parameters."""
    scheme, _, rest = header.strip().partition(" ")
    found = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(rest)}
    return scheme.lower(), found
