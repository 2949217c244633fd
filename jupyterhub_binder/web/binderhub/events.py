r"""Encodes a build for BinderHub's clients. Pure.

Events have only `data:` lines, messages with newlines, and BinderHub's phases. With `build_only`,
success is `ready` with `imageName` and no `url`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jupyterhub_binder.model import Build, BuildEvent, BuildState, Phase
from jupyterhub_binder.repositories.providers.base import RepoProvider

_LAST = (Phase.BUILT, Phase.FAILED)


def encode_event(phase: str, message: str, **more: Any) -> bytes:
    """Encode an event with a message of one line."""
    return _encode({"phase": phase, "message": f"{message}\n", **more})


def _encode(data: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode("ascii")


def encode_lines(events: tuple[BuildEvent, ...]) -> bytes:
    """Encode log lines, except a build's last one."""
    return b"".join(_encode_line(event) for event in events if event.phase not in _LAST)


def _encode_line(event: BuildEvent) -> bytes:
    text = event.message
    # A provisional line ends with "\r", where the next one begins.
    message = text if text.endswith("\r") else f"{text}\n"
    return _encode({"phase": event.phase.value, "message": message})


def encode_end(build: Build, *, found: bool, launch: bool) -> bytes:
    """Encode the end of a build."""
    if build.state is not BuildState.BUILT:
        reason = build.reason.message if build.reason else "The build failed."
        return encode_event("failed", reason)
    if launch:
        text = "Found built image, launching..." if found else "Built image, launching..."
        return encode_event("built", text, imageName=build.image)
    text = "Done! Found built image" if found else "Done! Image built"
    return encode_event("ready", text, imageName=build.image)


def encode_waiting(position: int | None) -> bytes:
    """Encode waiting, with the queue position if known."""
    if position is not None and position > 1:
        others = f"{position - 1} build{'s' if position > 2 else ''} before this one"
        return encode_event("waiting", f"Waiting for build to start, {others}...")
    return encode_event("waiting", "Waiting for build to start...")


def describe_provider(provider: RepoProvider) -> dict[str, Any]:
    """Describe a provider for ``/api/repoproviders``."""
    host = getattr(provider, "hostname", "")
    encoded = provider.prefix in ("git", "gl", "hydroshare", "ckan", "docker")
    return {
        "id": provider.prefix,
        "displayName": provider.display_name,
        "spec": {"validateRegex": _SPECS.get(provider.prefix, ".+")},
        "detect": {"regex": _detect(host)},
        "repo": {
            "label": f"{provider.display_name} {_LABELS.get(provider.prefix, 'name or URL')}",
            "placeholder": f"example: {provider.placeholder}",
            "urlEncode": encoded,
        },
        "ref": {"enabled": provider.takes_ref, "default": provider.default_ref},
    }


_DOI = r"10\.\d+\/(.)+"
_SPECS = {
    "gh": r"[^/]+/[^/]+/.+",
    "gl": r"[^/]+/.+",
    "gist": r"[^/]+/[^/]+(/[^/]+)?",
    "git": r"[^/]+/.+",
    "zenodo": _DOI,
    "figshare": _DOI,
    "dataverse": _DOI,
    "hydroshare": r"[^/]+",
    "ckan": r"[^/]+",
}
_LABELS = {
    "zenodo": "DOI",
    "figshare": "DOI",
    "dataverse": "DOI",
    "hydroshare": "resource id or DOI",
    "ckan": "dataset URL",
    "docker": "image",
}


def _detect(host: str) -> str:
    """Return the pattern for pasted text."""
    if not host or urlsplit(f"//{host}").hostname != host:
        return r"^(?<repo>.+?)/?$"
    escaped = host.replace(".", r"\.")
    return rf"^(?:https?://{escaped}/)?(?<repo>.+?)/?$"
