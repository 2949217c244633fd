"""Asks the service in a person's name, with a token that opens nothing else and ends with the question."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from jupyterhub import orm
from jupyterhub.scopes import get_scopes_for

from jupyterhub_binder.spawner.refusal import StartRefused
from jupyterhub_binder.sse import EventParser, ServerEvent

BUILD_SCOPE = "custom:binder:build"

_SILENCE_SECONDS = 60
_LOOK_AT_URL = "an administrator of the hub should look at binder_service_url."


class Unreachable(Exception):
    """The service gave no answer; `hint` is a sentence, after a space, of what is to be done."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Service:
    """The service, as one person of the hub sees it."""

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

    async def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        """Return the service's answer to a question, or with POST to a request.

        Raises StartRefused with the service's words where it refuses, Unreachable where it
        does not answer.
        """
        limits = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with self._request(path, limits, method) as response:
            answer = await response.json(content_type=None)
        if not isinstance(answer, dict):
            raise Unreachable("The answer is no JSON object")
        return answer

    async def follow(self, build_id: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        """Yield a build's events after a line, for as long as the service tells; raises as `ask`."""
        limits = aiohttp.ClientTimeout(
            total=None, connect=self._timeout_seconds, sock_read=_SILENCE_SECONDS
        )
        parser = EventParser()
        async with self._request(f"builds/{build_id}/events?after={after}", limits) as response:
            async for chunk in response.content.iter_any():
                for event in parser.feed(chunk):
                    yield event

    @asynccontextmanager
    async def _request(
        self, path: str, limits: aiohttp.ClientTimeout, method: str = "GET"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._url:
            raise Unreachable("There is no such service")
        url = f"{self._url.rstrip('/')}/api/v1/{path}"
        try:
            async with aiohttp.ClientSession(timeout=limits) as session:
                with self._token(may_build=method != "GET") as token:
                    headers = {"Authorization": f"Bearer {token}"}
                    response = await session.request(
                        method, url, headers=headers, allow_redirects=False
                    )
                async with response:
                    await _raise_for_status(response, path)
                    yield response
        except Unreachable as error:
            self._log.warning("%s does not answer: %s", self._name, error)
            raise
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            self._log.warning("%s does not answer: %s", self._name, error)
            raise Unreachable(str(error)) from error

    @contextmanager
    def _token(self, *, may_build: bool) -> Iterator[str]:
        scopes = [f"access:services!service={self._name}"]
        if may_build and BUILD_SCOPE in get_scopes_for(self._user.orm_user):
            scopes.append(BUILD_SCOPE)
        try:
            token = self._user.new_api_token(
                note="Asks for an environment", expires_in=60, scopes=scopes
            )
        except ValueError as error:
            raise StartRefused(
                "You may not use environments. Ask an administrator of the hub.", reason="access"
            ) from error
        try:
            yield token
        finally:
            db = self._user.db
            if (known := orm.APIToken.find(db, token)) is not None:
                db.delete(known)
                db.commit()


async def _raise_for_status(response: aiohttp.ClientResponse, path: str) -> None:
    """Raise what fits the service's answer, in its own words where it has any."""
    if response.status == 200:
        return
    if response.status >= 500 or response.status < 400:
        raise Unreachable(f"The service answered with status {response.status}")
    if response.status == 404:
        raise await _read_404(response, path)
    error = await _read_error(response) or {}
    message = error.get("message") or f"The service refused with status {response.status}."
    raise StartRefused(str(message), reason="environment")


async def _read_404(response: aiohttp.ClientResponse, path: str) -> Unreachable | StartRefused:
    """Return what a 404 means: an environment that is gone, or an address that is wrong."""
    try:
        error = await _read_error(response)
    except ValueError:
        error = None
    if error is None:
        return Unreachable(
            "Something else answered with status 404; look at binder_service_url",
            hint=f" Something else answered with status 404: {_LOOK_AT_URL}",
        )
    if path.startswith("environments/"):
        return StartRefused(
            "There is no such environment any more. Choose another one.", reason="environment"
        )
    message = error.get("message") or "There is nothing at this address."
    return StartRefused(
        f"The service answered with status 404: {message} If that cannot be, {_LOOK_AT_URL}",
        reason="service",
    )


async def _read_error(response: aiohttp.ClientResponse) -> dict[str, Any] | None:
    """Return what the service says of its refusal; None, or ValueError, where it is another's."""
    answer = await response.json(content_type=None)
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else None
