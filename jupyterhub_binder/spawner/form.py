"""The environment field on the hub's spawn page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from jupyterhub.utils import maybe_future

OPTION = "environment"
"""The environment's id."""

PATH_OPTION = "path"
"""The path to open."""

IMAGE_OPTION = "environment_image"
"""Recorded by the spawner. Users' values are ignored."""

BUILDING = {"queued", "building"}
"""A start waits in these states."""

_WITHOUT_IMAGE = {**dict.fromkeys(BUILDING, "being built"), "unbuilt": "will be built first"}


def split(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split our field from the others."""
    rest = dict(data)
    value = rest.pop(OPTION, "")
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value).strip(), rest


async def merge(options: Any, chosen: str) -> dict[str, Any]:
    """Add our options to the administrator's."""
    return {**(await maybe_future(options) or {}), OPTION: chosen}


def form(
    items: list[dict[str, Any]], last: str, page: str, *, total: int = 0, note: str = ""
) -> str:
    """Return our form fields. All names are untrusted."""
    rows = [_row("", "None (default software of this hub)", selected=not last)]
    for item in items:
        identity, state = str(item.get("id", "")), str(item.get("state", ""))
        startable = bool(item.get("current")) or state in BUILDING or state == "unbuilt"
        text = f"{item.get('name', '')} ({item.get('label', '')})"
        if not item.get("current"):
            text += f", {_WITHOUT_IMAGE.get(state, 'not built')}"
        elif state in ("failed", "cancelled"):
            text += f", last build {state}"
        rows.append(_row(identity, text, selected=identity == last, disabled=not startable))
    if last and all(item.get("id") != last for item in items):
        rows.append(_row(last, "The environment you used last", selected=True))
    extra = f'<div class="form-text text-danger">{html.escape(note)}</div>' if note else ""
    return (
        '<div class="mb-3 form-group">'
        '<label class="form-label" for="binder-environment">Environment</label>'
        f'<select class="form-select form-control" id="binder-environment" name="{OPTION}">'
        f"{''.join(rows)}</select>{extra}"
        f'<div class="form-text">{_way_to_all(len(items), total, html.escape(page))}</div></div>'
    )


def _way_to_all(shown: int, total: int, page: str) -> str:
    if total <= shown:
        return f'<a href="{page}">Create or edit environments</a>'
    return (
        f"The {shown} most recently used of {total} environments. "
        f'<a href="{page}">Search and launch others</a>'
    )


def _row(value: str, text: str, *, selected: bool = False, disabled: bool = False) -> str:
    marks = (" selected" if selected else "") + (" disabled" if disabled else "")
    return f'<option value="{html.escape(value)}"{marks}>{html.escape(text)}</option>'
