"""An administrator names the spawners; whichever JupyterHub is installed finds them."""

from __future__ import annotations

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import LocalProcessSpawner, Spawner
from traitlets.config import Config

from jupyterhub_binder.spawner.mixin import BinderSpawnerMixin


def spawner_called(name: str) -> type[Spawner]:
    """Return what a hub whose configuration has this name would start servers with."""
    config = Config()
    config.JupyterHub.spawner_class = name
    return JupyterHub(config=config).spawner_class


@pytest.mark.parametrize("name", ["binder-docker", "binder-kube", "binder-local"])
def test_each_spawner_is_found_by_its_name(name: str) -> None:
    spawner = spawner_called(name)
    assert issubclass(spawner, BinderSpawnerMixin)
    assert issubclass(spawner, Spawner)


def test_a_name_leads_to_the_spawner_that_it_says() -> None:
    from dockerspawner import DockerSpawner
    from kubespawner import KubeSpawner

    assert issubclass(spawner_called("binder-docker"), DockerSpawner)
    assert issubclass(spawner_called("binder-kube"), KubeSpawner)
    assert issubclass(spawner_called("binder-local"), LocalProcessSpawner)
