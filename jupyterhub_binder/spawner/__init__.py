"""Spawners that start environments, in the hub's process.

`docker` and `kube` have optional libraries, so they are imported on demand.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.choose import binder_spawner
from jupyterhub_binder.spawner.form import OPTION, PATH_OPTION
from jupyterhub_binder.spawner.image import BinderImageMixin
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.process import (
    BinderLocalSpawner,
    BinderProcessMixin,
    BinderSimpleSpawner,
)
from jupyterhub_binder.spawner.refusal import StartRefused

if TYPE_CHECKING:
    from jupyterhub_binder.spawner.docker import BinderDockerMixin, BinderDockerSpawner
    from jupyterhub_binder.spawner.kube import BinderKubeMixin, BinderKubeSpawner

__all__ = [
    "OPTION",
    "PATH_OPTION",
    "BinderDockerMixin",
    "BinderDockerSpawner",
    "BinderImageMixin",
    "BinderKubeMixin",
    "BinderKubeSpawner",
    "BinderLocalSpawner",
    "BinderProcessMixin",
    "BinderSimpleSpawner",
    "BinderSpawnerMixin",
    "LaunchSpec",
    "StartRefused",
    "binder_spawner",
]

_LATER = {
    "BinderDockerMixin": "docker",
    "BinderDockerSpawner": "docker",
    "BinderKubeMixin": "kube",
    "BinderKubeSpawner": "kube",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
