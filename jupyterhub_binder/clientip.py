"""Which address a request came from, as far as proxies that are trusted say it.

Not tornado's `remote_ip`: that believes a header `X-Real-Ip`, which whoever asks can send where
no proxy in front overwrites it.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address

from tornado.httputil import HTTPServerRequest


def client_ip(request: HTTPServerRequest) -> str:
    """Return the address that a request came from; empty where it cannot be told.

    The proxy in front of hub and service adds to `X-Forwarded-For` whom it heard; what stands
    before that may be made up, unless the server trusts the one who added it
    (`trusted_downstream_ips`). Without the header it is whoever connected.
    """
    context = getattr(request.connection, "context", None)
    trusted = getattr(context, "trusted_downstream", None) or ()
    address = getattr(context, "address", None)
    peer = str(address[0]) if isinstance(address, tuple) and address else ""
    return forwarded_ip(request.headers.get_list("X-Forwarded-For"), trusted) or _valid(peer)


def forwarded_ip(headers: Collection[str], trusted: Collection[str]) -> str:
    """Return the last address of `X-Forwarded-For` that is not trusted; empty if there is none.

    An entry that is no address ends the search: what stands before it is worth nothing. Pure.
    """
    found = ""
    for entry in reversed([part.strip() for header in headers for part in header.split(",")]):
        address = _valid(entry)
        if not address:
            break
        found = address
        if address not in trusted:
            break
    return found


def _valid(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
