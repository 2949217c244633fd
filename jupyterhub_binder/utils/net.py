"""The client's address, from trusted proxies only.

Tornado's `remote_ip` trusts `X-Real-Ip`, which a client can forge.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from ipaddress import ip_address

from tornado.httputil import HTTPServerRequest


def client_ip(request: HTTPServerRequest) -> str:
    """Return the client's address; empty if unknown.

    Each proxy appends its peer to `X-Forwarded-For`. Earlier entries can be forged, unless the peer
    is in `trusted_downstream_ips`.
    """
    context = getattr(request.connection, "context", None)
    trusted = getattr(context, "trusted_downstream", None) or ()
    address = getattr(context, "address", None)
    peer = str(address[0]) if isinstance(address, tuple) and address else ""
    return forwarded_ip(request.headers.get_list("X-Forwarded-For"), trusted) or _valid(peer)


_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9a-fA-F:.]{2,45}\](?::[0-9]{1,5})?")
_FETCH_SITES = frozenset({"cross-site", "same-origin", "same-site", "none"})


def asked_host(request: HTTPServerRequest) -> str:
    """Return the host that a request names; empty if it is none."""
    return request.host if _HOST.fullmatch(request.host) else ""


def asked_origin(request: HTTPServerRequest) -> str:
    """Return a request's Origin header, else its Sec-Fetch-Site header, if they are valid.

    BinderHub's launch events have the same in `request_origin`.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        site = request.headers.get("Sec-Fetch-Site", "")
        return site if site in _FETCH_SITES else ""
    scheme, _, host = origin.partition("://")
    known = origin == "null" or (scheme in ("http", "https") and _HOST.fullmatch(host))
    return origin if known else ""


def forwarded_ip(headers: Collection[str], trusted: Collection[str]) -> str:
    """Return the last untrusted address of `X-Forwarded-For`, or "".

    Stops at an invalid entry: earlier ones cannot be trusted.
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


_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_METADATA = frozenset({"168.63.129.16"})
"""Public, but used internally by cloud providers."""


def is_public(address: str) -> bool:
    """Say whether an IP address is public, also if wrapped in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if (inner := _wrapped(ip)) is not None:
            ip = inner
        elif ip not in _GLOBAL_UNICAST:  # embeds another address, or is local
            return False
    return ip.is_global and not ip.is_multicast and str(ip) not in _METADATA


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
