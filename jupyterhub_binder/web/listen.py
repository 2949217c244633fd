"""Listens for requests, and ends so that what is being answered is answered.

Which requests there are is `application`'s to say.
"""

from __future__ import annotations

import contextlib
from asyncio import timeout
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.web.context import Traffic
from jupyterhub_binder.web.events import Streams

_BODY_BYTES = 1024 * 1024
_DRAIN_SECONDS = 5.0

Stop = Callable[[], Awaitable[None]]


def listen(
    application: Application, *, ip: str, port: int, trusted_downstream: Sequence[str]
) -> tuple[int, Stop]:
    """Begin to listen; return the port, a free one for 0, and what stops it.

    Raises ConfigurationError where the address or the port is taken.
    """
    server = HTTPServer(
        application,
        max_body_size=_BODY_BYTES,
        xheaders=True,
        trusted_downstream=list(trusted_downstream),
    )
    try:
        sockets = bind_sockets(port, ip)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.port: cannot listen at {ip}:{port}: {error.strerror}"
        ) from error
    server.add_sockets(sockets)
    services = application.settings["services"]
    return sockets[0].getsockname()[1], partial(_stop, server, services.streams, services.traffic)


async def _stop(server: HTTPServer, streams: Streams, traffic: Traffic) -> None:
    """Take no more requests, end the streams, and let what is being answered finish."""
    server.stop()
    await streams.close()
    with contextlib.suppress(TimeoutError):
        async with timeout(_DRAIN_SECONDS):
            await traffic.wait_idle()
    await server.close_all_connections()
