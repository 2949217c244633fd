"""What every handler shares: who asks, XSRF, security headers, request ids, errors.

Users come from the hub through HubOAuth; a browser has a cookie, a program a token.
Which routes there are, and what they do, is not decided here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from jupyterhub.services.auth import HubOAuthenticated
from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler

from jupyterhub_binder.errors import BinderError, HubError, NotAllowed
from jupyterhub_binder.logcontext import set_ids
from jupyterhub_binder.model import User
from jupyterhub_binder.web.context import Services
from jupyterhub_binder.web.errors import NotSignedIn, Problem, XSRFRefused, problem_of
from jupyterhub_binder.web.i18n import available_languages, speak
from jupyterhub_binder.web.sentences import say

log = logging.getLogger("jupyterhub_binder.web")

BUILD_SCOPE = "custom:binder:build"
ADMIN_SCOPE = "custom:binder:admin"

_HUB_TIMEOUT_SECONDS = 15
_SERVICE = "service:"
_PAGES_LANGUAGE = "Binder-Language"
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,63}")


def user_of(model: Mapping[str, Any]) -> User:
    """Return the person, or the service of the hub, that the hub's model describes.

    Raises NotAllowed for a person whose name is like a service's.
    """
    scopes = model.get("scopes") or ()
    admin = bool(model.get("admin")) or ADMIN_SCOPE in scopes
    name = model["name"]
    if model.get("kind") == "service":
        # A service may not pass for a person of the same name.
        name = f"{_SERVICE}{name}"
    elif name.startswith(_SERVICE):
        raise NotAllowed(f"Names that begin with {_SERVICE} are those of services of the hub.")
    return User(
        name=name,
        admin=admin,
        groups=tuple(model.get("groups") or ()),
        can_build=admin or BUILD_SCOPE in scopes,
    )


class BaseHandler(HubOAuthenticated, RequestHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """A request of somebody the hub knows, or of nobody; subclasses say which they serve.

    After `prepare` there are `user` (None for nobody), `token` (the user's own, for calls to
    the hub in their name), `request_id` and `services`.
    """

    signed_in_only = True
    """Whether a request of nobody is refused, by `refuse_stranger`."""

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
        """Count the request out."""
        self.services.traffic.leave()

    @cached_property
    def request_id(self) -> str:
        """Names this request in the log and in the answer's ``X-Request-ID``.

        Whatever is in front may have named it already.
        """
        given = self.request.headers.get("X-Request-ID", "")
        return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

    @cached_property
    def csp_nonce(self) -> str:
        """The nonce that a page's own inline script must carry."""
        return secrets.token_urlsafe(16)

    @property
    def me(self) -> User:
        """Return who is signed in. Raises NotSignedIn."""
        if self.user is None:
            raise NotSignedIn("Sign in, or send a valid token.")
        return self.user

    # --- Before the request -----------------------------------------------------------------

    async def prepare(self) -> None:
        """Find out who asks; refuse what a foreign page made a browser send."""
        model = await self._fetch_user_model()
        if model is not None:
            self.user = user_of(model)
            self.token = self.hub_auth.get_token(self) or ""
        # What HubAuthenticated would otherwise fetch again, in a thread and blocking.
        self._hub_auth_user_cache = model
        if self.user is None and self.signed_in_only:
            self.refuse_stranger()

    async def _fetch_user_model(self) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_HUB_TIMEOUT_SECONDS):
                model = await self.hub_auth.get_user(self, sync=False)
        except TimeoutError as error:
            raise HubError("The hub does not answer. Try again in a moment.") from error
        except HTTPError as error:
            raise HubError("The hub could not say who you are. Try again in a moment.") from error
        if model is None:
            self._explain_xsrf()
            return None
        if not self.hub_auth.check_scopes(self.hub_auth.access_scopes, model):
            raise NotAllowed("You may not use this service. Ask an administrator of the hub.")
        return model

    def _explain_xsrf(self) -> None:
        """Raise XSRFRefused if a cookie was left aside because the XSRF token did not fit."""
        if not self.hub_auth.get_token(self, in_cookie=True) or self._sent_token():
            return
        try:
            self.check_xsrf_cookie()
        except HTTPError as error:
            raise XSRFRefused(
                "The XSRF token is missing or old. Reload the page; "
                "programs send a token in the Authorization header."
            ) from error

    def _sent_token(self) -> bool:
        return bool(self.hub_auth.get_token(self, in_cookie=False))

    def refuse_stranger(self) -> None:
        """Answer a request of nobody; pages redirect to the hub's login instead."""
        raise NotSignedIn("Sign in, or send a valid token.")

    # --- The answer -------------------------------------------------------------------------

    def set_default_headers(self) -> None:
        """Set what every answer carries."""
        self.set_header("Server", "jupyterhub-binder")
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Content-Security-Policy", self.content_security_policy())

    def content_security_policy(self) -> str:
        """Return the policy for a page: our own files, and scripts by their nonce alone.

        Other people's servers may be of this origin: it may not be framed, as the hub's pages,
        and being of this origin makes no script ours.
        """
        return (
            f"default-src 'self'; script-src 'nonce-{self.csp_nonce}'; "
            "img-src 'self' data:; object-src 'none'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        )

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer an exception with the status that its kind asks for."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        problem = problem_of(error, status_code, request_id=self.request_id)
        self.settings["metrics"].answers.count_error(problem.code)
        super().send_error(problem.status, **{**kwargs, "problem": problem})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the one JSON shape of errors; pages write HTML.

        It is in English, and to a page's script in the language of that page.
        """
        problem: Problem = kwargs["problem"]
        self.set_error_headers(status_code, problem)
        language = self.request.headers.get(_PAGES_LANGUAGE, "")
        if language in available_languages():
            speak(language)
            problem = replace(problem, message=say(problem.message))
        self.finish_json(problem.as_json())

    def set_error_headers(self, status_code: int, problem: Problem) -> None:
        """Set what tells a client how to do better: sign in, wait, use another method."""
        if status_code == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._methods()))
        if (seconds := problem.detail.get("retry_after_seconds")) is not None:
            self.set_header("Retry-After", str(max(1, round(seconds))))

    def _methods(self) -> list[str]:
        """Return the methods that this address takes."""
        unknown = RequestHandler._unimplemented_method
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower(), unknown) is not unknown
        ]

    def finish_json(self, value: Any, *, status: int | None = None) -> None:
        """Answer with JSON that no cache keeps."""
        if status is not None:
            self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        self.finish(text.encode("utf-8", "replace"))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a stack trace for what nobody foresaw, a line for what a client did wrong."""
        request = f"{self.request.method} {self.request.path}"
        foreseen = isinstance(value, BinderError) and value.status != 500
        if foreseen or isinstance(value, HTTPError | StreamClosedError):
            log.debug("Request %s, %s: %s", self.request_id, request, value)
        else:
            log.error("Request %s, %s failed", self.request_id, request, exc_info=(typ, value, tb))


class APIHandler(BaseHandler):
    """A route of the REST API: JSON both ways, and never a redirect."""

    def content_security_policy(self) -> str:
        """Return the policy of an answer that is no page."""
        return "default-src 'none'; frame-ancestors 'none'"


class UnknownRoute(APIHandler):
    """Answers what no route of the API matches."""

    signed_in_only = False

    async def prepare(self) -> None:
        """Refuse at once, whoever asks."""
        raise HTTPError(404)
