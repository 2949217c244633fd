"""Signatures over JSON: canonical bytes, and an Ed25519 key that is made once."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jupyterhub_binder.errors import ConfigurationError, InvalidInput

ALGORITHM = "Ed25519"
_BYTES = 32


def canonical(value: Any) -> bytes:
    """Return a JSON value as bytes that are the same for everybody: sorted, without blanks.

    Raises ValueError for numbers that JSON has not, and for text that is no Unicode.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a key that everybody may have."""

    raw: bytes

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read a key as `text` writes it. Raises InvalidInput."""
        try:
            raw = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _BYTES:
            raise InvalidInput("This is not a public key: it must be 32 bytes in Base64.")
        return cls(raw)

    @property
    def text(self) -> str:
        """The key in Base64."""
        return base64.b64encode(self.raw).decode()

    @property
    def id(self) -> str:
        """A short name of the key."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verify(self, value: Any, signature: str) -> bool:
        """Say whether the key has signed a JSON value."""
        try:
            signed = base64.b64decode(signature, validate=True)
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signed, canonical(value))
        except (InvalidSignature, ValueError, RecursionError):
            return False
        return True


class SigningKey:
    """The half of a key that signs; it leaves its file in no form."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, value: Any) -> str:
        """Return the signature of a JSON value, in Base64. The same value gives the same one."""
        return base64.b64encode(self._key.sign(canonical(value))).decode()

    @classmethod
    def ensure(cls, path: Path) -> SigningKey:
        """Read the key of a file; make it if there is none. Raises ConfigurationError.

        A file appears whole or not at all, and of two that begin at once one wins.
        """
        try:
            if not path.exists():
                _make(path)
            seed = bytes.fromhex(path.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"The key that signs receipts, {path}, can't be read or made ({error}). Restore it "
                "from a backup, or remove it: a new one is made, and receipts signed before then "
                "count as another hub's."
            ) from error
        if len(seed) != _BYTES:
            raise ConfigurationError(f"The key that signs receipts, {path}, is damaged.")
        return cls(seed)


def _make(path: Path) -> None:
    number, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(os.urandom(_BYTES).hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        Path(beside).unlink()
