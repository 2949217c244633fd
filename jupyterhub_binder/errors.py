"""The errors, each with a code for programs and a message for people.

Only `web` turns them into HTTP statuses and translates them. A message never contains a secret or a server path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, LiteralString

from jupyterhub_binder.model.text import Message, Value


class BinderError(Exception):
    """An error whose message may be shown to people.

    `text` is a literal template such as ``"%(host)s did not answer."``; `values` fill it in. `code`
    is stable lower_snake_case; `detail` is JSON.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    """For `web` only."""

    def __init__(
        self,
        text: LiteralString | Message,
        /,
        *,
        code: str | None = None,
        detail: Mapping[str, Any] | None = None,
        **values: Value,
    ) -> None:
        self.message = text if isinstance(text, Message) else Message.from_parts(text, "", values)
        super().__init__(str(self.message))
        self.error_code = code or self.code
        self.detail = dict(detail or {})


class InvalidInput(BinderError):
    """The input is malformed."""

    code = "invalid_input"
    status = 400


class NotUnderstood(InvalidInput):
    """A pasted link or spec was not recognised."""

    code = "not_understood"


class NotAllowed(BinderError):
    """The user, or the configuration, does not permit this."""

    code = "not_allowed"
    status = 403


class WrongSignature(BinderError):
    """Who sends a webhook doesn't have its secret."""

    code = "wrong_signature"
    status = 401


class NotFound(BinderError):
    """It does not exist, or this user may not see it."""

    code = "not_found"
    status = 404


class Conflict(BinderError):
    """The current state does not allow this."""

    code = "conflict"
    status = 409


class LimitReached(BinderError):
    """A quota is used up; `detail` has `limit`, `used` and maybe `retry_after_seconds`."""

    code = "limit_reached"
    status = 429


class UnresolvableRef(BinderError):
    """The repository has no such ref."""

    code = "ref_not_found"
    status = 422


class RepositoryNotFound(BinderError):
    """The repository does not exist, or is private."""

    code = "repository_not_found"
    status = 422


class UpstreamUnavailable(BinderError):
    """A remote host did not answer, or failed."""

    code = "upstream_unavailable"
    status = 503


class RateLimited(UpstreamUnavailable):
    """A remote host answers, but not now."""


class HubError(UpstreamUnavailable):
    """The hub refused, or did not answer."""

    code = "hub_error"


class StoreUnavailable(BinderError):
    """The database is unavailable, or its disk is full."""

    code = "store_unavailable"
    status = 503


class FetchFailed(BinderError):
    """The repository's files could not be fetched."""

    code = "fetch_failed"
    status = 422


class BuildFailed(BinderError):
    """A backend could not make the image."""

    code = "build_failed"
    status = 422


class ConfigurationError(BinderError):
    """Raised at start; names the trait. In English: it goes to the log and to commands."""

    code = "configuration"

    def __init__(self, text: str) -> None:
        super().__init__(Message.verbatim(text))
