"""HTTP sessions without cookies or credentials; those are set per request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from jupyterhub_binder._version import __version__

USER_AGENT = f"jupyterhub-binder/{__version__}"


def open_session(**options: Any) -> aiohttp.ClientSession:
    """Open a session without cookies and connection limit."""
    options.setdefault("cookie_jar", aiohttp.DummyCookieJar())
    options.setdefault("headers", {"User-Agent": USER_AGENT})
    if "connector" not in options:
        options["connector"] = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(**options)


def why_unanswered(error: BaseException) -> str:
    """Say why a request got no answer, without aiohttp's and asyncio's words."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):  # it has no `os_error`
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    failed = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(failed, OSError) and failed.errno and failed.errno > 0:
        return os.strerror(failed.errno)  # its own text names the function that failed
    return str(failed) or "the connection broke"


@asynccontextmanager
async def borrow_session(
    session: aiohttp.ClientSession | None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield the session, or a temporary one."""
    if session is not None:
        yield session
    else:
        async with open_session() as own:
            yield own


@asynccontextmanager
async def take_connection(slots: asyncio.Semaphore, timeout_seconds: float) -> AsyncIterator[None]:
    """Hold one of a user's connections. Raises TimeoutError while all are taken."""
    async with asyncio.timeout(timeout_seconds):
        await slots.acquire()
    try:
        yield
    finally:
        slots.release()


def environment_proxy(url: URL) -> str | None:
    """Return the proxy set by HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""
    if url.host and proxy_bypass(url.host):
        return None
    return getproxies().get(url.scheme)
