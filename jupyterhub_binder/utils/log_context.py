"""The request, build or launch that a log line belongs to; inherited by tasks."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_IDS: ContextVar[Mapping[str, str]] = ContextVar("jupyterhub_binder_log_ids")
_NONE: Mapping[str, str] = {}


def get_ids() -> Mapping[str, str]:
    """Return the current ``request``, ``build`` and ``launch``."""
    return _IDS.get(_NONE)


def set_ids(**ids: str) -> None:
    """Replace the ids of this task and of tasks that it starts later."""
    _IDS.set(ids)
