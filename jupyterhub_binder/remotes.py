"""The addresses of repositories: read, checked and brought into the one spelling git is handed.

Pure. What a hub allows of them is `git.Git.check`'s to say; which repository a person means by
what they pasted is the providers'.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.inputs import MOST_REF_CHARACTERS

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A full commit id, SHA-1 or SHA-256."""

_BAD_REF = re.compile(
    r"[\x00-\x20\x7f-\xa0\u2028\u2029~^:?*\[\\]|\.\.|@\{|//|/\.|^[-/.]|[/.]$|\.lock(/|$)"
)
_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
_PORTS = {"https": 443, "http": 80, "file": 0}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_METADATA = frozenset({"168.63.129.16"})
"""Public addresses that are a cloud's own, seen from inside of it."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository's URL, taken apart; `str` gives the one spelling that git is handed."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_remote(url: str) -> Remote:
    """Read the URL of a repository.

    Raises NotUnderstood for what is no URL, carries a name or password, or could be taken for
    an option; says nothing about whether it may be fetched.
    """
    if url.startswith("-") or _FORBIDDEN.search(url) or len(url) > 2000:
        raise NotUnderstood(
            "That is not the address of a repository: it has characters that no address has."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotUnderstood("That is not an address: check the host and the port in it.") from None
    if "@" in parts.netloc:
        raise NotUnderstood("The address carries a name or a password: leave them out.")
    if parts.scheme not in _PORTS:
        raise NotUnderstood(
            f"Repositories cannot be fetched by {parts.scheme or 'that'}: use https."
        )
    if parts.query or parts.fragment or not parts.path.strip("/"):
        raise NotUnderstood("The address names no repository.")
    host = "" if parts.scheme == "file" else _canonical_host(parts.hostname or "")
    if parts.scheme == "file" and parts.netloc:
        raise NotUnderstood("A file:// address has no host: write file:///folder.")
    return Remote(parts.scheme, host, port or _PORTS[parts.scheme], parts.path)


def check_ref(ref: str) -> str:
    """Return a ref as typed, ``HEAD`` for none; raises NotUnderstood if git takes no such name."""
    ref = ref.strip() or "HEAD"
    if _BAD_REF.search(ref) or len(ref) > MOST_REF_CHARACTERS:
        raise NotUnderstood("That cannot be the name of a branch, a tag or a commit.")
    return ref


def _canonical_host(host: str) -> str:
    """Return a host as git and curl will read it, and no other way."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    # 127.1, 0x7f.1 and 2130706433 are addresses to some and names to others.
    if not _HOST.fullmatch(name) or _NUMERIC.fullmatch(name.rpartition(".")[2]):
        raise NotUnderstood("That is not an address: its host is not a valid name.")
    return name


def plain_path(path: str) -> str:
    """Return a repository's path that means the same to git, to a host and to whoever compares addresses.

    Git's HTTP library follows ``..`` before it asks, with its own idea of ``//`` and of what an
    escape stands for: `rules` would ban or allow another repository than the one that is fetched.
    Raises NotUnderstood.
    """
    path = re.sub(r"/{2,}", "/", path)
    meant = unicodedata.normalize("NFKC", unquote(path))
    hidden = meant.count("/") != path.count("/") or re.search(r"[?#%\\\x00-\x1f\x7f]", meant)
    if hidden or {".", ".."} & set(meant.split("/")):
        raise NotUnderstood(
            "That is not the address of a repository: write its path out, without “..”, and "
            "without a “/”, “?”, “#” or “%” that is escaped."
        )
    return path


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the internet's, however it is wrapped."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if (inner := _wrapped(ip)) is not None:
            ip = inner
        elif ip not in _GLOBAL_UNICAST:  # what is there wraps others, or is a site's own
            return False
    return ip.is_global and not ip.is_multicast and str(ip) not in _METADATA


def _wrapped(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def host_matches(remote: Remote, patterns: Sequence[str]) -> bool:
    """Say whether a host, with or without its port, is one of some patterns of names."""
    names = (remote.host, f"{remote.host}:{remote.port}")
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns for name in names)
