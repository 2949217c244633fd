"""Speaks to the hub's REST API, in a person's name: starts and stops servers, follows a start.

Works with JupyterHub 5 and 6 and knows where they differ. What a launch is, and when one is
allowed, is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from traitlets import Float, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder._version import __version__
from jupyterhub_binder.errors import (
    BinderError,
    Conflict,
    HubError,
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
)
from jupyterhub_binder.sse import EventParser

_FIRST_WITH_OPTIONS_KEY = (6,)
"""From here on the body of a start names its options; before, it is the options."""

_SILENCE_SECONDS = 30
"""The hub says something every 8 seconds while a server starts."""


@dataclass(frozen=True, slots=True)
class HubServer:
    """A server of a person, as the hub describes it."""

    name: str
    display_name: str
    ready: bool
    pending: str | None
    """``spawn`` or ``stop`` while that is under way."""
    url: str
    started: datetime | None
    user_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Say whether it runs, or is about to start or stop."""
        return self.ready or self.pending is not None

    @property
    def environment_id(self) -> str | None:
        """Return the environment that it was started from, if there is one."""
        return self._option("environment")

    @property
    def image(self) -> str | None:
        """Return the image that its spawner says it was started with."""
        return self._option("environment_image")

    def _option(self, name: str) -> str | None:
        value = self.user_options.get(name)
        return value if isinstance(value, str) and value else None


@dataclass(frozen=True, slots=True)
class HubProgress:
    """What the hub says about a server that starts; `ready` or `failed` is the last."""

    progress: int | None
    """In percent; None leaves it as it was."""
    message: str
    ready: bool = False
    failed: bool = False
    url: str | None = None


