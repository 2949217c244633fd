"""A client of the hub's REST API, for JupyterHub 5 and 6."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import aiohttp
from traitlets import Float, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.errors import (
    BinderError,
    Conflict,
    HubError,
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.model.profiles import PROFILES_PATH, Profile, ProfileOption
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.http import take_connection
from jupyterhub_binder.utils.names import MAX_SERVER_NAME, is_server_name
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.sse import follow_events

_FIRST_WITH_OPTIONS_KEY = (6,)
"""Since then, the body of a start names its options."""

_FIRST_WITH_NAME_RULES = (6,)

_MAX_CONNECTIONS = 100

_SILENCE_SECONDS = 30
"""The hub sends something every 8 seconds."""


@dataclass(frozen=True, slots=True)
class HubServer:
    """A user's server."""

    name: str
    display_name: str
    ready: bool
    pending: str | None
    """``spawn``, ``stop`` or None."""
    url: str
    started: datetime | None
    user_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it runs, starts or stops."""
        return self.ready or self.pending is not None

    @property
    def environment_id(self) -> str | None:
        """The environment it runs."""
        return self._option("environment")

    @property
    def image(self) -> str | None:
        """From its spawner."""
        return self._option("environment_image")

    def _option(self, name: str) -> str | None:
        value = self.user_options.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class HubProgress:
    """Progress of a start."""

    progress: int | None
    """Percent; None means unchanged."""
    message: str
    ready: bool = False
    failed: bool = False
    url: str | None = None

    @property
    def is_last(self) -> bool:
        """Whether this is `ready` or `failed`."""
        return self.ready or self.failed


class HubClient(LoggingConfigurable):
    """The hub's REST API; methods take the token to use.

    Raises HubError if the hub fails, NotAllowed if the token lacks permissions, and Conflict,
    LimitReached or InvalidInput if the hub refuses.
    """

    api_url = Unicode(
        config=True,
        help="""
        URL of the hub's REST API, for example `http://127.0.0.1:8081/hub/api`.

        Default: `JUPYTERHUB_API_URL`, which the hub sets for services that it starts.
        """,
    )
    api_token = Unicode(
        config=True,
        help="""
        The service's own token. It is used when no user is involved, for example to check servers
        after a restart. Default: `JUPYTERHUB_API_TOKEN`.
        """,
    )
    timeout_seconds = Float(
        60,
        min=1,
        config=True,
        help="""
        How long the service waits for an answer from the hub, in seconds. Default: 60.

        The hub answers a start request after `slow_spawn_timeout` (10 seconds) at the latest. If
        you raise that, raise this too.
        """,
    )
    stop_timeout_seconds = Float(
        120,
        min=1,
        config=True,
        help="How long a server may take to stop, in seconds. Default: 120.",
    )
    patience_seconds = Float(
        60,
        min=0,
        config=True,
        help="""
        How long a start is followed while the hub does not answer, in seconds. Default: 60.

        Set it to the time that a restart of the hub takes.
        """,
    )

    _version: tuple[int, ...] | None = None

    def __init__(self, *, session: aiohttp.ClientSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._session = session
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)

    @default("api_url")
    def _default_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/hub/api")

    @default("api_token")
    def _default_api_token(self) -> str:
        return os.environ.get("JUPYTERHUB_API_TOKEN", "")

    # --- What the hub is -----------------------------------------------------------------------

    async def fetch_version(self) -> tuple[int, ...]:
        """Return the hub's version, ``(6, 1, 1)``."""
        if self._version is None:
            answer = await self._call("GET", "/", token="")
            found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(answer.get("version", "")))
            if found is None:
                raise HubError("The address in HubClient.api_url is not a JupyterHub API.")
            self._version = tuple(int(part) for part in found.groups(default="0"))
        return self._version

    async def fetch_info(self) -> Mapping[str, Any]:
        """Return the hub's version and, with the scope `read:hub`, its spawner's and others."""
        try:
            return await self._call("GET", "/info", self.api_token)
        except (NotAllowed, NotFound):
            return await self._call("GET", "/", token="")

    async def check_token(self) -> None:
        """Raise NotAllowed if the hub does not know the service's own token."""
        model = await self._call("GET", "/user", self.api_token)
        if model.get("kind") != "service":
            raise NotAllowed("The service's token does not belong to a service of the hub.")

    async def knows_user(self, name: str) -> bool:
        """Say whether the hub has a user of exactly this name. Raises NotAllowed."""
        if name in (".", ".."):  # it would change the path
            return False
        try:
            model = await self._call("GET", f"/users/{_quoted(name)}", self.api_token)
        except NotFound:
            return False
        return model.get("name") == name

    async def may_read_users(self) -> bool:
        """Say whether the service's own token shows the name of every user."""
        model = await self._call("GET", "/user", self.api_token)
        return "read:users:name" in (model.get("scopes") or ())

    async def fetch_profiles(self, token: str, user: str) -> tuple[Profile, ...]:
        """Return the profiles that the hub offers a person; none if it has no such route."""
        path = f"/users/{_quoted(user)}/{PROFILES_PATH}"
        try:
            found = (await self._call("GET", path, token)).get("profiles")
        except NotFound:
            return ()
        try:
            return tuple(_read_profile(each) for each in found or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise HubError("The hub's list of profiles could not be read.") from error

    # --- Servers ---------------------------------------------------------------------------------

    async def fetch_servers(self, token: str, user: str) -> tuple[HubServer, ...]:
        """Return the user's active servers, default first."""
        model = await self._call("GET", f"/users/{_quoted(user)}", token)
        servers = model.get("servers")
        if servers is None:
            raise NotAllowed("Your token doesn't give access to your servers. Sign in again.")
        found = [_read_server(name, server) for name, server in servers.items()]
        return tuple(sorted((s for s in found if s.active), key=lambda server: server.name))

    async def fetch_server(self, token: str, user: str, server_name: str) -> HubServer | None:
        """Return an active server, or None."""
        servers = await self.fetch_servers(token, user)
        return next((server for server in servers if server.name == server_name), None)

    async def check_new_name(self, token: str, user: str, server_name: str) -> None:
        """Raise InvalidInput if the hub would refuse a server that does not run.

        Since JupyterHub 6, names have rules; the hub may allow older servers with other names.
        """
        if not server_name or is_server_name(server_name):
            return
        if await self.fetch_version() < _FIRST_WITH_NAME_RULES:
            return
        path = f"/users/{_quoted(user)}?include_stopped_servers"
        if server_name not in ((await self._call("GET", path, token)).get("servers") or {}):
            raise InvalidInput(
                "The hub does not accept a server with the name “%(name)s”. A name has at most "
                "%(most)s lower-case letters, digits and single hyphens. It begins with a letter "
                "and does not end with a hyphen.",
                name=server_name,
                most=MAX_SERVER_NAME,
                detail={"field": "server_name"},
            )

    async def fetch_environments_in_use(self, token: str) -> frozenset[str]:
        """Return all active servers' environments. Raises NotAllowed."""
        found: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = await self._call("GET", f"/users?state=active&offset={offset}", token)
            users, following = page.get("items"), (page.get("_pagination") or {}).get("next")
            if not isinstance(users, list):
                raise HubError("The hub's list of servers could not be read.")
            for user in users:
                found |= _environments_of(user)
            offset = following["offset"] if following else None
        return frozenset(found)

    async def start_server(
        self,
        token: str,
        user: str,
        server_name: str,
        options: Mapping[str, Any],
        *,
        display_name: str | None = None,
    ) -> None:
        """Request a start, unless under way. Raises Conflict if the server runs."""
        body: dict[str, Any] = dict(options)
        if await self.fetch_version() >= _FIRST_WITH_OPTIONS_KEY:
            body = {"user_options": body}
            if display_name and server_name:
                body["display_name"] = display_name
        await self._call("POST", _server_path(user, server_name), token, body=body)

    async def begin_stop(self, token: str, user: str, server_name: str) -> None:
        """Request a stop; wait at most the hub's `slow_stop_timeout`. Idempotent.

        Raises Conflict for a starting server.
        """
        with contextlib.suppress(NotFound):
            await self._call("DELETE", _server_path(user, server_name), token)

    async def stop_server(self, token: str, user: str, server_name: str) -> None:
        """Stop a server and wait for its end. Idempotent."""
        await self.begin_stop(token, user, server_name)
        backoff = Backoff(0.1, max_seconds=2)
        try:
            async with asyncio.timeout(self.stop_timeout_seconds):
                while await self.fetch_server(token, user, server_name) is not None:
                    await backoff.wait()
        except TimeoutError as error:
            raise HubError(
                "The server did not stop in time. Try again, or ask an administrator."
            ) from (error)

    async def watch_progress(
        self, token: str, user: str, server_name: str
    ) -> AsyncIterator[HubProgress]:
        """Yield the progress of a start, reconnecting as needed."""
        events = follow_events(
            partial(self._open_progress, token, user, server_name),
            is_last=lambda event: _read_progress(event.json()).is_last,
            passing=HubError,
            backoff=Backoff(0.2, max_seconds=5, patience_seconds=self.patience_seconds),
        )
        try:
            async with aclosing(events):
                async for event in events:
                    yield _read_progress(event.json())
        except (NotFound, InvalidInput, Conflict) as error:
            # Not starting, ready or just failed: it ended between two connections.
            self.log.debug("Progress of %s/%s: %s", user, server_name, error)
            yield HubProgress(None, "The server is no longer starting.", failed=True)

    @asynccontextmanager
    async def _open_progress(
        self, token: str, user: str, server_name: str, _last_event_id: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open the stream; the hub repeats all events."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.timeout_seconds, sock_read=_SILENCE_SECONDS
        )
        path = f"{_server_path(user, server_name)}/progress"
        async with self._request("GET", path, token, timeout) as response:
            yield response

    # --- Requests --------------------------------------------------------------------------------

    async def _call(
        self, method: str, path: str, token: str, *, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=self.timeout_seconds)
        async with self._request(method, path, token, timeout, body=body) as response:
            return await _json(response)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        token: str,
        limits: aiohttp.ClientTimeout,
        *,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session.closed:
            raise HubError("The service is stopping.")
        try:
            async with (
                take_connection(self._connections, self.timeout_seconds),
                self._session.request(
                    method, self.api_url + path, headers=_headers(token), json=body, timeout=limits
                ) as response,
            ):
                await _raise_for_status(response)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HubError("The hub does not answer. Try again in a moment.") from error


def _headers(token: str) -> dict[str, str]:
    # This makes the hub say whether a list continues.
    accept = {"Accept": "application/jupyterhub-pagination+json, application/json;q=0.9"}
    return accept | ({"Authorization": f"Bearer {token}"} if token else {})


def _environments_of(user: Mapping[str, Any]) -> set[str]:
    servers = user.get("servers")
    if servers is None:
        raise NotAllowed(
            "The service has no permission to list servers. Its role needs the scopes "
            "list:users and read:servers."
        )
    found = (_read_server(name, model).environment_id for name, model in servers.items())
    return {environment for environment in found if environment}


def _quoted(name: str) -> str:
    return quote(name, safe="@~")


def _server_path(user: str, server_name: str) -> str:
    if server_name in (".", ".."):  # it would change the path
        raise InvalidInput(
            "A server name must not be “.” or “..”.", detail={"field": "server_name"}
        )
    tail = f"servers/{_quoted(server_name)}" if server_name else "server"
    return f"/users/{_quoted(user)}/{tail}"


def _read_server(name: str, model: Mapping[str, Any]) -> HubServer:
    started = model.get("started")
    options = model.get("user_options")
    return HubServer(
        name=name,
        display_name=str(model.get("display_name") or name),
        ready=bool(model.get("ready")),
        pending=model.get("pending") or None,
        url=str(model.get("url") or ""),
        started=datetime.fromisoformat(started) if started else None,
        user_options=options if isinstance(options, dict) else {},
    )


def _read_profile(model: Mapping[str, Any]) -> Profile:
    options = tuple(ProfileOption(**option) for option in model["options"])
    return Profile(**{**model, "options": options})


def _read_progress(event: Mapping[str, Any]) -> HubProgress:
    percent = event.get("progress")
    return HubProgress(
        progress=max(0, min(100, int(percent))) if isinstance(percent, int | float) else None,
        message=str(event.get("message") or ""),
        ready=bool(event.get("ready")),
        failed=bool(event.get("failed")),
        url=event.get("url") or None,
    )


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        value = await response.json(content_type=None)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    """Raise the matching error, with the hub's message if any."""
    if response.status < 400:
        return
    said = str((await _json(response)).get("message") or "").strip()
    raise _error_of(response.status, said, response.headers.get("Retry-After", ""))


def _error_of(status: int, said: str, retry_after: str) -> BinderError:
    own = Message.verbatim(said) if said else None
    if status in (401, 403):
        return NotAllowed(
            "The hub refused this (%(why)s). Sign in again. If that doesn't help, ask an "
            "administrator.",
            why=said or status,
        )
    if status == 404:
        return NotFound(own or Message("The hub has no such user or server."))
    if status == 429:
        seconds = {"retry_after_seconds": int(retry_after)} if retry_after.isdigit() else {}
        return LimitReached(
            own or Message("The hub is busy. Try again in a moment."), detail=seconds
        )
    if status in (400, 409) and re.search(r"already running|is pending|being renamed", said):
        return Conflict(Message.verbatim(said))
    if status < 500:
        return InvalidInput(
            own or Message("The hub refused the request (status %(status)s).", status=status)
        )
    failed = Message(
        "The hub returned an error (status %(status)s). Try again in a moment.", status=status
    )
    return HubError(own or failed)
