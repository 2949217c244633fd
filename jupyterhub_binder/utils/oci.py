"""What every client of a container registry needs to know."""

from __future__ import annotations

import re

MANIFEST_TYPES = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
"""The header `Accept` of a question about an image."""

_PARAMETER = re.compile(r'([a-zA-Z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def read_challenge(header: str) -> tuple[str, dict[str, str]]:
    """Parse a WWW-Authenticate header: lower-case scheme, and parameters."""
    scheme, _, rest = header.strip().partition(" ")
    found = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(rest)}
    return scheme.lower(), found
