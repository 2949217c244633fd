"""The environment field on the hub's spawn page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from jupyterhub.utils import maybe_future

OPTION = "environment"
"""The environment's id."""

PATH_OPTION = "path"
"""The path to open."""

REPOSITORY_OPTION = "environment_repository"
"""A repository to build and start, from the spawn page's form."""

IMAGE_OPTION = "environment_image"
NAME_OPTION = "environment_name"
BUILD_OPTION = "environment_build"
RECORDED = (IMAGE_OPTION, NAME_OPTION, BUILD_OPTION)
"""Recorded by the spawner. Users' values are ignored."""

BUILDING = {"queued", "building"}
"""A start waits in these states."""

_WITHOUT_IMAGE = {
    **dict.fromkeys(BUILDING, "being built"),
    "unbuilt": "will be built first",
    "failed": "✕ could not be built",
    "cancelled": "not built: cancelled",
}
_MAX_ADDRESS_CHARACTERS = 2000


def split(data: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Split the chosen environment and the pasted repository from the other fields."""
    rest = dict(data)
    chosen, pasted = (_first(rest.pop(name, "")) for name in (OPTION, REPOSITORY_OPTION))
    return chosen, pasted, rest


def _first(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value).strip()


async def merge(options: Any, chosen: str, pasted: str = "") -> dict[str, Any]:
    """Add our options to the administrator's; what was pasted wins."""
    theirs = await maybe_future(options) or {}
    if pasted:
        return {**theirs, OPTION: "", REPOSITORY_OPTION: pasted}
    return {**theirs, OPTION: chosen}


def form(
    items: list[dict[str, Any]],
    last: str,
    page: str,
    *,
    total: int = 0,
    note: str = "",
    paste: bool = False,
) -> str:
    """Return our form fields. All names are untrusted."""
    if paste and not (items or last or note):
        return _PASTE
    rows = [_row("", "None (default software of this hub)", selected=not last)]
    rows += [_item_row(item, last) for item in items if not _is_shared(item)]
    if last and all(item.get("id") != last for item in items):
        rows.append(_row(last, "The environment you used last", selected=True))
    rows += _shared_rows([item for item in items if _is_shared(item)], last)
    extra = f'<div class="form-text text-danger">{html.escape(note)}</div>' if note else ""
    return (
        '<div class="mb-3 form-group">'
        '<label class="form-label" for="binder-environment">Environment</label>'
        f'<select class="form-select form-control" id="binder-environment" name="{OPTION}">'
        f"{''.join(rows)}</select>{extra}"
        f'<div class="form-text">{_way_to_all(len(items), total, html.escape(page))}</div></div>'
        + (_PASTE if paste else "")
    )


_PASTE = (
    '<div class="mb-3 form-group">'
    '<label class="form-label" for="binder-repository">Build from a repository</label>'
    f'<input class="form-control" id="binder-repository" name="{REPOSITORY_OPTION}" type="text" '
    f'inputmode="url" maxlength="{_MAX_ADDRESS_CHARACTERS}" autocomplete="off" spellcheck="false" '
    'placeholder="https://github.com/owner/name" aria-describedby="binder-repository-hint">'
    '<div class="form-text" id="binder-repository-hint">Paste its address, or leave this empty. '
    "The server starts when the build is done, and the environment is kept for you. Its code runs "
    "with access to your home folder: build only what you trust.</div></div>"
)


def _is_shared(item: Mapping[str, Any]) -> bool:
    return item.get("right", "own") != "own"


def _shared_rows(items: list[dict[str, Any]], last: str) -> Iterator[str]:
    """Yield what others share, under their names."""
    owners = dict.fromkeys(str(item.get("owner", "")) for item in items)
    for owner in owners:
        rows = "".join(_item_row(each, last) for each in items if each.get("owner", "") == owner)
        yield f'<optgroup label="From {html.escape(owner)}">{rows}</optgroup>'


def _item_row(item: Mapping[str, Any], last: str) -> str:
    identity, state = str(item.get("id", "")), str(item.get("state", ""))
    startable = bool(item.get("current")) or state in BUILDING or state == "unbuilt"
    text = f"{item.get('name', '')} ({item.get('label', '')})"
    if not item.get("current"):
        text += f", {_WITHOUT_IMAGE.get(state, 'not built')}"
    elif state in ("failed", "cancelled"):
        text += f", last build {state}"
    return _row(identity, text, selected=identity == last, disabled=not startable)


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
