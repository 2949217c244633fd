"""Shared by all handlers: authentication, XSRF, security headers, request ids, errors."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from jupyterhub.services.auth import HubOAuthenticated
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler

from jupyterhub_binder.errors import BinderError, HubError, NotAllowed
from jupyterhub_binder.model import User
from jupyterhub_binder.model.launch_events import LaunchOrigin
from jupyterhub_binder.utils.log_context import set_ids
from jupyterhub_binder.utils.net import asked_host, asked_origin
from jupyterhub_binder.web.errors import NotSignedIn, Problem, XSRFRefused, problem_of
from jupyterhub_binder.web.i18n.language import available_languages, say, speak
from jupyterhub_binder.web.services import Services

log = logging.getLogger("jupyterhub_binder.web")

BUILD_SCOPE = "custom:binder:build"
ADMIN_SCOPE = "custom:binder:admin"

_HUB_TIMEOUT_SECONDS = 15
_SERVICE = "service:"
_PAGES_LANGUAGE = "Binder-Language"
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,63}")


def user_of(model: Mapping[str, Any]) -> User:
    """Return the person or service of a hub model.

    Raises NotAllowed for a person with a service's name.
    """
    scopes = model.get("scopes") or ()
    admin = bool(model.get("admin")) or ADMIN_SCOPE in scopes
    name = model["name"]
    if model.get("kind") == "service":
        # A service must not look like a person with the same name.
        name = f"{_SERVICE}{name}"
    elif name.startswith(_SERVICE):
        raise NotAllowed(
            "User names must not begin with %(prefix)s, which is reserved for services of the hub.",
            prefix=_SERVICE,
        )
    return User(
        name=name,
        admin=admin,
        groups=tuple(model.get("groups") or ()),
        can_build=admin or BUILD_SCOPE in scopes,
    )


class BaseHandler(HubOAuthenticated, RequestHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The base of all handlers.

    `prepare` sets `user` (None if not signed in), and `token` for calls to the hub.
    """

    signed_in_only = True
    """Whether other requests go to `refuse_stranger`."""

    user: User | None = None
    token: str = ""

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        self.services: Services = application.settings["services"]
        self._hub_auth = self.services.hub_auth
        self.services.traffic.enter()
        self.request = request
        set_ids(request=self.request_id)
        super().__init__(application, request, **kwargs)

    def on_finish(self) -> None:
        """Count the request."""
        self.services.traffic.leave()

    @cached_property
    def request_id(self) -> str:
        """The id in the log and in ``X-Request-ID``; a proxy may have set it."""
        given = self.request.headers.get("X-Request-ID", "")
        return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

    @cached_property
    def csp_nonce(self) -> str:
        """The nonce for inline scripts."""
        return secrets.token_urlsafe(16)

    @property
    def me(self) -> User:
        """The signed-in user. Raises NotSignedIn."""
        if self.user is None:
            raise NotSignedIn("Sign in, or send a valid token.")
        return self.user

    @property
    def launch_origin(self) -> LaunchOrigin:
        """Where this request asks for a launch from."""
        return LaunchOrigin(asked_host(self.request), asked_origin(self.request))

    # --- Before the request -----------------------------------------------------------------

    async def prepare(self) -> None:
        """Authenticate. Refuse cross-site requests."""
        model = await self._check_access(self.hub_auth.get_user(self, sync=False))
        if model is None:
            self._explain_xsrf()
        else:
            self.user = user_of(model)
            self.token = self.hub_auth.get_token(self) or ""
        # Otherwise HubAuthenticated would fetch it again, blocking.
        self._hub_auth_user_cache = model
        if self.user is None and self.signed_in_only:
            self.refuse_stranger()

    async def fetch_user(self) -> User | None:
        """Return the person of the token as the hub knows them by now, from the hub's cache."""
        session_id = self.hub_auth.get_session_id(self)
        asking = self.hub_auth.user_for_token(self.token, session_id=session_id, sync=False)
        model = await self._check_access(asking)
        return None if model is None else user_of(model)

    async def _check_access(self, asking: Awaitable[Any]) -> dict[str, Any] | None:
        """Return the hub's model of a person who may use the service. Raises NotAllowed."""
        try:
            async with asyncio.timeout(_HUB_TIMEOUT_SECONDS):
                model = await asking
        except TimeoutError as error:
            raise HubError("The hub does not answer. Try again in a moment.") from error
        except HTTPError as error:
            raise HubError("The hub could not check who you are. Try again in a moment.") from error
        if model is not None and not self.hub_auth.check_scopes(self.hub_auth.access_scopes, model):
            raise NotAllowed("You may not use this service. Ask an administrator for access.")
        return model

    def _explain_xsrf(self) -> None:
        """Raise XSRFRefused if a cookie lacks the XSRF token."""
        if not self.hub_auth.get_token(self, in_cookie=True) or self._sent_token():
            return
        try:
            self.check_xsrf_cookie()
        except HTTPError as error:
            raise XSRFRefused(
                "The XSRF token is missing or expired. In a browser, reload the page. In a "
                "program, send a token in the Authorization header."
            ) from error

    def _sent_token(self) -> bool:
        return bool(self.hub_auth.get_token(self, in_cookie=False))

    def refuse_stranger(self) -> None:
        """Refuse; pages redirect to the login instead."""
        raise NotSignedIn("Sign in, or send a valid token.")

    # --- The answer -------------------------------------------------------------------------

    def set_default_headers(self) -> None:
        """Set the headers of every response."""
        self.set_header("Server", "jupyterhub-binder")
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Content-Security-Policy", self.content_security_policy())

    def content_security_policy(self) -> str:
        """Allow our own files and the hub's, and scripts with a nonce.

        Users' servers may share this origin, so pages can't be framed and scripts need a nonce.
        """
        own = f"'self' {self.services.hub_host}".rstrip()
        return (
            f"default-src {own}; script-src 'nonce-{self.csp_nonce}'; "
            f"img-src {own} data:; object-src 'none'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        )

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Send the status that fits the exception."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        problem = problem_of(error, status_code, request_id=self.request_id)
        self.settings["metrics"].answers.count_error(problem.code)
        super().send_error(problem.status, **{**kwargs, "problem": problem})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write JSON in English, or in the page's language for its scripts."""
        problem: Problem = kwargs["problem"]
        self.set_error_headers(status_code, problem)
        language = self.request.headers.get(_PAGES_LANGUAGE, "")
        if language in available_languages():
            speak(language)
            problem = replace(problem, message=say(problem.message))
        self.finish_json(problem.as_json())

    def set_error_headers(self, status_code: int, problem: Problem) -> None:
        """Set WWW-Authenticate, Retry-After and Allow."""
        if status_code == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._methods()))
        if (seconds := problem.detail.get("retry_after_seconds")) is not None:
            self.set_header("Retry-After", str(max(1, round(seconds))))

    def _methods(self) -> list[str]:
        """Return the methods of this URL."""
        unknown = RequestHandler._unimplemented_method
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower(), unknown) is not unknown
        ]

    def finish_json(self, value: Any, *, status: int | None = None) -> None:
        """Send JSON that is not cached."""
        if status is not None:
            self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        self.finish(text.encode("utf-8", "replace"))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a stack trace only for unexpected errors."""
        request = f"{self.request.method} {self.request.path}"
        foreseen = isinstance(value, BinderError) and value.status != 500
        if foreseen or isinstance(value, HTTPError | StreamClosedError):
            log.debug("Request %s, %s: %s", self.request_id, request, value)
        else:
            log.error("Request %s, %s failed", self.request_id, request, exc_info=(typ, value, tb))


class APIHandler(BaseHandler):
    """A REST handler: JSON, no redirects."""

    def content_security_policy(self) -> str:
        """Return the policy of other responses."""
        return "default-src 'none'; frame-ancestors 'none'"


class UnknownRoute(APIHandler):
    """Answers 404 for unknown routes."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Skip authentication."""
        raise HTTPError(404)
