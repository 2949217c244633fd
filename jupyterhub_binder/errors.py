"""What can go wrong, each with a code for programs and a sentence for people.

Layers 0 to 2 raise these; only `web` turns them into HTTP statuses. A message says what
happened and what to do about it, and never holds a secret or a path of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class BinderError(Exception):
    """Something failed in a way that a person can be told about.

    `code` is stable and lower_snake_case; `detail` is JSON for programs.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    """The HTTP status that fits, for `web` alone to use."""

    def __init__(
        self, message: str, *, code: str | None = None, detail: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.detail = dict(detail or {})


class InvalidInput(BinderError):
    """What was sent does not have the form that it should have."""

    code = "invalid_input"
    status = 400


class NotUnderstood(InvalidInput):
    """A pasted link or a spec could not be made sense of."""

    code = "not_understood"


class NotAllowed(BinderError):
    """The person, or the configuration, may not do this."""

    code = "not_allowed"
    status = 403


class NotFound(BinderError):
    """There is no such thing, or none that this person may see."""

    code = "not_found"
    status = 404


class Conflict(BinderError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"
    status = 409


class LimitReached(BinderError):
    """A quota is used up; `detail` holds `limit` and `used`, and `retry_after_seconds` if known."""

    code = "limit_reached"
    status = 429


class UnresolvableRef(BinderError):
    """The repository answered, and has no such branch, tag or commit."""

    code = "ref_not_found"
    status = 422


class RepositoryNotFound(BinderError):
    """The repository does not exist, or is private."""

    code = "repository_not_found"
    status = 422


class UpstreamUnavailable(BinderError):
    """A host that we depend on did not answer, or answered with an error of its own."""

    code = "upstream_unavailable"
    status = 503


class HubError(UpstreamUnavailable):
    """The hub refused, or did not answer."""

    code = "hub_error"


class StoreUnavailable(BinderError):
    """The database cannot be read or written at the moment; a full disk is the usual cause."""

    code = "store_unavailable"
    status = 503


class FetchFailed(BinderError):
    """The repository's files could not be brought here."""

    code = "fetch_failed"
    status = 422


class BuildFailed(BinderError):
    """A backend could not make the image; raised out of `BuildBackend.build`."""

    code = "build_failed"
    status = 422


class ConfigurationError(BinderError):
    """The configuration cannot work; raised at start, names the trait."""

    code = "configuration"
