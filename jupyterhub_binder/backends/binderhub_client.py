"""One BinderHub as an HTTP client sees it: its stream of a build, its health, its providers.

Owns addresses, tokens and what can go wrong on the way. What the events mean is in
`binderhub_events`; connecting again, and to which of several, is decided by the callers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.sse import EventParser, ServerEvent

_MOST_BYTES = 1024 * 1024
"""What an answer other than a stream may hold."""
_QUESTION_SECONDS = 10.0
_BUILD_TOKEN_SECONDS = 300
_MAY_COME_BACK = frozenset({408, 425, 429, 500, 502, 503, 504})


class ConnectionLost(Exception):
    """The connection could not be made, or broke; trying again may help. Words for people."""

    def __init__(self, message: str, *, silent_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.silent_seconds = silent_seconds
        """How long nothing had come, where it was given up for its silence."""


class Refused(Exception):
    """BinderHub builds nothing for us, whatever the repository. Words for people."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a BinderHub is, and how it knows us."""

    name: str
    """What people are told."""
    url: URL
    """Its base URL, with a slash at the end."""
    token: str = field(default="", repr=False)
    build_token_secret: bytes = field(default=b"", repr=False)
    connect_seconds: float = 10.0
    read_seconds: float = 90.0
    """How long a stream may say nothing, not even that it is alive."""

    def called(self, name: str) -> Remote:
        """Return the same under another name."""
        return replace(self, name=name)


def parse_url(text: str, *, trait: str) -> URL:
    """Return a BinderHub's base URL. Raises ConfigurationError that names the trait."""
    try:
        url = URL(text.rstrip("/") + "/")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"{trait} must be the address at which BinderHub answers, such as "
            "http://binder/services/binder/."
        )
    if url.user or url.password:
        raise ConfigurationError(f"{trait} must hold no credentials: set the token instead.")
    return url.with_query(None).with_fragment(None)


def parse_secret(text: str, *, trait: str) -> bytes:
    """Return the bytes of a secret in hexadecimal. Raises ConfigurationError."""
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise ConfigurationError(
            f"{trait} must be hexadecimal, as BinderHub.build_token_secret is."
        ) from None
    if secret:
        _jwt()
    return secret


def _jwt() -> Any:
    try:
        import jwt
    except ImportError:
        raise ConfigurationError(
            "Build tokens need PyJWT: install jupyterhub-binder[binderhub]."
        ) from None
    return jwt


class BinderHubClient:
    """Asks one BinderHub; the session is its owner's to close."""

    def __init__(self, remote: Remote, session: aiohttp.ClientSession) -> None:
        self.remote = remote
        self._session = session

    async def stream(self, spec: str) -> AsyncGenerator[ServerEvent, None]:
        """Yield the events of a build until BinderHub ends them.

        `spec` is escaped already, with its provider before it: ``gh/org/name/<sha>``. Always
        asks for a build alone, never for a launch. Raises ConnectionLost or Refused.
        """
        parser = EventParser()
        timeout = aiohttp.ClientTimeout(
            total=None,
            connect=self.remote.connect_seconds,
            sock_connect=self.remote.connect_seconds,
            sock_read=self.remote.read_seconds,
        )
        try:
            async with self._session.get(
                self._build_url(spec),
                headers={**self._headers(), "Accept": "text/event-stream"},
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                _check_stream(response)
                async for data in response.content.iter_any():
                    for event in parser.feed(data):
                        yield event
        except aiohttp.SocketTimeoutError as error:
            silent_seconds = self.remote.read_seconds
            raise ConnectionLost(self._why(error), silent_seconds=silent_seconds) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionLost(self._why(error)) from error

    def _build_url(self, spec: str) -> URL:
        query = {"build_only": "true"}
        if self.remote.build_token_secret:
            query["build_token"] = self._build_token(spec)
        url = f"{self.remote.url}build/{spec}?{URL.build(query=query).raw_query_string}"
        return URL(url, encoded=True)

    def _build_token(self, spec: str) -> str:
        """Return a token for one build, as BinderHub's own pages carry one."""
        claims = {
            "aud": spec,
            "exp": int(time.time()) + _BUILD_TOKEN_SECONDS,
            "origin": self.remote.url.host_port_subcomponent,
        }
        return _jwt().encode(claims, self.remote.build_token_secret, algorithm="HS256")

    def _headers(self) -> dict[str, str]:
        token = self.remote.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def fetch_health(self) -> Mapping[str, Any]:
        """Return what its `/health` says, with whatever status. Raises ConnectionLost."""
        health = await self._fetch_json("health", any_status=True)
        if not isinstance(health, Mapping):
            raise ConnectionLost(f"{self.remote.name} gives no account of its health")
        return health

    async def fetch_prefixes(self) -> frozenset[str] | None:
        """Return the prefixes of its providers; None where it does not tell.

        Raises ConnectionLost.
        """
        providers = await self._fetch_json("api/repoproviders")
        if not isinstance(providers, list):
            return None
        found = (item.get("id") for item in providers if isinstance(item, Mapping))
        return frozenset(prefix for prefix in found if isinstance(prefix, str)) or None

    async def fetch_version(self) -> str:
        """Return its version, empty where it does not tell. Raises ConnectionLost."""
        versions = await self._fetch_json("versions")
        version = versions.get("binderhub") if isinstance(versions, Mapping) else None
        return version[:100] if isinstance(version, str) else ""

    async def _fetch_json(self, path: str, *, any_status: bool = False) -> Any:
        """Return an answer's JSON, None where it is something else."""
        try:
            async with (
                asyncio.timeout(_QUESTION_SECONDS),
                self._session.get(
                    self.remote.url.joinpath(path),
                    headers={"Accept": "application/json"},
                    allow_redirects=False,
                ) as response,
            ):
                if response.status >= 500 and not any_status:
                    raise ConnectionLost(f"{self.remote.name} answers {response.status}")
                if response.status != 200 and not any_status:
                    return None
                return _loads(await _read(response))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionLost(self._why(error)) from error

    def _why(self, error: BaseException) -> str:
        """Return in words what went wrong; an address or a token is not for everybody."""
        name = self.remote.name
        if isinstance(error, aiohttp.SocketTimeoutError):
            return f"{name} said nothing for {self.remote.read_seconds:g} seconds"
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return f"the address of {name} is not known here"
        if isinstance(error, TimeoutError):
            return f"{name} did not answer in time"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"{name} cannot be reached"
        return f"the connection to {name} broke"


def _check_stream(response: aiohttp.ClientResponse) -> None:
    status, kind = response.status, response.content_type
    if status == 200 and kind == "text/event-stream":
        return
    if status in _MAY_COME_BACK:
        raise ConnectionLost(f"BinderHub, or a proxy before it, answers {status}")
    _refuse(status)


def _refuse(status: int) -> NoReturn:
    if status in (401, 403) or 300 <= status < 400:
        raise Refused(
            "BinderHub does not know this service: its administrator gives it a token of the hub "
            "with the scope access:services!service=<BinderHub's name>"
        )
    raise Refused(f"no BinderHub answers at the configured address (status {status})")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = b""
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MOST_BYTES:
            return b""
    return data


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
