"""Which step of a Dockerfile a line of a container build begins, in words. Pure.

Reads Docker's first builder, BuildKit's plain progress, and Buildah (Podman).
"""

from __future__ import annotations

import re

from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.text import without_escapes

_STEP = re.compile(
    r"(?:Step (\d{1,4})/(\d{1,4}) ?: |STEP (\d{1,4})/(\d{1,4}): "
    r"|#\d{1,5} \[(?:[^\]]{0,80} )?(\d{1,4})/(\d{1,4})\] )(.{0,1000})",
    re.DOTALL,
)
_DOES = (
    (re.compile(r"postBuild\b"), Message("running postBuild")),
    (
        re.compile(r"(?:conda|mamba)\S*\s+(?:env|install|create|update)\b", re.IGNORECASE),
        Message("installing conda packages"),
    ),
    (re.compile(r"\bapt(?:-get)?\b.*\binstall\b"), Message("installing Debian packages")),
    (re.compile(r"\b(?:pip3?|uv)\b.*\binstall\b"), Message("installing Python packages")),
    (re.compile(r"\bRscript\b|\binstall\.R\b|\bR --"), Message("installing R packages")),
    (re.compile(r"\bjulia\b", re.IGNORECASE), Message("installing Julia packages")),
    (re.compile(r"\b(?:npm|yarn|pnpm)\b"), Message("installing JavaScript packages")),
    (re.compile(r"^(?:COPY|ADD)\b"), Message("copying files")),
    (re.compile(r"^FROM\b"), Message("fetching the base image")),
)
_MAX_LOOKED_AT = 1200


def read_step(line: str) -> str:
    """Return ``step 5 of 12, installing Python packages``, or "" for any other line."""
    match = _STEP.match(without_escapes(line[:_MAX_LOOKED_AT]))
    if match is None:
        return ""
    number, total = (value for value in match.groups()[:6] if value is not None)
    does = next((words for pattern, words in _DOES if pattern.search(match[7])), None)
    if does is None:
        return Message("step %(number)s of %(total)s", number=number, total=total)
    return Message("step %(number)s of %(total)s, %(does)s", number=number, total=total, does=does)
