"""The images of the tests' pods: named by the person who tests, else made by the local Docker.

The project's own Dockerfiles make them. That helps only where the local Docker is the node's as
well, or hands it its images (minikube, kind, k3s with `--docker`); for any other cluster push
them somewhere and name them.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.kit.engine import BASE_IMAGE, Engine, ensure_base, find_missing, import_base

HERE = Path(__file__).parent.parent / "cluster"
PROJECT = HERE.parent.parent
SERVICE, HUB, SINGLEUSER = (
    "BINDER_TEST_SERVICE_IMAGE",
    "BINDER_TEST_HUB_IMAGE",
    "BINDER_TEST_SINGLEUSER_IMAGE",
)
BINDERHUB = ("BINDER_TEST_BINDERHUB_IMAGE", "BINDER_TEST_REPO2DOCKER_IMAGE")
"""BinderHub's image and that of its build pods: where both are named, it builds too."""

JUPYTERHUB = os.environ.get("BINDER_TEST_JUPYTERHUB", ">=5.5.1,<6")
"""Which hub the tests run: Zero to JupyterHub's by default."""

_PULLED_BASE = "docker.io/library/python:3.13-slim"


@dataclass(frozen=True, slots=True)
class Images:
    """The names of the three images."""

    service: str
    hub: str
    singleuser: str


def find_images() -> Images | None:
    """Return the images that were named; None unless all were."""
    named = [os.environ.get(name, "") for name in (SERVICE, HUB, SINGLEUSER)]
    return Images(*named) if all(named) else None


def find_binderhub() -> dict[str, str] | None:
    """Return the words that `binderhub.yaml` wants; None unless both images were named."""
    found = {}
    for variable, word in zip(BINDERHUB, ("BINDERHUB", "REPO2DOCKER"), strict=True):
        name, _, tag = os.environ.get(variable, "").rpartition(":")
        if not name:
            return None
        found |= {f"{word}_NAME": name, f"{word}_TAG": tag}
    return found


def find_docker() -> Engine | None:
    """Return the local Docker, if it answers."""
    if shutil.which("docker") is None:
        return None
    engine = Engine(os.environ.get("DOCKER_HOST", ""), BASE_IMAGE)
    return engine if engine.run("version", check=False) else None


def build_images(docker: Engine) -> Images:
    """Make the three images, of what is in the cache as far as nothing changed."""
    base = _ensure_base(docker)
    folder = str(HERE)
    hub_base = _build(docker, "hub-base", f"{folder}/hub-base.Dockerfile", folder, base)
    images = f"{PROJECT}/helm/images"
    servers = _build(
        docker, "folders", f"{images}/singleuser/Dockerfile", f"{images}/singleuser", base
    )
    return Images(
        service=_build(docker, "service", f"{images}/service/Dockerfile", str(PROJECT), base),
        hub=_build(docker, "hub", f"{images}/hub/Dockerfile", str(PROJECT), hub_base),
        singleuser=_build(docker, "singleuser", f"{folder}/singleuser.Dockerfile", folder, servers),
    )


def _ensure_base(docker: Engine) -> str:
    """Return an image of a Debian with Python: a public one, or the tests' own where it can be made."""
    if docker.list("image", "ls", "--quiet", BASE_IMAGE):
        return BASE_IMAGE
    if find_missing() is None:
        import_base(docker, ensure_base())
        return BASE_IMAGE
    return _PULLED_BASE


def _build(docker: Engine, name: str, dockerfile: str, context: str, base: str) -> str:
    image = f"binder-test/{name}:cluster"
    docker.run(
        "build", "--quiet", f"--file={dockerfile}", f"--tag={image}",
        f"--build-arg=BASE={base}", f"--build-arg=JUPYTERHUB={JUPYTERHUB}", context,
    )  # fmt: skip
    return image
