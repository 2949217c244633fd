"""From an exception to a status and the one JSON shape of errors; pure.

Adds the errors that only HTTP has. What is not meant for people never gets through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornado.web import HTTPError

from jupyterhub_binder.errors import BinderError, NotAllowed


class NotSignedIn(BinderError):
    """Nobody is signed in, or the token is not valid."""

    code = "not_signed_in"
    status = 401


class XSRFRefused(NotAllowed):
    """A browser's request that carries a cookie, and not the XSRF token that goes with it."""

    code = "xsrf"


class TooLarge(BinderError):
    """The request's body is larger than any that makes sense."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(BinderError):
    """The request's body is not JSON, or does not say so."""

    code = "unsupported_media_type"
    status = 415


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a client sees it."""

    status: int
    code: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the body of the answer."""
        error = {"code": self.code, "message": self.message, "detail": self.detail}
        return {"error": error}


_OF_STATUS = {
    400: ("invalid_input", "The request could not be understood."),
    401: ("not_signed_in", "Sign in, or send a valid token."),
    403: ("not_allowed", "You may not do this."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    413: ("too_large", "The request's body is too large."),
}


def problem_of(error: BaseException | None, status: int, *, request_id: str) -> Problem:
    """Describe an error to a client; anything unforeseen becomes a 500 that names the request."""
    if isinstance(error, BinderError) and error.status != 500:
        return Problem(error.status, error.error_code, error.message, error.detail)
    if isinstance(error, HTTPError):
        status = error.status_code
    if status in _OF_STATUS:
        return Problem(status, *_OF_STATUS[status])
    if 400 <= status < 500:
        return Problem(status, *_OF_STATUS[400])
    message = (
        "Something went wrong inside the service. "
        f"Its administrators find it in the log as request {request_id}."
    )
    return Problem(500, "internal", message, {"request_id": request_id})
