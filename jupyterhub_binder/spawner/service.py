"""Asks the service in a person's name, with a short-lived, limited token."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import aiohttp
from jupyterhub import orm
from jupyterhub.scopes import get_scopes_for

from jupyterhub_binder.spawner.refusal import StartRefused
from jupyterhub_binder.utils.http import open_session
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.sse import ServerEvent, follow_events

BUILD_SCOPE = "custom:binder:build"

_SILENCE_SECONDS = 60
_LOOK_AT_URL = "an administrator should check binder_service_url."


class ServiceUnreachable(Exception):
    """No answer; `hint` is empty or a sentence after a space."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def may_build(user: Any) -> bool:
    """Whether a hub's user may build environments."""
    return BUILD_SCOPE in get_scopes_for(user.orm_user)


class Service:
    """The service, for one person."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        user: Any,
        timeout_seconds: float,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._name = name
        self._url = url
        self._user = user
        self._timeout_seconds = timeout_seconds
        self._log = log

    async def ask(
        self, path: str, method: str = "GET", body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return JSON. Raises StartRefused or ServiceUnreachable."""
        limits = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with self._request(path, limits, method, body) as response:
            answer = await response.json(content_type=None)
        if not isinstance(answer, dict):
            raise ServiceUnreachable("The answer is not a JSON object")
        return answer

    def follow(
        self, build_id: str, *, patience_seconds: float
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield events up to ``end``, across restarts; raises as `ask`."""
        return follow_events(
            partial(self._open_events, build_id),
            is_last=lambda event: event.event == "end",
            passing=ServiceUnreachable,
            backoff=Backoff(0.2, max_seconds=5, patience_seconds=patience_seconds),
        )

    def _open_events(
        self, build_id: str, last_event_id: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        limits = aiohttp.ClientTimeout(
            total=None, connect=self._timeout_seconds, sock_read=_SILENCE_SECONDS
        )
        return self._request(f"builds/{build_id}/events?after={last_event_id or 0}", limits)

    @asynccontextmanager
    async def _request(
        self,
        path: str,
        limits: aiohttp.ClientTimeout,
        method: str = "GET",
        body: dict[str, Any] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._url:
            raise ServiceUnreachable("There is no such service")
        url = f"{self._url.rstrip('/')}/api/v1/{path}"
        try:
            # One session per request: a hub never tells spawners when to close a shared one.
            async with open_session(timeout=limits) as session:
                with self._token(building=method != "GET") as token:
                    headers = {"Authorization": f"Bearer {token}"}
                    response = await session.request(
                        method, url, headers=headers, json=body, allow_redirects=False
                    )
                async with response:
                    await _raise_for_status(response, path)
                    yield response
        except ServiceUnreachable as error:
            self._log.warning("%s does not answer: %s", self._name, error)
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._log.warning("%s does not answer: %s", self._name, error)
            raise ServiceUnreachable(str(error)) from error

    @contextmanager
    def _token(self, *, building: bool) -> Iterator[str]:
        scopes = [f"access:services!service={self._name}"]
        if building and may_build(self._user):
            scopes.append(BUILD_SCOPE)
        try:
            token = self._user.new_api_token(
                note="Asks for an environment", expires_in=60, scopes=scopes
            )
        except ValueError as error:
            raise StartRefused(
                "You may not use environments. Ask an administrator.", reason="access"
            ) from error
        try:
            yield token
        finally:
            db = self._user.db
            if (known := orm.APIToken.find(db, token)) is not None:
                db.delete(known)
                db.commit()


async def _raise_for_status(response: aiohttp.ClientResponse, path: str) -> None:
    """Raise the service's error."""
    if response.status in (200, 201):
        return
    if response.status >= 500 or response.status < 400:
        raise ServiceUnreachable(f"The service returned status {response.status}")
    if response.status == 404:
        raise await _read_404(response, path)
    error = await _read_error(response) or {}
    message = error.get("message") or f"The service refused the request (status {response.status})."
    raise StartRefused(str(message), reason="environment")


async def _read_404(
    response: aiohttp.ClientResponse, path: str
) -> ServiceUnreachable | StartRefused:
    """Tell a missing environment from a wrong URL."""
    try:
        error = await _read_error(response)
    except ValueError:
        error = None
    if error is not None and error.get("code") != "not_found":
        return StartRefused(str(error.get("message") or "Not found."), reason="environment")
    if error is None:
        return ServiceUnreachable(
            "The address does not belong to the service (status 404); check binder_service_url",
            hint=f" The address does not belong to the service (status 404): {_LOOK_AT_URL}",
        )
    if path.startswith("environments/"):
        return StartRefused(
            "This environment no longer exists, or you may no longer use it. Choose another one.",
            reason="environment",
        )
    message = error.get("message") or "It has nothing at this address."
    return StartRefused(
        f"The service returned status 404: {message} If this seems wrong, {_LOOK_AT_URL}",
        reason="service",
    )


async def _read_error(response: aiohttp.ClientResponse) -> dict[str, Any] | None:
    """Return the service's error. Returns None or raises ValueError for other answers."""
    answer = await response.json(content_type=None)
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else None
