"""Identifiers, content keys and safe names."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any

from jupyterhub_binder.utils.validation import MAX_NAME_CHARACTERS

_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
"""No easily confused characters."""

ID_LENGTH = 10


MAX_SERVER_NAME = 30
_SERVER_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*")


def new_id() -> str:
    """Return 10 characters, 49 bits, safe in URLs and file names."""
    number, letters = secrets.randbelow(len(_ALPHABET) ** ID_LENGTH), []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def is_id(text: str) -> bool:
    """Say whether a text looks like `new_id`'s."""
    return len(text) == ID_LENGTH and all(c in _ALPHABET for c in text)


def content_key(
    *, clone_url: str, resolved_ref: str, options: Mapping[str, Any], fingerprint: str
) -> str:
    """Return the key of identical builds: 40 hex digits.

    The backend's `fingerprint` covers everything else that changes the image.
    """
    parts = [clone_url, resolved_ref, dict(options), fingerprint]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def safe_name(text: str, *, fallback: str = "environment", max_length: int = 60) -> str:
    """Return a folder name: letters, digits, ``-_.``; not hidden or empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.")[:max_length].rstrip("-.")
    return name or fallback


def server_name(text: str) -> str:
    """Return a name that JupyterHub 6 accepts."""
    name = re.sub(r"[^a-z0-9]+", "-", safe_name(text).lower()).strip("-")
    name = f"e-{name}" if name[:1].isdigit() else name
    return name[:MAX_SERVER_NAME].strip("-") or "environment"


def is_server_name(text: str) -> bool:
    """Say whether JupyterHub 6 accepts a new server's name."""
    return len(text) <= MAX_SERVER_NAME and bool(_SERVER_NAME.fullmatch(text))


def another_name(name: str) -> str:
    """Return a numbered name: ``course``, ``course 2``."""
    stem, _, number = name.rpartition(" ")
    if not (stem and number.isascii() and number.isdecimal() and len(number) < 4):
        stem, number = name, "1"
    return f"{stem[: MAX_NAME_CHARACTERS - 5]} {int(number) + 1}"
