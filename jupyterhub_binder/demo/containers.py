"""Decides whether the demo's servers can be containers, and knows which are the demo's."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import json
import shutil
import socket
import sys
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass

import click

from jupyterhub_binder.backends.repo2docker.backend import DEBIAN_BASE_IMAGE, require_repo2docker
from jupyterhub_binder.backends.repo2docker.engine import Engine
from jupyterhub_binder.demo.state import DemoError
from jupyterhub_binder.errors import BinderError, ConfigurationError
from jupyterhub_binder.utils.subprocess import ProcessFailed

AUTO, CONTAINERS, FOLDERS = ("auto", "repo2docker", "venv")
LABEL = "jupyterhub-binder-demo"
"""A label of containers; its value is the demo's name."""

PULL_SECONDS = 900
_PROGRAM = "docker"
_WAY_OUT = 'Name one that you have: --base-image IMAGE (with make: ARGS="--base-image IMAGE").'
_DESKTOP = "Docker Desktop"
_HOST_FROM_VIRTUAL_MACHINE = "host.docker.internal"


@dataclass(frozen=True)
class ContainerSettings:
    """Settings for the hub, as JSON."""

    name: str
    """Prefix of containers, volumes and images."""
    base_image: str
    docker_host: str
    hub_ip: str
    """Where the hub listens."""
    hub_name: str
    """The hub's name for containers."""

    def to_json(self) -> str:
        """Write JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ContainerSettings:
        """Read JSON."""
        return cls(**json.loads(text))


class Containers:
    """The engine with one demo's containers and volumes."""

    def __init__(self, engine: Engine, settings: ContainerSettings) -> None:
        self.engine = engine
        self.settings = settings

    async def remove_all(self) -> None:
        """Remove all containers; keep volumes and images."""
        for container, owner in (await self.engine.list_containers(LABEL)).items():
            if owner == self.settings.name:
                await self.engine.remove_container(container)

    async def remove_homes(self) -> None:
        """Remove the home volumes and their containers."""
        await self.remove_all()
        prefix = f"{self.settings.name}-"
        names = await self.engine.ask("volume", "ls", "--quiet", "--filter", f"name={prefix}")
        if ours := [name for name in names.split() if name.startswith(prefix)]:
            await self.engine.ask("volume", "rm", *ours)

    async def is_running(self, host_name: str) -> bool:
        """Say whether a host is one of the demo's containers."""
        ours = f"label={LABEL}={self.settings.name}"
        ids = await self.engine.ask("ps", "--quiet", "--no-trunc", "--filter", ours)
        return bool(host_name) and any(one.startswith(host_name) for one in ids.split())


async def choose(wanted: str, *, name: str, base_image: str = "") -> Containers | None:
    """Choose containers, or folders (None), and print why.

    `wanted` is AUTO, CONTAINERS or FOLDERS. Raises DemoError.
    """
    if wanted == FOLDERS:
        click.echo("Backend venv (as requested): environments are folders on this machine.")
        return None
    try:
        found = await _find(name, base_image or DEBIAN_BASE_IMAGE)
    except (DemoError, BinderError) as error:
        if wanted == CONTAINERS:
            raise DemoError(f"Containers can't be used. {error}") from error
        click.echo(f"Backend venv: environments are folders on this machine. {error}")
        return None
    click.echo(
        f"Backend repo2docker: environments are container images. Docker {found.engine.version} is "
        f"running and has the base image {found.settings.base_image}."
    )
    return found


async def _find(name: str, base_image: str) -> Containers:
    _require_packages()
    if shutil.which(_PROGRAM) is None:
        raise DemoError(f"{_PROGRAM!r} is not installed on this machine.")
    engine = await Engine.find(_PROGRAM)
    if engine.podman:
        raise DemoError(f"{_PROGRAM!r} is Podman on this machine, but the spawner needs Docker.")
    docker_host = await _find_socket(engine)
    hub_ip, hub_name = await _find_way_to_hub(engine)
    await _have_image(engine, base_image)
    return Containers(engine, ContainerSettings(name, base_image, docker_host, hub_ip, hub_name))


def _require_packages() -> None:
    require_repo2docker()
    if importlib.util.find_spec("dockerspawner") is None:
        raise ConfigurationError("dockerspawner is not installed: pip install 'dockerspawner>=14'")


async def _find_socket(engine: Engine) -> str:
    """Return the engine's URL: DockerSpawner ignores Docker's contexts."""
    shape = "{{.Endpoints.docker.Host}}"
    found = (await engine.ask("context", "inspect", "--format", shape)).strip()
    if not found.startswith("unix://"):
        raise DemoError(
            f"The Docker engine at {found} may run on another machine. The demo needs a local socket."
        )
    return found


async def _find_way_to_hub(engine: Engine) -> tuple[str, str]:
    """Return the hub's address, and its name for containers."""
    shape = "{{range .IPAM.Config}}{{.Gateway}} {{.Subnet}} {{end}}"
    found = (await engine.ask("network", "inspect", "bridge", "--format", shape)).split()
    for address in found:
        gateway = _first_address(address)
        if _is_of_this_machine(gateway):
            return gateway, gateway
    system = (await engine.ask("info", "--format", "{{.OperatingSystem}}")).strip()
    if system == _DESKTOP or sys.platform == "darwin":
        # The engine runs in a virtual machine, where this name leads to our 127.0.0.1.
        return "127.0.0.1", _HOST_FROM_VIRTUAL_MACHINE
    raise DemoError(
        "Docker's bridge network has no address on this machine, so containers could not reach "
        "the hub. Rootless Docker and Docker in a container do not work here."
    )


def _first_address(found: str) -> str:
    """Return a subnet's first address, or the address itself.

    An engine that has just made its bridge names only the subnet.
    """
    with suppress(ValueError, StopIteration):
        return str(next(iter(ipaddress.ip_network(found).hosts())))
    return ""


def _is_of_this_machine(address: str) -> bool:
    with suppress(ValueError, OSError), socket.socket() as probe:
        if ipaddress.ip_address(address).version == 4:
            probe.bind((address, 0))
            return True
    return False


async def _have_image(engine: Engine, image: str) -> None:
    if await engine.inspect(image) is not None:
        return
    click.echo(f"Pulling the base image {image} ...")
    said = ""
    try:
        async with (
            asyncio.timeout(PULL_SECONDS),
            aclosing(engine.stream("pull", "--quiet", image)) as lines,
        ):
            async for line in lines:
                said = line.strip() or said
    except ProcessFailed as error:
        raise DemoError(
            f"Can't pull the base image {image}: "
            f"{said[:300].rstrip('.') or 'docker said nothing'}. {_WAY_OUT}"
        ) from error
    except TimeoutError:
        raise DemoError(
            f"Pulling the base image {image} took longer than {PULL_SECONDS} s. {_WAY_OUT}"
        ) from None