class HubClient(LoggingConfigurable):
    """The hub's REST API over one session. Every method takes the token it acts with.

    Raises HubError when the hub does not answer or fails, NotAllowed when the token does not
    reach that far, and Conflict, LimitReached or InvalidInput as the hub's words have it.
    """

    api_url = Unicode(
        config=True,
        help="""
        The hub's REST API, `http://127.0.0.1:8081/hub/api` for example.

        A service that the hub starts finds it in `JUPYTERHUB_API_URL`, which is the default.
        """,
    )
    api_token = Unicode(
        config=True,
        help="""
        The service's own token, for what it asks when nobody is there: how a server stands
        after a restart. Default: `JUPYTERHUB_API_TOKEN`.
        """,
    )
    timeout_seconds = Float(
        60,
        min=1,
        config=True,
        help="""
        How long one answer of the hub may take, in seconds.

        A start is answered after the hub's `slow_spawn_timeout` (10 seconds) at the latest;
        raise this together with it.
        """,
    )
    stop_timeout_seconds = Float(
        120, min=1, config=True, help="How long a server may take to stop, in seconds."
    )
    patience_seconds = Float(
        60,
        min=0,
        config=True,
        help="""
        For how long a start is followed on while the hub does not answer, in seconds: as long
        as a restart of the hub takes.
        """,
    )

    _session: aiohttp.ClientSession | None = None
    _version: tuple[int, ...] | None = None

    @default("api_url")
    def _default_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/hub/api")

    @default("api_token")
    def _default_api_token(self) -> str:
        return os.environ.get("JUPYTERHUB_API_TOKEN", "")

    async def start(self) -> None:
        """Open the session."""
        if self._session is None:
            headers = {"User-Agent": f"jupyterhub-binder/{__version__}"}
            self._session = aiohttp.ClientSession(headers=headers)

    async def stop(self) -> None:
        """Close the session; stopping twice is harmless."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- What the hub is -----------------------------------------------------------------------

    async def fetch_version(self) -> tuple[int, ...]:
        """Return the hub's version, ``(6, 1, 1)``; asked once."""
        if self._version is None:
            answer = await self._call("GET", "/", token="")
            found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(answer.get("version", "")))
            if found is None:
                raise HubError("What answers as the hub is none: check HubClient.api_url.")
            self._version = tuple(int(part) for part in found.groups(default="0"))
        return self._version

    # --- Servers ---------------------------------------------------------------------------------

    async def fetch_servers(self, token: str, user: str) -> tuple[HubServer, ...]:
        """Return the active servers of a person, the default one first."""
        model = await self._call("GET", f"/users/{_quoted(user)}", token)
        servers = model.get("servers")
        if servers is None:
            raise NotAllowed("The token does not allow to see your servers. Sign in again.")
        found = [_read_server(name, server) for name, server in servers.items()]
        return tuple(sorted((s for s in found if s.active), key=lambda server: server.name))

    async def fetch_server(self, token: str, user: str, server_name: str) -> HubServer | None:
        """Return one active server of a person, or None."""
        servers = await self.fetch_servers(token, user)
        return next((server for server in servers if server.name == server_name), None)

    async def fetch_environments_in_use(self, token: str) -> frozenset[str]:
        """Return the environments of all servers that run, start or stop, wherever they run.

        Raises NotAllowed where the token may not list everybody's servers.
        """
        found: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = await self._call("GET", f"/users?state=active&offset={offset}", token)
            users, following = page.get("items"), (page.get("_pagination") or {}).get("next")
            if not isinstance(users, list):
                raise HubError("What the hub says of its servers cannot be read.")
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
        """Ask for a start; it goes on after this returns. A start under way is success.

        Raises Conflict when the server runs already.
        """
        body: dict[str, Any] = dict(options)
        if await self.fetch_version() >= _FIRST_WITH_OPTIONS_KEY:
            body = {"user_options": body}
            if display_name and server_name:
                body["display_name"] = display_name
        await self._call("POST", _server_path(user, server_name), token, body=body)

    async def begin_stop(self, token: str, user: str, server_name: str) -> None:
        """Ask for a server's end, and wait no longer than the hub does before it answers.

        That is its `slow_stop_timeout`. One that is gone is success; raises Conflict for one
        that is starting.
        """
        with contextlib.suppress(NotFound):
            await self._call("DELETE", _server_path(user, server_name), token)

    async def stop_server(self, token: str, user: str, server_name: str) -> None:
        """Stop a server and wait until it has ended; one that is gone is success."""
        await self.begin_stop(token, user, server_name)
        pause = 0.1
        try:
            async with asyncio.timeout(self.stop_timeout_seconds):
                while await self.fetch_server(token, user, server_name) is not None:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 2)
        except TimeoutError as error:
            raise HubError("The server does not stop. Try again, or ask an administrator.") from (
                error
            )

    async def watch_progress(
        self, token: str, user: str, server_name: str
    ) -> AsyncIterator[HubProgress]:
        """Yield what the hub says about a start, across dropped connections.

        The last one is `ready` or `failed`.
        """
        loop = asyncio.get_running_loop()
        lost, pause = loop.time(), 0.2
        while True:
            try:
                async for progress in self._follow(token, user, server_name):
                    yield progress
                    if progress.ready or progress.failed:
                        return
                    lost, pause = loop.time(), 0.2
            except HubError:
                if loop.time() - lost > self.patience_seconds:
                    raise
            except (NotFound, InvalidInput, Conflict) as error:
                # Neither starting nor ready nor just failed: it has ended while nobody looked.
                self.log.debug("Progress of %s/%s: %s", user, server_name, error)
                yield HubProgress(None, "The server is not starting any more.", failed=True)
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)

    async def _follow(self, token: str, user: str, server_name: str) -> AsyncIterator[HubProgress]:
        url = f"{self.api_url}{_server_path(user, server_name)}/progress"
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.timeout_seconds, sock_read=_SILENCE_SECONDS
        )
        parser = EventParser()
        try:
            async with self._open.get(url, headers=_headers(token), timeout=timeout) as response:
                await _raise_for_status(response)
                async for chunk in response.content.iter_any():
                    for event in parser.feed(chunk):
                        yield _read_progress(event.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HubError("The hub does not answer. Try again in a moment.") from error

    # --- Requests --------------------------------------------------------------------------------

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise HubError("The service is stopping.")
        return self._session

    async def _call(
        self, method: str, path: str, token: str, *, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object of an answer, empty where it is none."""
        timeout = aiohttp.ClientTimeout(total=self.timeout_seconds)
        try:
            async with self._open.request(
                method, self.api_url + path, headers=_headers(token), json=body, timeout=timeout
            ) as response:
                await _raise_for_status(response)
                return await _json(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HubError("The hub does not answer. Try again in a moment.") from error


def _headers(token: str) -> dict[str, str]:
    # With this the hub says whether a list goes on.
    accept = {"Accept": "application/jupyterhub-pagination+json, application/json;q=0.9"}
    return accept | ({"Authorization": f"Bearer {token}"} if token else {})


def _environments_of(user: Mapping[str, Any]) -> set[str]:
    servers = user.get("servers")
    if servers is None:
        raise NotAllowed(
            "The service may not see people's servers: its role needs the scopes list:users and "
            "read:servers."
        )
    found = (_read_server(name, model).environment_id for name, model in servers.items())
    return {environment for environment in found if environment}


def _quoted(name: str) -> str:
    return quote(name, safe="@~")


def _server_path(user: str, server_name: str) -> str:
    if server_name in (".", ".."):  # the hub would be asked for something else altogether
        raise InvalidInput("A server cannot be called so.", detail={"field": "server_name"})
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
    """Raise the error that fits the hub's answer, in the hub's own words where it has any."""
    if response.status < 400:
        return
    said = str((await _json(response)).get("message") or "").strip()
    raise _error_of(response.status, said, response.headers.get("Retry-After", ""))


def _error_of(status: int, said: str, retry_after: str) -> BinderError:
    if status in (401, 403):
        return NotAllowed(
            "The hub does not allow this. Sign in again; if that does not help, ask an "
            f"administrator. ({said or status})"
        )
    if status == 404:
        return NotFound(said or "The hub knows no such user or server.")
    if status == 429:
        seconds = {"retry_after_seconds": int(retry_after)} if retry_after.isdigit() else {}
        return LimitReached(said or "The hub is busy. Try again in a moment.", detail=seconds)
    if status in (400, 409) and re.search(r"already running|is pending|being renamed", said):
        return Conflict(said)
    if status < 500:
        return InvalidInput(said or f"The hub refused with status {status}.")
    return HubError(said or f"The hub failed with status {status}. Try again in a moment.")
