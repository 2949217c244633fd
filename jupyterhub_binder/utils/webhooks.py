"""Who sent a webhook: the signatures of git hosts and of Standard Webhooks, over the raw body.

A `SignatureCheck` takes the body in pieces, so that nobody needs to keep it. It compares in constant
time and says yes or no; what a delivery means is for others to decide.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from enum import StrEnum

_PREFIX = "whsec_"
"""Of Standard Webhooks, and of GitLab's signing tokens; the rest is Base64."""
_SECRET_BYTES = 32
_MIN_KEY_BYTES = 24
_MAX_KEY_BYTES = 64
_MAX_ID_CHARACTERS = 200
_MAX_SIGNATURES = 10
TOLERANCE_SECONDS = 300
"""How old a signature with a time may be, and how far ahead its sender's clock."""


class Sender(StrEnum):
    """What signs a webhook."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    """Gitea, Forgejo (Codeberg) and Gogs."""
    STANDARD = "standard"
    """Standard Webhooks."""


_IDS = {
    Sender.GITHUB: ("X-GitHub-Delivery",),
    Sender.GITLAB: ("webhook-id", "Idempotency-Key", "X-Gitlab-Event-UUID"),
    Sender.GITEA: ("X-Forgejo-Delivery", "X-Gitea-Delivery", "X-Gogs-Delivery"),
    Sender.STANDARD: ("webhook-id",),
}
_EVENTS = {
    Sender.GITHUB: ("X-GitHub-Event",),
    Sender.GITLAB: ("X-Gitlab-Event",),
    Sender.GITEA: ("X-Forgejo-Event", "X-Gitea-Event", "X-Gogs-Event"),
    Sender.STANDARD: (),
}
_HEX = {
    Sender.GITHUB: ("X-Hub-Signature-256",),
    Sender.GITEA: (
        "X-Forgejo-Signature",
        "X-Gitea-Signature",
        "X-Gogs-Signature",
        "X-Hub-Signature-256",
    ),
}


def new_secret() -> str:
    """Return a secret that every sender accepts; GitLab as secret token and as signing token."""
    return _PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def is_signing_secret(secret: str) -> bool:
    """Say whether a secret is one of Standard Webhooks: 24 to 64 bytes in Base64, after a prefix."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return secret.startswith(_PREFIX) and _MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES


def event_of(sender: Sender, headers: Mapping[str, str]) -> str:
    """Return the name of the event, as the sender writes it; empty if there is none."""
    return _first(headers, _EVENTS[sender])[:_MAX_ID_CHARACTERS]


class SignatureCheck:
    """Checks one delivery: `update` with each piece of the body, then `is_valid`.

    `headers` must find names in any case, as tornado's and aiohttp's do.
    """

    def __init__(
        self,
        sender: Sender,
        headers: Mapping[str, str],
        secret: str,
        *,
        now: float | None = None,
    ) -> None:
        self._sender = sender
        self._headers = headers
        self._secret = secret
        self._now = time.time() if now is None else now
        self._standard = _has_standard_signature(sender, headers)
        self._mac = hmac.new(_key_of(secret, standard=self._standard), digestmod=hashlib.sha256)
        self._body = hashlib.sha256()
        if self._standard:
            self._mac.update(f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode())

    def update(self, piece: bytes) -> None:
        """Add the next piece of the raw body."""
        self._mac.update(piece)
        self._body.update(piece)

    def is_valid(self) -> bool:
        """Say whether the sender has the secret."""
        if not self._secret:
            return False
        if self._sender is Sender.GITLAB and self._has_token():
            return True
        if self._standard:
            return self._is_recent() and self._has_signature()
        given = _first(self._headers, _HEX.get(self._sender, ()))
        return _equal(given.removeprefix("sha256=").lower(), self._mac.hexdigest())

    @property
    def delivery_id(self) -> str:
        """What names the delivery, also when it is sent again; the body's digest without a name."""
        given = _first(self._headers, _IDS[self._sender])
        return given[:_MAX_ID_CHARACTERS] or self._body.hexdigest()

    def _has_token(self) -> bool:
        return _equal(self._headers.get("X-Gitlab-Token", ""), self._secret)

    def _is_recent(self) -> bool:
        try:
            sent = int(self._headers["webhook-timestamp"])
            return abs(self._now - sent) <= TOLERANCE_SECONDS
        except (ValueError, OverflowError):
            return False

    def _has_signature(self) -> bool:
        """Find ours among the signatures; there are several while a secret is replaced."""
        ours = "v1," + base64.b64encode(self._mac.digest()).decode()
        given = self._headers["webhook-signature"].split(" ")[:_MAX_SIGNATURES]
        return any(_equal(each, ours) for each in given)


def _has_standard_signature(sender: Sender, headers: Mapping[str, str]) -> bool:
    if sender not in (Sender.GITLAB, Sender.STANDARD):
        return False
    return all(headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))


def _key_of(secret: str, *, standard: bool) -> bytes:
    if standard and secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return os.urandom(_SECRET_BYTES)
    return secret.encode()


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((found for name in names if (found := headers.get(name))), "")


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
