"""Build, keep, share and launch your own environments on a JupyterHub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyterhub_binder._version import __version__

if TYPE_CHECKING:
    from jupyterhub_binder.spawner import binder_spawner

__all__ = ["__version__", "binder_spawner"]


def __getattr__(name: str) -> Any:
    # The service does not need what the hub's side imports.
    if name != "binder_spawner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jupyterhub_binder.spawner import binder_spawner

    return binder_spawner
