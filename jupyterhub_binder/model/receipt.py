"""A receipt: what an environment was made of, enough to make exactly it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt with the signature of the service that gave it."""

    receipt: Mapping[str, Any]
    """JSON; `environments.receipts` says what is in it."""
    public_key: str
    """In Base64; the file itself names it, so it proves nothing without another source."""
    signature: str
