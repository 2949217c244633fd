"""The hub's side: spawners that start environments. Imports no more of binder than its layer 0.

`mixin` has what every such spawner does; `process`, `image`, `docker` and `kube` how servers of
each kind start; `choose` which of them fits a class. The ones of Docker and Kubernetes are
imported when they are asked for: they need libraries that a hub may not have.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from jupyterhub_binder.spawner.spec import EnvironmentSpec

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
    "EnvironmentSpec",
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
