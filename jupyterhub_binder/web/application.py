"""Puts routes, pages and the hub's login together into one tornado application."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from jupyterhub.services.auth import HubOAuthCallbackHandler
from tornado.routing import URLSpec
from tornado.web import Application, RequestHandler

from jupyterhub_binder.web.admin import admin_handlers
from jupyterhub_binder.web.api import ROUTES, UNKNOWN, Route
from jupyterhub_binder.web.base import APIHandler, BaseHandler, UnknownRoute
from jupyterhub_binder.web.compat import COMPAT_ROUTES
from jupyterhub_binder.web.context import Services
from jupyterhub_binder.web.metrics import Metrics
from jupyterhub_binder.web.pages import PageSettings, page_handlers

log = logging.getLogger("jupyterhub_binder.web")


class OAuthCallback(HubOAuthCallbackHandler):
    """Where the hub sends a browser back to after the login."""

    def initialize(self) -> None:
        """Use the service's way to the hub, and no global one."""
        self.hub_auth = self.settings["services"].hub_auth

    async def prepare(self) -> None:
        """Ask who is signed in without blocking; `get` may want to know."""
        self._hub_auth_user_cache = await self.hub_auth.get_user(self, sync=False)


_MOST_LOGGED = 1000
"""Characters of a path that the log has; anybody may ask for one of 60,000."""


def make_application(
    services: Services,
    *,
    cookie_secret: bytes,
    pages: PageSettings,
    settings: Mapping[str, Any],
    state_dir: str,
    authenticate_metrics: bool = True,
) -> Application:
    """Return the application of all routes below the service's prefix."""
    prefix = services.base_url
    routes: list[Route] = [*ROUTES, *COMPAT_ROUTES, UNKNOWN, (r"oauth_callback", OAuthCallback)]
    return Application(
        [
            *(URLSpec(f"{prefix}{pattern}", handler) for pattern, handler in routes),
            *admin_handlers(prefix),
            *page_handlers(prefix, pages),
        ],
        services=services,
        pages=pages,
        metrics=Metrics(services, state_dir=state_dir, authenticate=authenticate_metrics),
        cookie_secret=cookie_secret,
        # Cookies are checked in `BaseHandler.prepare`, by the hub's rules.
        xsrf_cookies=False,
        default_handler_class=UnknownRoute,
        log_function=log_request,
        **settings,
    )


def log_request(handler: RequestHandler) -> None:
    """Log one request: its id, its path without the query, its status and milliseconds."""
    status = handler.get_status()
    handler.settings["metrics"].answers.count_answer(
        status, _kind_of(handler), handler.request.request_time()
    )
    level = logging.WARNING if status >= 500 else logging.INFO
    request = handler.request
    if status < 400 and (request.path.endswith("/health") or "/static/" in request.path):
        level = logging.DEBUG
    user = handler.user.name if isinstance(handler, BaseHandler) and handler.user else "-"
    log.log(
        level,
        "%d %s %s user=%s ms=%.1f request=%s",
        status,
        request.method,
        request.path[:_MOST_LOGGED],
        user,
        1000 * request.request_time(),
        getattr(handler, "request_id", "-"),
    )


def _kind_of(handler: RequestHandler) -> str | None:
    """Return how an answer is counted; None for a stream, which takes as long as it lasts."""
    path = handler.request.path
    if path.endswith("/events") or "/build/" in path:
        return None
    return "api" if isinstance(handler, APIHandler) else "page"
