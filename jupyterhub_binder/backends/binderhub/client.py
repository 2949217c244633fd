"""HTTP client of one BinderHub: builds, health, providers.

`events` interprets the stream; callers decide about retries.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.sse import ServerEvent, read_events

_MAX_BYTES = 1024 * 1024
"""Maximum size of an answer, except streams."""
_QUESTION_SECONDS = 10.0
_BUILD_TOKEN_SECONDS = 300
_MAY_COME_BACK = frozenset({408, 425, 429, 500, 502, 503, 504})


class ConnectionLost(Exception):
    """The connection failed; a retry may help. The message is for people."""

    def __init__(self, message: Message, *, silent_seconds: float = 0.0) -> None:
        super().__init__(str(message))
        self.message = message
        self.silent_seconds = silent_seconds
        """The length of the silence, if that was the reason."""


class BinderHubRefused(Exception):
    """BinderHub refuses all our builds. The message is for people."""

    def __init__(self, message: Message) -> None:
        super().__init__(str(message))
        self.message = message


@dataclass(frozen=True, slots=True)
class BinderHubRemote:
    """The address of a BinderHub, and our credentials."""

    name: str
    """The name for people."""
    url: URL
    """The base URL, with a slash at the end."""
    token: str = field(default="", repr=False)
    build_token_secret: bytes = field(default=b"", repr=False)
    connect_seconds: float = 10.0
    read_seconds: float = 90.0
    """Maximum silence of a stream, without a keep-alive."""

    def called(self, name: str) -> BinderHubRemote:
        """Return a copy with another name."""
        return replace(self, name=name)


def parse_url(text: str, *, trait: str) -> URL:
    """Return a BinderHub's base URL. Raises ConfigurationError."""
    try:
        url = URL(text.rstrip("/") + "/")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"{trait} must be the address of BinderHub, such as http://binder/services/binder/."
        )
    if url.user or url.password:
        raise ConfigurationError(f"{trait} must not contain credentials. Set the token instead.")
    return url.with_query(None).with_fragment(None)


def parse_secret(text: str, *, trait: str) -> bytes:
    """Decode a hexadecimal secret. Raises ConfigurationError."""
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise ConfigurationError(
            f"{trait} must be hexadecimal, like BinderHub.build_token_secret."
        ) from None
    if secret:
        _jwt()
    return secret


def _jwt() -> Any:
    try:
        import jwt
    except ImportError:
        raise ConfigurationError(
            "Build tokens need PyJWT. Install jupyterhub-binder[binderhub]."
        ) from None
    return jwt


class BinderHubClient:
    """Sends requests to one BinderHub. The caller owns the session."""

    def __init__(self, remote: BinderHubRemote, session: aiohttp.ClientSession) -> None:
        self.remote = remote
        self._session = session

    async def stream(self, spec: str) -> AsyncGenerator[ServerEvent, None]:
        """Yield a build's events until BinderHub ends them.

        `spec` is escaped and has its provider: ``gh/owner/name/<sha>``. Never requests a launch.
        Raises ConnectionLost or Refused.
        """
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
                async with aclosing(read_events(response)) as events:
                    async for event in events:
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
        """Return a token for one build, as BinderHub's pages have."""
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
        """Return the answer of `/health`, whatever its status. Raises ConnectionLost."""
        health = await self._fetch_json("health", any_status=True)
        if not isinstance(health, Mapping):
            raise ConnectionLost(
                Message("%(hub)s does not report its health", hub=self.remote.name)
            )
        return health

    async def fetch_prefixes(self) -> frozenset[str] | None:
        """Return the provider prefixes, or None if not listed. Raises ConnectionLost."""
        providers = await self._fetch_json("api/repoproviders")
        if not isinstance(providers, list):
            return None
        found = (item.get("id") for item in providers if isinstance(item, Mapping))
        return frozenset(prefix for prefix in found if isinstance(prefix, str)) or None

    async def fetch_version(self) -> str:
        """Return its version, or "". Raises ConnectionLost."""
        versions = await self._fetch_json("versions")
        version = versions.get("binderhub") if isinstance(versions, Mapping) else None
        return version[:100] if isinstance(version, str) else ""

    async def _fetch_json(self, path: str, *, any_status: bool = False) -> Any:
        """Return an answer's JSON, or None."""
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
                    raise ConnectionLost(
                        Message(
                            "%(hub)s returned status %(status)s",
                            hub=self.remote.name,
                            status=response.status,
                        )
                    )
                if response.status != 200 and not any_status:
                    return None
                return _loads(await _read(response))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionLost(self._why(error)) from error

    def _why(self, error: BaseException) -> Message:
        """Explain a failure without addresses or tokens."""
        name = self.remote.name
        if isinstance(error, aiohttp.SocketTimeoutError):
            seconds = f"{self.remote.read_seconds:g}"
            return Message(
                "%(hub)s sent nothing for %(seconds)s seconds", hub=name, seconds=seconds
            )
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return Message("the address of %(hub)s can't be found", hub=name)
        if isinstance(error, TimeoutError):
            return Message("%(hub)s did not answer in time", hub=name)
        if isinstance(error, aiohttp.ClientConnectorError):
            return Message("%(hub)s can't be reached", hub=name)
        return Message("the connection to %(hub)s broke", hub=name)


def _check_stream(response: aiohttp.ClientResponse) -> None:
    status, kind = response.status, response.content_type
    if status == 200 and kind == "text/event-stream":
        return
    if status in _MAY_COME_BACK:
        raise ConnectionLost(
            Message("BinderHub or its proxy returned status %(status)s", status=status)
        )
    _refuse(status)


def _refuse(status: int) -> NoReturn:
    if status in (401, 403) or 300 <= status < 400:
        raise BinderHubRefused(
            Message(
                "BinderHub does not accept this service. It needs a token of BinderHub's hub "
                "with the scope access:services!service=<BinderHub's name>"
            )
        )
    raise BinderHubRefused(
        Message("no BinderHub answers at the configured address (status %(status)s)", status=status)
    )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = b""
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MAX_BYTES:
            return b""
    return data


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
