"""Choose the mixin for a spawner class."""

from __future__ import annotations

from jupyterhub.spawner import LocalProcessSpawner, Spawner

from jupyterhub_binder.spawner.image import BinderImageMixin
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.process import BinderProcessMixin


def binder_spawner(spawner: type[Spawner]) -> type[Spawner]:
    """Return a class that can also start environments.

    Raises TypeError unless it starts local processes or has an ``image`` trait.
    """
    if issubclass(spawner, BinderSpawnerMixin):
        return spawner
    return type(
        f"Binder{spawner.__name__}",
        (find_mixin(spawner), spawner),
        {"__module__": __name__, "__doc__": f"{spawner.__name__} that starts environments."},
    )


def find_mixin(spawner: type[Spawner]) -> type[BinderSpawnerMixin]:
    """Return a spawner's mixin. Raises TypeError."""
    if issubclass(spawner, LocalProcessSpawner):
        return BinderProcessMixin
    # Import the mixin only if the spawner's library is already loaded.
    names = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in spawner.__mro__}
    if "kubespawner.KubeSpawner" in names:
        from jupyterhub_binder.spawner.kube import BinderKubeMixin

        return BinderKubeMixin
    if "dockerspawner.DockerSpawner" in names:
        from jupyterhub_binder.spawner.docker import BinderDockerMixin

        return BinderDockerMixin
    if spawner.class_traits().get("image") is not None:
        return BinderImageMixin
    raise TypeError(
        f"There is no mixin for {spawner.__name__}: it does not start local processes and has no "
        "`image`. Subclass BinderSpawnerMixin and implement `apply_environment`."
    )
