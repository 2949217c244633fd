"""The tornado application: routes, login, listening and stopping."""

from __future__ import annotations

import contextlib
import logging
from asyncio import timeout
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import URLSpec
from tornado.web import Application, RequestHandler

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.web.api.routes import ID, ROUTES, UNKNOWN, Route
from jupyterhub_binder.web.binderhub.handlers import COMPAT_ROUTES
from jupyterhub_binder.web.handlers import APIHandler, BaseHandler, UnknownRoute
from jupyterhub_binder.web.hooks import DetectorHandler, HookHandler
from jupyterhub_binder.web.metrics.endpoint import Metrics
from jupyterhub_binder.web.pages import PageSettings, page_handlers
from jupyterhub_binder.web.pages.admin import admin_handlers
from jupyterhub_binder.web.services import Services, Streams, Traffic

log = logging.getLogger("jupyterhub_binder.web")

_BODY_BYTES = 1024 * 1024
_BODY_SECONDS = 60.0
_IDLE_SECONDS = 120.0
"""Until the headers of the next request are there; reverse proxies keep connections for 90."""
_DRAIN_SECONDS = 5.0

Stop = Callable[[], Awaitable[None]]


_MAX_LOGGED = 1000
"""Of a path; requests may have 60,000 characters."""


def make_application(
    services: Services,
    *,
    cookie_secret: bytes,
    pages: PageSettings,
    settings: Mapping[str, Any],
    state_dir: str,
    authenticate_metrics: bool = True,
) -> Application:
    """Return the application with all routes."""
    prefix = services.base_url
    detector: Route = (r"hooks/detector", DetectorHandler)
    hooks: Route = (rf"hooks/{ID}", HookHandler)
    no_hook: Route = (r"hooks(?:/.*)?", HookHandler)
    routes: list[Route] = [*ROUTES, *COMPAT_ROUTES, detector, hooks, no_hook, UNKNOWN]
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
        # `BaseHandler.prepare` checks XSRF by the hub's rules.
        xsrf_cookies=False,
        default_handler_class=UnknownRoute,
        log_function=log_request,
        **settings,
    )


def log_request(handler: RequestHandler) -> None:
    """Log id, path without query, status and duration."""
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
        request.path[:_MAX_LOGGED],
        user,
        1000 * request.request_time(),
        getattr(handler, "request_id", "-"),
    )


def _kind_of(handler: RequestHandler) -> str | None:
    """Return None for a stream."""
    path = handler.request.path
    if path.endswith("/events") or "/build/" in path:
        return None
    return "api" if isinstance(handler, APIHandler) else "page"


def listen(
    application: Application, *, ip: str, port: int, trusted_downstream: Sequence[str]
) -> tuple[int, Stop]:
    """Listen; return the port and a function that stops.

    Raises ConfigurationError if the address is in use.
    """
    server = HTTPServer(
        application,
        max_body_size=_BODY_BYTES,
        body_timeout=_BODY_SECONDS,
        idle_connection_timeout=_IDLE_SECONDS,
        xheaders=True,
        trusted_downstream=list(trusted_downstream),
    )
    try:
        sockets = bind_sockets(port, ip)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.port: can't listen on {ip}:{port}: {error.strerror}"
        ) from error
    server.add_sockets(sockets)
    services = application.settings["services"]
    return sockets[0].getsockname()[1], partial(_stop, server, services.streams, services.traffic)


async def _stop(server: HTTPServer, streams: Streams, traffic: Traffic) -> None:
    """Refuse new requests, end the streams, finish the others."""
    server.stop()
    await streams.close()
    with contextlib.suppress(TimeoutError):
        async with timeout(_DRAIN_SECONDS):
            await traffic.wait_idle()
    await server.close_all_connections()
