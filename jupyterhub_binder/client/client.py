"""A client of the REST API.

It returns the API's JSON unchanged. Clean it (`utils.terminal`) before printing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import aiohttp

from jupyterhub_binder.errors import BinderError, InvalidInput
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.http import open_session, why_unanswered
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.sse import ServerEvent, follow_events

Json = dict[str, Any]

SILENCE_SECONDS = 60
"""Then the stream is reopened."""

STREAM_PATIENCE_SECONDS = 120
"""For reopening a stream."""

_BY_THE_HUB = (301, 302, 303, 307, 308, HTTPStatus.FORBIDDEN)
"""How a hub answers what it does not know."""

_PAGE = 200
"""The service's maximum."""


class ApiError(BinderError):
    """The service's error, with its HTTP status."""

    code = "api_error"

    def __init__(
        self, message: str, *, http_status: int, code: str | None = None, detail: Any = None
    ) -> None:
        detail = detail if isinstance(detail, dict) else None
        super().__init__(Message.verbatim(message), code=code, detail=detail)
        self.http_status = http_status


class Unreachable(BinderError):
    """The hub or service did not answer."""

    code: ClassVar[str] = "unreachable"


def find_service_url(url: str, *, service: str = "binder") -> str:
    """Return the service's URL from any URL of a hub or server. Raises InvalidInput."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            "'%(url)s' is not the address of a hub. Example: https://hub.example.org.", url=url
        )
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
    """The service as one user: `async with BinderClient(hub, token) as client`.

    Methods raise ApiError and Unreachable. A `session` passed in is not closed.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_seconds: float = 60,
        retry_seconds: float = 1,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.url = find_service_url(url)
        self._api = f"{self.url}api/v1"
        self._retry_seconds = retry_seconds
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=15)
        self._session = session
        self._owns_session = session is None

    async def __aenter__(self) -> BinderClient:
        """Open the session."""
        if self._session is None:
            self._session = open_session(trust_env=True)  # HTTP_PROXY and so on
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the session."""
        if self._session is not None and self._owns_session:
            await self._session.close()

    def page_url(self, path: str) -> str:
        """Return a page's URL; servers may have one of their own already."""
        return urljoin(self.url, path)

    # --- What there is -----------------------------------------------------------------------

    async def info(self) -> Json:
        """Return versions, user, limits, backend and providers."""
        return await self._call("GET", "/")

    async def health(self) -> list[Json]:
        """Return the service's checks, whether they succeed or not."""
        response, text = await self._request("GET", "health", of_api=False)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return list(json.loads(text)["checks"])
        self._read(response, text)
        return []

    async def resolve(self, link: Mapping[str, Any]) -> Json:
        """Return what a link means."""
        return await self._call("POST", "/resolve", json=link)

    async def environments(
        self, *, search: str = "", owner: str | None = None, deleted: bool = False
    ) -> list[Json]:
        """Return environments, last used first; an admin's `owner` ``*`` means all.

        `deleted` returns those that can be restored.
        """
        wanted = "1" if deleted else ""
        return await self._all("/environments", search=search, owner=owner, deleted=wanted)

    async def environment(self, environment_id: str) -> Json:
        """Return an environment."""
        return await self._call("GET", f"/environments/{quote(environment_id, safe='')}")

    async def create(self, fields: Mapping[str, Any]) -> Json:
        """Create an environment, and build it unless `fields` say otherwise."""
        return await self._call("POST", "/environments", json=fields)

    async def update(self, environment_id: str, changes: Mapping[str, Any]) -> Json:
        """Change an environment."""
        path = f"/environments/{quote(environment_id, safe='')}"
        return await self._call("PATCH", path, json=changes)

    async def delete(self, environment_id: str) -> Json:
        """Delete an environment."""
        return await self._call("DELETE", f"/environments/{quote(environment_id, safe='')}")

    async def restore(self, environment_id: str) -> Json:
        """Undo a delete."""
        path = f"/environments/{quote(environment_id, safe='')}/restore"
        return await self._call("POST", path, json={})

    # --- Sharing -----------------------------------------------------------------------------

    async def shares(self, environment_id: str) -> Json:
        """Return who may use an environment, and who does."""
        return await self._call("GET", f"/environments/{quote(environment_id, safe='')}/shares")

    async def put_shares(self, environment_id: str, shares: Sequence[Mapping[str, str]]) -> Json:
        """Replace who may use an environment."""
        path = f"/environments/{quote(environment_id, safe='')}/shares"
        return await self._call("PUT", path, json={"shares": list(shares)})

    async def copy(self, environment_id: str, fields: Mapping[str, str]) -> Json:
        """Make my own environment of one."""
        path = f"/environments/{quote(environment_id, safe='')}/copy"
        return await self._call("POST", path, json=fields)

    # --- Building ahead ----------------------------------------------------------------------

    async def prebuild(self, environment_id: str) -> Json:
        """Return the webhooks and the schedule of an environment."""
        return await self._call("GET", f"/environments/{quote(environment_id, safe='')}/prebuild")

    async def put_schedule(self, environment_id: str, cron: str, time_zone: str) -> Json:
        """Set a schedule; an empty one ends it."""
        path = f"/environments/{quote(environment_id, safe='')}/schedule"
        return await self._call("PUT", path, json={"cron": cron, "time_zone": time_zone})

    async def create_hook(self, environment_id: str, host: str) -> Json:
        """Create a webhook; the answer has its secret."""
        path = f"/environments/{quote(environment_id, safe='')}/hooks"
        return await self._call("POST", path, json={"host": host})

    async def replace_hook_secret(self, environment_id: str, hook_id: str) -> Json:
        """Give a webhook another secret, which the answer has."""
        path = f"/environments/{quote(environment_id, safe='')}/hooks/{quote(hook_id, safe='')}"
        return await self._call("POST", f"{path}/secret")

    async def put_hook_token(self, environment_id: str, hook_id: str, token: str) -> Json:
        """Give a webhook a token for commit statuses."""
        path = f"/environments/{quote(environment_id, safe='')}/hooks/{quote(hook_id, safe='')}"
        return await self._call("PUT", f"{path}/token", json={"token": token})

    async def delete_hook_token(self, environment_id: str, hook_id: str) -> Json:
        """Forget a webhook's token."""
        path = f"/environments/{quote(environment_id, safe='')}/hooks/{quote(hook_id, safe='')}"
        return await self._call("DELETE", f"{path}/token")

    async def delete_hook(self, environment_id: str, hook_id: str) -> Json:
        """Remove a webhook."""
        path = f"/environments/{quote(environment_id, safe='')}/hooks/{quote(hook_id, safe='')}"
        return await self._call("DELETE", path)

    async def featured(self) -> list[Json]:
        """Return the environments that administrators feature for the user."""
        return (await self._call("GET", "/featured"))["items"]

    async def offers(self) -> list[Json]:
        """Return what is offered to me."""
        return (await self._call("GET", "/transfers"))["items"]

    async def offer(self, environment_id: str, to: str) -> Json:
        """Offer an environment to a person."""
        path = f"/environments/{quote(environment_id, safe='')}/transfer"
        return await self._call("POST", path, json={"to": to})

    async def withdraw_offer(self, environment_id: str) -> Json:
        """Withdraw or decline an offer."""
        path = f"/environments/{quote(environment_id, safe='')}/transfer"
        return await self._call("DELETE", path)

    async def accept_offer(self, environment_id: str) -> Json:
        """Accept an offer."""
        path = f"/environments/{quote(environment_id, safe='')}/transfer/accept"
        return await self._call("POST", path, json={})

    # --- Builds ------------------------------------------------------------------------------

    async def rebuild(
        self,
        environment_id: str,
        *,
        ref: str | None = None,
        force: bool = False,
        python: str | None = None,
        backend: str | None = None,
    ) -> Json:
        """Build again; an empty `python` is the repository's own, an empty `backend` any."""
        body: Json = {"force": force} | ({"ref": ref} if ref else {})
        body |= {"python": python} if python is not None else {}
        body |= {"backend": backend} if backend is not None else {}
        path = f"/environments/{quote(environment_id, safe='')}/builds"
        return await self._call("POST", path, json=body)

    async def builds(self, environment_id: str) -> list[Json]:
        """Return an environment's builds, newest first."""
        return await self._all(f"/environments/{quote(environment_id, safe='')}/builds")

    async def choose(self, environment_id: str, number: int, *, reason: str = "") -> Json:
        """Make a build current."""
        body = {"number": number, "reason": reason}
        path = f"/environments/{quote(environment_id, safe='')}/current"
        return await self._call("PUT", path, json=body)

    async def preference(self, environment_id: str) -> Json:
        """Return what I prefer in an environment, and what I can choose."""
        path = f"/environments/{quote(environment_id, safe='')}/preferences"
        return await self._call("GET", path)

    async def set_preference(self, environment_id: str, fields: Mapping[str, Any]) -> Json:
        """Change what I prefer in an environment: `pinned`, `opens`, `profile`."""
        path = f"/environments/{quote(environment_id, safe='')}/preferences"
        return await self._call("PUT", path, json=fields)

    async def files(self, environment_id: str, *, search: str = "") -> Json:
        """Return whether the README and the notebooks are `known`, and all as `items`."""
        path = f"/environments/{quote(environment_id, safe='')}/files"
        about = await self._call("GET", path, params=_sent({"search": search, "limit": 1}))
        return {**about, "items": await self._all(path, search=search) if about["known"] else []}

    async def changes(self, environment_id: str) -> list[Json]:
        """Return the changes of the current build, newest first."""
        return await self._all(f"/environments/{quote(environment_id, safe='')}/changes")

    async def build(self, build_id: str) -> Json:
        """Return a build."""
        return await self._call("GET", f"/builds/{quote(build_id, safe='')}")

    async def packages(self, build_id: str) -> Json:
        """Return what is in a build's image."""
        return await self._call("GET", f"/builds/{quote(build_id, safe='')}/packages")

    async def difference(self, build_id: str, *, number: int = 0) -> Json:
        """Return what differs from build `number`, by default from the one before."""
        path = f"/builds/{quote(build_id, safe='')}/difference"
        return await self._call("GET", path, params=_sent({"number": number or ""}))

    async def receipt(self, build_id: str) -> Json:
        """Return what a build was made of, signed."""
        return await self._call("GET", f"/builds/{quote(build_id, safe='')}/receipt")

    async def reproduce(self, receipt: Json, *, name: str = "") -> Json:
        """Create an environment from a receipt, and build it."""
        body = {"receipt": receipt} | ({"name": name} if name else {})
        return await self._call("POST", "/receipts", json=body)

    async def check_receipt(self, receipt: Json) -> Json:
        """Return what the hub would make of a receipt."""
        return await self._call("POST", "/receipts/check", json={"receipt": receipt})

    async def receipt_key(self) -> Json:
        """Return the key that the service signs receipts with; needs no token."""
        return await self._call("GET", "/receipt-key")

    async def cancel_build(self, build_id: str) -> Json:
        """Withdraw my request; the build ends if nobody else wants it."""
        return await self._call("POST", f"/builds/{quote(build_id, safe='')}/cancel")

    def watch_build(self, build_id: str, *, after: int = 0) -> AsyncGenerator[ServerEvent, None]:
        """Yield ``build``, ``message`` (a log line) and ``end``."""
        return self._events(f"/builds/{quote(build_id, safe='')}/events", after=after)

    # --- Launches ----------------------------------------------------------------------------

    async def launch(self, environment_id: str, fields: Mapping[str, Any]) -> Json:
        """Start a server."""
        path = f"/environments/{quote(environment_id, safe='')}/launches"
        return await self._call("POST", path, json=fields)

    async def stop(self, environment_id: str) -> list[Json]:
        """Stop my servers of an environment."""
        path = f"/environments/{quote(environment_id, safe='')}/stop"
        return (await self._call("POST", path, json={}))["items"]

    async def launch_state(self, launch_id: str) -> Json:
        """Return a launch."""
        return await self._call("GET", f"/launches/{quote(launch_id, safe='')}")

    def watch_launch(self, launch_id: str) -> AsyncGenerator[ServerEvent, None]:
        """Yield states until it has finished."""
        return self._events(f"/launches/{quote(launch_id, safe='')}/events")

    async def cancel_launch(self, launch_id: str) -> Json:
        """Cancel a launch."""
        return await self._call("POST", f"/launches/{quote(launch_id, safe='')}/cancel")

    async def servers(self) -> list[Json]:
        """Return my running servers."""
        return (await self._call("GET", "/servers"))["items"]

    # --- For admins --------------------------------------------------------------------------

    async def admin(self, method: str, path: str, *, body: Any = None, **params: Any) -> Json:
        """Call a route below ``/admin``."""
        return await self._call(method, f"/admin/{path}", params=_sent(params), json=body)

    async def admin_all(self, path: str, **params: Any) -> list[Json]:
        """Return a whole list."""
        return await self._all(f"/admin/{path}", **params)

    async def admin_text(self, path: str, **params: Any) -> str:
        """Return a file."""
        response, text = await self._request("GET", f"/admin/{path}", params=_sent(params))
        if response.status != 200:
            self._read(response, text)
        return text

    async def usage_report(self, period: str) -> Json:
        """Return the files of a quarter's or a year's report, by their names."""
        return await self._call("GET", "/usage/report", params={"period": period})

    # --- Requests ----------------------------------------------------------------------------

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client with `async with`")
        return self._session

    async def _all(self, path: str, **params: Any) -> list[Json]:
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
        self, method: str, path: str, *, of_api: bool = True, **kw: Any
    ) -> tuple[aiohttp.ClientResponse, str]:
        try:
            async with self._open.request(
                method,
                (self._api if of_api else self.url) + path,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                **kw,
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        return response, text

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(
            "%(url)s can't be reached: %(why)s", url=str(self.url), why=why_unanswered(error)
        )

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
            what = "The hub does not accept this token. Create a new one on the hub's Token page."
            return ApiError(what, http_status=401, code="not_signed_in")
        if isinstance(error, dict):
            return ApiError(
                str(error.get("message", "")),
                http_status=response.status,
                code=str(error.get("code", "")) or None,
                detail=error.get("detail"),
            )
        if response.status in _BY_THE_HUB:  # the service itself answers in JSON
            what = (
                f"{self.url} does not lead to the service. If each server of the hub has a "
                "subdomain, use the address that the browser shows on the page Environments. "
                "Otherwise the service may still be starting: try again in a moment, or ask an "
                "administrator."
            )
            return ApiError(what, http_status=503, code="no_service")
        what = (
            f"{self.url} returned HTTP status {response.status} and does not seem to be the "
            "service."
        )
        return ApiError(what, http_status=response.status)

    # --- Streams -----------------------------------------------------------------------------

    def _events(self, path: str, *, after: int = 0) -> AsyncGenerator[ServerEvent, None]:
        return follow_events(
            partial(self._open_stream, path),
            is_last=lambda event: event.event == "end",
            passing=Unreachable,
            backoff=Backoff(
                self._retry_seconds, max_seconds=30, patience_seconds=STREAM_PATIENCE_SECONDS
            ),
            after=str(after) if after else "",
        )

    @asynccontextmanager
    async def _open_stream(
        self, path: str, last_event_id: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {**self._headers, "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        timeout = aiohttp.ClientTimeout(total=None, connect=15, sock_read=SILENCE_SECONDS)
        try:
            async with self._open.get(
                self._api + path, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    text = await response.text(errors="replace")
                    if not _is_from_service(response.status, text):
                        why = f"HTTP status {response.status}"
                        raise Unreachable(
                            "%(url)s can't be reached: %(why)s", url=str(self.url), why=why
                        )
                    self._read(response, text)
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error


def _is_from_service(status: int, text: str) -> bool:
    """Tell an answer of the service, or a refused token, from a proxy's in between."""
    if status == HTTPStatus.UNAUTHORIZED:
        return True
    try:
        return isinstance(json.loads(text)["error"], dict)
    except (ValueError, KeyError, TypeError):
        return False


def _sent(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value not in (None, "")}
