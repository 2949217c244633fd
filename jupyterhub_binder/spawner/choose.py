"""Which of the mixins a spawner's class gets."""

from __future__ import annotations

from jupyterhub.spawner import LocalProcessSpawner, Spawner

from jupyterhub_binder.spawner.image import BinderImageMixin
from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin
from jupyterhub_binder.spawner.process import BinderProcessMixin


def binder_spawner(spawner: type[Spawner]) -> type[Spawner]:
    """Return a spawner's class that starts environments, too; one that does already as it is.

    Takes DockerSpawner, KubeSpawner, LocalProcessSpawner and their subclasses, and any other
    spawner that has an ``image``. Raises TypeError for one that has none.
    """
    if issubclass(spawner, BinderSpawnerMixin):
        return spawner
    return type(
        f"Binder{spawner.__name__}",
        (find_mixin(spawner), spawner),
        {"__module__": __name__, "__doc__": f"{spawner.__name__} that starts environments."},
    )


def find_mixin(spawner: type[Spawner]) -> type[BinderSpawnerMixin]:
    """Return the mixin that fits a spawner's class. Raises TypeError where none does."""
    if issubclass(spawner, LocalProcessSpawner):
        return BinderProcessMixin
    # Imported only where the class is there already, and so its library.
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
        f"{spawner.__name__} starts neither local processes nor an `image`; there is no mixin "
        "for it. Subclass BinderSpawnerMixin and write `apply_environment`."
    )
