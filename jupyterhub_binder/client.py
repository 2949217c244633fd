"""A client of the REST API, for the command line, the demo and anybody's scripts.

It speaks HTTP and JSON and follows event streams across dropped connections. What it returns
is the API's JSON as it came: whoever prints it cleans it first (`terminal`).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp

from jupyterhub_binder._version import __version__
from jupyterhub_binder.errors import BinderError, InvalidInput
from jupyterhub_binder.sse import EventParser, ServerEvent

Json = dict[str, Any]

SILENCE_SECONDS = 60
"""A stream that says nothing for so long, not even its heartbeat, is taken up again."""


_PAGE = 200
"""How many items of a list are asked for at once: the most that the service gives."""


class ApiError(BinderError):
    """The service answered with an error; `status` is HTTP's."""

    code = "api_error"

    def __init__(
        self, message: str, *, http_status: int, code: str | None = None, detail: Any = None
    ) -> None:
        super().__init__(message, code=code, detail=detail if isinstance(detail, dict) else None)
        self.http_status = http_status


class Unreachable(BinderError):
    """The hub or its service gave no answer."""

    code: ClassVar[str] = "unreachable"


def find_service_url(url: str, *, service: str = "binder") -> str:
    """Return the service's URL out of whatever page of a hub a person copied.

    Accepts the hub's root, a page below ``/hub/``, a server's URL below ``/user/`` and any page
    of the service itself. Raises InvalidInput for what is no http URL.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is not a hub's address: https://hub.example.org, for example.")
    path = parts.path.rstrip("/") + "/"
    root, found, rest = path.partition("/services/")
    if found:
        service = rest.partition("/")[0] or service
    else:
        for marker in ("/hub/", "/user/"):
            root = root.partition(marker)[0]
    base = f"{root.rstrip('/')}/services/{service}/"
    return urlunsplit((parts.scheme, parts.netloc, base, "", ""))


class BinderClient:
    """One person's view of the service: `async with BinderClient(hub, token) as client`.

    Every method raises ApiError where the service refused and Unreachable where nobody
    answered. Times within are seconds.
    """

    def __init__(
        self, url: str, token: str, *, timeout_seconds: float = 60, retry_seconds: float = 1
    ) -> None:
        self.url = find_service_url(url)
        self._api = f"{self.url}api/v1"
        self._retry_seconds = retry_seconds
        self._headers = {"User-Agent": f"jupyterhub-binder/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=15)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> BinderClient:
        """Open the connections."""
        # The environment's proxy settings hold for a hub as for any other site.
        self._session = aiohttp.ClientSession(headers=self._headers, trust_env=True)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def page_url(self, path: str) -> str:
        """Return the address of one of the service's pages, as the API's links name it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, path, "", "")) if path else self.url

    # --- What there is -----------------------------------------------------------------------

    async def info(self) -> Json:
        """Return versions, who I am, my limits, the backend and the providers."""
        return await self._call("GET", "/")

    async def resolve(self, link: Mapping[str, Any]) -> Json:
        """Return what the service makes of a link, without building anything."""
        return await self._call("POST", "/resolve", json=link)

    async def environments(
        self, *, search: str = "", owner: str | None = None, deleted: bool = False
    ) -> list[Json]:
        """Return environments, the most recently used first; `owner` ``*`` for an admin: all.

        With `deleted` those that can still be restored.
        """
        wanted = "1" if deleted else ""
        return await self._all("/environments", search=search, owner=owner, deleted=wanted)

    async def environment(self, environment_id: str) -> Json:
        """Return one environment."""
        return await self._call("GET", f"/environments/{quote(environment_id, safe='')}")

    async def create(self, fields: Mapping[str, Any]) -> Json:
        """Create an environment, and begin its build unless `fields` say otherwise."""
        return await self._call("POST", "/environments", json=fields)

    async def update(self, environment_id: str, changes: Mapping[str, Any]) -> Json:
        """Change an environment's name, what it opens, or what happens to its files."""
        path = f"/environments/{quote(environment_id, safe='')}"
        return await self._call("PATCH", path, json=changes)

    async def delete(self, environment_id: str) -> Json:
        """Delete an environment; return it as it was."""
        return await self._call("DELETE", f"/environments/{quote(environment_id, safe='')}")

    async def restore(self, environment_id: str) -> Json:
        """Undo the deletion of an environment."""
        path = f"/environments/{quote(environment_id, safe='')}/restore"
        return await self._call("POST", path, json={})

    # --- Builds ------------------------------------------------------------------------------

    async def rebuild(
        self, environment_id: str, *, ref: str | None = None, force: bool = False
    ) -> Json:
        """Build an environment again; return the environment."""
        body = {"force": force} | ({"ref": ref} if ref else {})
        path = f"/environments/{quote(environment_id, safe='')}/builds"
        return await self._call("POST", path, json=body)

    async def build(self, build_id: str) -> Json:
        """Return one build."""
        return await self._call("GET", f"/builds/{quote(build_id, safe='')}")

    async def cancel_build(self, build_id: str) -> Json:
        """Withdraw my wish for a build; it ends when nobody else wants it."""
        return await self._call("POST", f"/builds/{quote(build_id, safe='')}/cancel")

    def watch_build(self, build_id: str, *, after: int = 0) -> AsyncIterator[ServerEvent]:
        """Yield a build's events to its end: ``build``, ``message`` (a log line), ``end``."""
        return self._events(f"/builds/{quote(build_id, safe='')}/events", after=after)

    # --- Launches ----------------------------------------------------------------------------

    async def launch(self, environment_id: str, fields: Mapping[str, Any]) -> Json:
        """Start a server from an environment; return the launch."""
        path = f"/environments/{quote(environment_id, safe='')}/launches"
        return await self._call("POST", path, json=fields)

    async def stop(self, environment_id: str) -> list[Json]:
        """Stop my servers of an environment; return those that end."""
        path = f"/environments/{quote(environment_id, safe='')}/stop"
        return (await self._call("POST", path, json={}))["items"]

    async def launch_state(self, launch_id: str) -> Json:
        """Return one launch."""
        return await self._call("GET", f"/launches/{quote(launch_id, safe='')}")

    def watch_launch(self, launch_id: str) -> AsyncIterator[ServerEvent]:
        """Yield a launch's states until it is finished."""
        return self._events(f"/launches/{quote(launch_id, safe='')}/events")

    async def cancel_launch(self, launch_id: str) -> Json:
        """Stop a launch that is under way."""
        return await self._call("POST", f"/launches/{quote(launch_id, safe='')}/cancel")

    async def servers(self) -> list[Json]:
        """Return my running servers."""
        return (await self._call("GET", "/servers"))["items"]

    # --- For admins --------------------------------------------------------------------------

    async def admin(self, method: str, path: str, *, body: Any = None, **params: Any) -> Json:
        """Ask a route below ``/admin``; empty parameters are left out."""
        return await self._call(method, f"/admin/{path}", params=_sent(params), json=body)

    async def admin_all(self, path: str, **params: Any) -> list[Json]:
        """Return all items of a list for admins, however many pages it has."""
        return await self._all(f"/admin/{path}", **params)

    async def admin_text(self, path: str, **params: Any) -> str:
        """Return a file for admins."""
        response, text = await self._request("GET", f"/admin/{path}", params=_sent(params))
        if response.status != 200:
            self._read(response, text)
        return text

    # --- Requests ----------------------------------------------------------------------------

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        return self._session

    async def _all(self, path: str, **params: Any) -> list[Json]:
        """Return all items of a list, however many pages it has."""
        items: list[Json] = []
        while True:
            wanted = _sent({**params, "offset": len(items), "limit": _PAGE})
            page = await self._call("GET", path, params=wanted)
            items += page["items"]
            if not page["items"] or len(items) >= page["total"]:
                return items

    async def _call(self, method: str, path: str, **kw: Any) -> Json:
        return self._read(*await self._request(method, path, **kw))

    async def _request(
        self, method: str, path: str, **kw: Any
    ) -> tuple[aiohttp.ClientResponse, str]:
        try:
            async with self._open.request(
                method, self._api + path, timeout=self._timeout, allow_redirects=False, **kw
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        return response, text

    def _unreachable(self, error: BaseException) -> Unreachable:
        failed = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
        why = getattr(failed, "strerror", "") or str(failed) or "no answer in time"
        return Unreachable(f"{self.url} cannot be reached: {why}")

    def _read(self, response: aiohttp.ClientResponse, text: str) -> Json:
        try:
            data = json.loads(text) if text else {}
        except ValueError:
            data = None
        if response.status < 300 and isinstance(data, dict):
            return data
        raise self._refused(response, data)

    def _refused(self, response: aiohttp.ClientResponse, data: Any) -> ApiError:
        error = data.get("error") if isinstance(data, dict) else None
        if response.status == HTTPStatus.UNAUTHORIZED:
            what = "The hub does not accept this token; its page Token makes a new one."
            return ApiError(what, http_status=401, code="not_signed_in")
        if isinstance(error, dict):
            return ApiError(
                str(error.get("message", "")),
                http_status=response.status,
                code=str(error.get("code", "")) or None,
                detail=error.get("detail"),
            )
        if response.status == HTTPStatus.FORBIDDEN:  # the service says why, in JSON
            what = (
                "Something else answers in place of the service, which may be starting: try again "
                "in a moment, or ask the hub's administrators whether it runs."
            )
            return ApiError(what, http_status=503, code="no_service")
        if response.status in (301, 302, 303, 307, 308):
            what = "The hub does not accept the token, or it may not use this service."
            return ApiError(what, http_status=403, code="not_allowed")
        what = f"{self.url} answered with HTTP status {response.status}, and not as binder does."
        return ApiError(what, http_status=response.status)

    # --- Streams -----------------------------------------------------------------------------

    async def _events(self, path: str, *, after: int = 0) -> AsyncIterator[ServerEvent]:
        """Yield events; take a broken stream up after the last id, with growing pauses."""
        last, failures = (str(after) if after else None), 0
        while True:
            try:
                async for event in self._connection(path, last):
                    failures = 0
                    last = event.id or last
                    yield event
                    if event.event == "end":
                        return
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = error
            else:
                failure = TimeoutError("the stream ended too early")
            failures += 1
            if failures > 8:
                raise self._unreachable(failure) from failure
            pause = min(30, self._retry_seconds * 2**failures)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - not a secret

    async def _connection(self, path: str, last: str | None) -> AsyncIterator[ServerEvent]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = aiohttp.ClientTimeout(total=None, connect=15, sock_read=SILENCE_SECONDS)
        async with self._open.get(
            self._api + path, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            if response.status in (502, 503, 504):
                response.raise_for_status()
            if response.status != 200:
                self._read(response, await response.text(errors="replace"))
            parser = EventParser()
            async for chunk in response.content.iter_any():
                for event in parser.feed(chunk):
                    yield event


def _sent(params: Mapping[str, Any]) -> dict[str, str]:
    """Return a query without what is empty."""
    return {name: str(value) for name, value in params.items() if value not in (None, "")}
