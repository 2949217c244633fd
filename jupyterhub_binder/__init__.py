"""Build, keep, share and launch your own environments on a JupyterHub."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jupyterhub_binder._version import __version__

if TYPE_CHECKING:
    from jupyterhub_binder.client import BinderClient
    from jupyterhub_binder.spawner import binder_spawner

__all__ = ["BinderClient", "__version__", "binder_spawner"]

_LAZY = {"BinderClient": "jupyterhub_binder.client", "binder_spawner": "jupyterhub_binder.spawner"}
"""Imported on first use: the service does not need what the hub's side imports."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
