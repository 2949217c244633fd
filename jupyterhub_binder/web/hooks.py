"""``POST /hooks/<id>``: what git hosts call when something is pushed.

There is no login, no cookie and no XSRF token: the signature over the raw body is what counts. The
body is read in pieces and kept nowhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.web import HTTPError, stream_request_body

from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.model.prebuild import Outcome
from jupyterhub_binder.web.errors import Problem
from jupyterhub_binder.web.handlers import APIHandler

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no larger ones."""
_MORE_BYTES = 1024 * 1024
"""What is read beyond that, to answer 413 to a body that didn't say how long it is."""
_BODY_SECONDS = 20.0
_ANSWER_SECONDS = 0.9


@stream_request_body
class HookHandler(APIHandler):
    """Takes a delivery."""

    SUPPORTED_METHODS = ("POST",)  # pyright: ignore[reportIncompatibleVariableOverride, reportUnannotatedClassAttribute]
    signed_in_only = False

    async def prepare(self) -> None:
        """Begin to check the signature. Nobody is asked who they are."""
        if _length_of(self.request.headers.get("Content-Length", "")) > MAX_BODY_BYTES:
            raise HTTPError(413)
        connection: Any = self.request.connection
        connection.set_max_body_size(MAX_BODY_BYTES + _MORE_BYTES)
        connection.set_body_timeout(_BODY_SECONDS)
        hooks = self.services.hooks
        self._hook = await hooks.fetch(self.path_args[0])
        self._check = hooks.check(self._hook, self.request.headers)
        self._size = 0

    def data_received(self, chunk: bytes) -> None:
        """Sign the next piece."""
        self._size += len(chunk)
        if self._size <= MAX_BODY_BYTES:
            self._check.update(chunk)

    async def post(self, _: str) -> None:
        """Say what became of the delivery."""
        if self._size > MAX_BODY_BYTES:
            raise HTTPError(413)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                outcome = await self.services.hooks.receive(
                    self._hook, self._check, self.request.headers
                )
        except TimeoutError as error:
            raise StoreUnavailable("The service is busy. Send the delivery again.") from error
        status = 202 if outcome is Outcome.ACCEPTED else 200
        self.finish_json({"result": outcome}, status=status)

    def set_error_headers(self, status_code: int, problem: Problem) -> None:
        """Set no WWW-Authenticate: there is nothing to log in to."""
        super().set_error_headers(status_code, problem)
        if status_code in (405, 413):  # the body is not read
            self.set_header("Connection", "close")
        self.clear_header("WWW-Authenticate")


def _length_of(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
