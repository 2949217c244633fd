"""``POST /hooks/<id>``, which git hosts call after a push, and ``POST /hooks/detector``.

There is no login, no cookie and no XSRF token: the signature over the raw body is what counts. The
body is read in pieces; that of a git host is kept nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, ClassVar, TypeVar

from tornado.web import HTTPError, stream_request_body

from jupyterhub_binder.errors import StoreUnavailable
from jupyterhub_binder.model.prebuild import Outcome
from jupyterhub_binder.utils.webhooks import SignatureCheck
from jupyterhub_binder.web.errors import Problem
from jupyterhub_binder.web.handlers import APIHandler
from jupyterhub_binder.web.metrics.counters import MessageKind

T = TypeVar("T")

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no larger ones."""
_MORE_BYTES = 1024 * 1024
"""What is read beyond that, to answer 413 to a body that didn't say how long it is."""
MAX_UNKNOWN_BYTES = 1024 * 1024
"""At an address of no webhook, where nobody needs to be known."""
_BODY_SECONDS = 20.0
_ANSWER_SECONDS = 0.9


MAX_REPORT_BYTES = 64 * 1024
"""Of a detector's message."""


class _SignedHandler(APIHandler):
    """Takes a signed body of bounded size, and answers within a second."""

    SUPPORTED_METHODS = ("POST",)  # pyright: ignore[reportIncompatibleVariableOverride, reportUnannotatedClassAttribute]
    signed_in_only = False
    max_bytes = MAX_BODY_BYTES
    kind: ClassVar[MessageKind]
    _outcome = "internal"
    """What became of the message, for the metrics."""

    async def prepare(self) -> None:
        """Begin to check the signature. Nobody is asked who they are."""
        self._size = 0
        self._check = await self.begin_check()
        if _length_of(self.request.headers.get("Content-Length", "")) > self.max_bytes:
            raise HTTPError(413)
        connection: Any = self.request.connection
        connection.set_max_body_size(self.max_bytes + _MORE_BYTES)
        connection.set_body_timeout(_BODY_SECONDS)

    async def begin_check(self) -> SignatureCheck:
        """Return the check of this delivery."""
        raise NotImplementedError

    def data_received(self, chunk: bytes) -> None:
        """Sign the next piece."""
        self._size += len(chunk)
        if self._size <= self.max_bytes:
            self._check.update(chunk)

    async def in_time(self, judging: Awaitable[T]) -> T:
        """Judge the delivery. Raises StoreUnavailable if that takes too long."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await judging
        except TimeoutError as error:
            raise StoreUnavailable("The service is busy. Send the delivery again.") from error

    def finish_outcome(self, outcome: Outcome) -> None:
        """Answer what became of the message."""
        self._outcome = outcome
        self.finish_json({"result": outcome}, status=202 if outcome is Outcome.ACCEPTED else 200)

    def on_finish(self) -> None:
        """Count the message."""
        super().on_finish()
        if self.request.method == "POST":
            self.settings["metrics"].messages.count(self.kind, self._outcome)

    def refuse_too_large(self) -> None:
        """Raise HTTPError."""
        if self._size > self.max_bytes:
            raise HTTPError(413)

    def set_error_headers(self, status_code: int, problem: Problem) -> None:
        """Set no WWW-Authenticate: there is nothing to log in to."""
        super().set_error_headers(status_code, problem)
        self._outcome = problem.code
        if status_code in (405, 413):  # the body is not read
            self.set_header("Connection", "close")
        self.clear_header("WWW-Authenticate")


@stream_request_body
class HookHandler(_SignedHandler):
    """Takes a delivery of a git host. An address that can have no hook is answered as an unknown one."""

    kind = MessageKind.DELIVERY

    async def begin_check(self) -> SignatureCheck:
        """Find the hook."""
        hooks = self.services.hooks
        self._hook = await hooks.fetch(self.path_args[0]) if self.path_args else None
        if self._hook is None:
            self.max_bytes = MAX_UNKNOWN_BYTES
        return hooks.check(self._hook, self.request.headers)

    async def post(self, *_: str) -> None:
        """Say what became of the delivery."""
        self.refuse_too_large()
        outcome = await self.in_time(
            self.services.hooks.receive(self._hook, self._check, self.request.headers)
        )
        self.finish_outcome(outcome)


@stream_request_body
class DetectorHandler(_SignedHandler):
    """Takes a report of the detector."""

    kind = MessageKind.REPORT
    max_bytes = MAX_REPORT_BYTES

    async def begin_check(self) -> SignatureCheck:
        """Use the configured secret."""
        self._body = bytearray()
        return self.services.detections.check(self.request.headers)

    def data_received(self, chunk: bytes) -> None:
        """Sign and keep the next piece."""
        super().data_received(chunk)
        if self._size <= self.max_bytes:
            self._body += chunk

    async def post(self) -> None:
        """Say whether the report is new."""
        self.refuse_too_large()
        detections = self.services.detections
        new = await self.in_time(detections.receive(self._check, bytes(self._body)))
        self.finish_outcome(Outcome.ACCEPTED if new else Outcome.REPEATED)


def _length_of(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
