"""Which request, build or launch a line of the log belongs to.

Whatever is logged while one of them is served carries its id, however deep down; tasks inherit
what the code that starts them belongs to, until they say otherwise. How the ids are written is the
business of `logs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

_IDS: ContextVar[Mapping[str, str]] = ContextVar("jupyterhub_binder_log_ids")
_NONE: Mapping[str, str] = {}


def get_ids() -> Mapping[str, str]:
    """Return what the running code belongs to: ``request``, ``build``, ``launch`` to an id."""
    return _IDS.get(_NONE)


def set_ids(**ids: str) -> None:
    """Have the running task, and what it starts from now on, belong to these and no others."""
    _IDS.set(ids)
