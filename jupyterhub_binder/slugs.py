"""Names: identifiers, content keys, and safe names out of unsafe ones."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any

from jupyterhub_binder.inputs import MOST_NAME_CHARACTERS
from jupyterhub_binder.model import Spec

_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"
"""Letters and digits that are not mistaken for one another, lower case."""

ID_LENGTH = 10


def new_id() -> str:
    """Return a fresh identifier: 10 characters, 49 bits, safe in a URL and as a file's name."""
    number, letters = secrets.randbelow(len(_ALPHABET) ** ID_LENGTH), []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def is_id(text: str) -> bool:
    """Say whether a text has the form of `new_id`."""
    return len(text) == ID_LENGTH and all(c in _ALPHABET for c in text)


def content_key(
    *, clone_url: str, resolved_ref: str, options: Mapping[str, Any], fingerprint: str
) -> str:
    """Return the key that two people's builds share: 40 hex digits.

    `fingerprint` is the backend's: all else that would make another image.
    """
    parts = [clone_url, resolved_ref, dict(options), fingerprint]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def repository_key(spec: Spec) -> str:
    """Return what names a repository without its ref, for statistics and quotas."""
    return f"{spec.provider}:{spec.repo}".lower()


def safe_name(text: str, *, fallback: str = "environment", most: int = 60) -> str:
    """Return a name that is safe as a folder's: letters, digits, ``-_.``; never hidden or empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-.")[:most].rstrip("-.")
    return name or fallback


def server_name(text: str, *, most: int = 30) -> str:
    """Return a server name that JupyterHub 6 takes: lower case, digits, single dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", safe_name(text).lower()).strip("-")[:most].strip("-")
    return name or "environment"


def another_name(name: str) -> str:
    """Return a name that tells a second environment from the first: ``course``, ``course 2``."""
    stem, _, number = name.rpartition(" ")
    if not (stem and number.isascii() and number.isdecimal() and len(number) < 4):
        stem, number = name, "1"
    return f"{stem[: MOST_NAME_CHARACTERS - 5]} {int(number) + 1}"
