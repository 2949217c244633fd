"""Parses and normalises repository URLs for Git. Pure."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from jupyterhub_binder.errors import NotUnderstood
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.validation import MAX_REF_CHARACTERS

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


@dataclass(frozen=True, slots=True)
class Remote:
    """A parsed repository URL; `str` gives Git's spelling."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_remote(url: str) -> Remote:
    """Parse a repository URL; its host is not checked.

    Raises NotUnderstood, also for a name, a password, or a URL like an option.
    """
    if url.startswith("-") or _FORBIDDEN.search(url) or len(url) > 2000:
        raise NotUnderstood(
            "That is not the address of a repository. It contains characters that are not "
            "allowed in addresses, or it is too long."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotUnderstood("That is not a valid address. Check its host and port.") from None
    if "@" in parts.netloc:
        raise NotUnderstood("The address contains a user name or password. Leave it out.")
    if parts.scheme not in _PORTS:
        raise NotUnderstood(
            "Repositories can't be fetched over %(scheme)s. Use https.",
            scheme=parts.scheme or Message("this protocol"),
        )
    if parts.query or parts.fragment or not parts.path.strip("/"):
        raise NotUnderstood(
            "The address does not name a repository. Paste the address of the repository's page."
        )
    host = "" if parts.scheme == "file" else _canonical_host(parts.hostname or "")
    if parts.scheme == "file" and parts.netloc:
        raise NotUnderstood("A file:// address must not contain a host. Write file:///folder.")
    return Remote(parts.scheme, host, port or _PORTS[parts.scheme], parts.path)


def check_ref(ref: str) -> str:
    """Return a valid ref; default: ``HEAD``. Raises NotUnderstood."""
    ref = ref.strip() or "HEAD"
    if _BAD_REF.search(ref) or len(ref) > MAX_REF_CHARACTERS:
        raise NotUnderstood("That is not a valid name for a branch, tag or commit.")
    return ref


def _canonical_host(host: str) -> str:
    """Return the spelling that Git and curl read the same way."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    # Some programs read 127.1, 0x7f.1 and 2130706433 as addresses, others as names.
    if not _HOST.fullmatch(name) or _NUMERIC.fullmatch(name.rpartition(".")[2]):
        raise NotUnderstood("That is not a valid address. Check the name of its host.")
    return name


def plain_path(path: str) -> str:
    """Return a path that means the same to Git, hosts and our rules.

    Git's HTTP library changes ``..``, ``//`` and escapes. Without this, a rule could check another
    repository than the one fetched. Raises NotUnderstood.
    """
    path = re.sub(r"/{2,}", "/", path)
    meant = unicodedata.normalize("NFKC", unquote(path))
    hidden = meant.count("/") != path.count("/") or re.search(r"[?#%\\\x00-\x1f\x7f]", meant)
    if hidden or {".", ".."} & set(meant.split("/")):
        raise NotUnderstood(
            "That is not the address of a repository. Its path must not contain “..”, or an "
            "escaped “/”, “?”, “#” or “%”."
        )
    return path


def host_matches(remote: Remote, patterns: Sequence[str]) -> bool:
    """Match a host, with or without port."""
    names = (remote.host, f"{remote.host}:{remote.port}")
    return any(fnmatchcase(name, pattern.lower()) for pattern in patterns for name in names)
