"""When the certificate of the hub's public address expires."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509

_TIMEOUT_SECONDS = 10.0
_HTTPS_PORT = 443


async def fetch_expiry(url: str) -> datetime | None:
    """Return when a host's certificate expires; None without https or an answer."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return None
    try:
        port = parts.port or _HTTPS_PORT
        return await asyncio.to_thread(_fetch_expiry, parts.hostname, port)
    except (OSError, ValueError):
        return None


def _fetch_expiry(host: str, port: int) -> datetime:
    # Not verified: an expired certificate is read, too, and nothing is sent.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
    if not found:
        raise ValueError("no certificate")
    return x509.load_der_x509_certificate(found).not_valid_after_utc
