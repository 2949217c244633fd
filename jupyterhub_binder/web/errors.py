"""Turns exceptions into JSON errors without internal details. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tornado.web import HTTPError

from jupyterhub_binder.errors import BinderError, NotAllowed
from jupyterhub_binder.model.text import Message


class NotSignedIn(BinderError):
    """The request has no valid login or token."""

    code = "not_signed_in"
    status = 401


class XSRFRefused(NotAllowed):
    """The browser sent a cookie without its XSRF token."""

    code = "xsrf"


class TooLarge(BinderError):
    """The request's body is too large."""

    code = "too_large"
    status = 413


class UnsupportedMediaType(BinderError):
    """The request's body is not JSON."""

    code = "unsupported_media_type"
    status = 415


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as clients see it."""

    status: int
    code: str
    message: Message
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the response body."""
        error = {"code": self.code, "message": self.message, "detail": self.detail}
        return {"error": error}


_OF_STATUS = {
    400: ("invalid_input", Message("The request could not be understood.")),
    401: ("not_signed_in", Message("Sign in, or send a valid token.")),
    403: ("not_allowed", Message("You may not do this.")),
    404: ("not_found", Message("This service has nothing at this address. Check the address.")),
    405: ("method_not_allowed", Message("This address does not support this method.")),
    413: ("too_large", Message("The request's body is too large.")),
}


def problem_of(error: BaseException | None, status: int, *, request_id: str) -> Problem:
    """Describe an error; unexpected ones become a 500 with the request id."""
    if isinstance(error, BinderError) and error.status != 500:
        return Problem(error.status, error.error_code, error.message, error.detail)
    if isinstance(error, HTTPError):
        status = error.status_code
    if status in _OF_STATUS:
        return Problem(status, *_OF_STATUS[status])
    if 400 <= status < 500:
        return Problem(status, *_OF_STATUS[400])
    message = Message(
        "Something went wrong in the service. Give your administrator the request id "
        "%(request)s, which is in the service's log.",
        request=request_id,
    )
    return Problem(500, "internal", message, {"request_id": request_id})
