"""The environment as a choice on the hub's spawn page: our field in a form, and out of it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from jupyterhub.utils import maybe_future

OPTION = "environment"
"""The user option, and the form's field, that holds an environment's id; empty for none."""

PATH_OPTION = "path"
"""The user option that says what opens, relative to the repository's root."""

IMAGE_OPTION = "environment_image"
"""The user option in which a spawner notes what it started; a person's word for it is not heard."""

BUILDING = {"queued", "building"}
"""The states of an environment that a start waits in."""

_WITHOUT_IMAGE = {**dict.fromkeys(BUILDING, "being built"), "unbuilt": "built when it starts"}


def split(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our field's value, and the other fields."""
    rest = dict(data)
    value = rest.pop(OPTION, "")
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value).strip(), rest


async def merge(options: Any, chosen: str) -> dict[str, Any]:
    """Return the administrator's options, which may need waiting for, with ours."""
    return {**(await maybe_future(options) or {}), OPTION: chosen}


def form(
    items: list[dict[str, Any]], last: str, page: str, *, total: int = 0, note: str = ""
) -> str:
    """Return our part of the spawn page's form; every name in it is a stranger's.

    `total` counts all that there are, of which `items` are those used last.
    """
    rows = [_row("", "None: this hub's own software", selected=not last)]
    for item in items:
        identity, state = str(item.get("id", "")), str(item.get("state", ""))
        startable = bool(item.get("current")) or state in BUILDING or state == "unbuilt"
        text = f"{item.get('name', '')} ({item.get('label', '')})"
        if not item.get("current"):
            text += f", {_WITHOUT_IMAGE.get(state, 'not built')}"
        rows.append(_row(identity, text, selected=identity == last, disabled=not startable))
    if last and all(item.get("id") != last for item in items):
        rows.append(_row(last, "The one of last time", selected=True))
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
        return f'<a href="{page}">Make or change environments</a>'
    return (
        f"These are the {shown} used last of {total}. "
        f'<a href="{page}">Search all environments, and launch one there</a>'
    )


def _row(value: str, text: str, *, selected: bool = False, disabled: bool = False) -> str:
    marks = (" selected" if selected else "") + (" disabled" if disabled else "")
    return f'<option value="{html.escape(value)}"{marks}>{html.escape(text)}</option>'
