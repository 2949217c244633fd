"""Whether the demonstration's servers can be containers on this machine, and if not, why.

Looks at what is installed, the engine, its network and the base image; knows which of the
engine's containers are the demonstration's. What hub and service do with it is configured in
`jupyterhub_config`.
"""

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

from jupyterhub_binder.backends.engine import Engine
from jupyterhub_binder.backends.repo2docker import DEBIAN_BASE_IMAGE, require_repo2docker
from jupyterhub_binder.demo.state import DemoError
from jupyterhub_binder.errors import BinderError, ConfigurationError
from jupyterhub_binder.process import ProcessFailed

AUTO, CONTAINERS, FOLDERS = ("auto", "repo2docker", "venv")
LABEL = "jupyterhub-binder-demo"
"""The label that a demonstration's containers have; its value is whose they are."""

PULL_SECONDS = 900
_PROGRAM = "docker"
_WAY_OUT = 'Name one that is there: --base-image IMAGE (with make: ARGS="--base-image IMAGE").'
_DESKTOP = "Docker Desktop"
_HOST_FROM_VIRTUAL_MACHINE = "host.docker.internal"


@dataclass(frozen=True)
class ContainerSettings:
    """What the hub is told: plain values, handed over as JSON."""

    name: str
    """What names of containers, volumes and images begin with."""
    base_image: str
    docker_host: str
    hub_ip: str
    """Where the hub listens."""
    hub_name: str
    """By what name containers reach it."""

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ContainerSettings:
        """Read what `to_json` returned."""
        return cls(**json.loads(text))


class Containers:
    """The engine, and which of what it holds belongs to one demonstration."""

    def __init__(self, engine: Engine, settings: ContainerSettings) -> None:
        self.engine = engine
        self.settings = settings

    async def remove_all(self) -> None:
        """Remove the demonstration's containers, running ones too; volumes and images stay."""
        for container, owner in (await self.engine.list_containers(LABEL)).items():
            if owner == self.settings.name:
                await self.engine.remove_container(container)

    async def remove_homes(self) -> None:
        """Remove the volumes that are people's homes, and what may still run in them."""
        await self.remove_all()
        prefix = f"{self.settings.name}-"
        names = await self.engine.ask("volume", "ls", "--quiet", "--filter", f"name={prefix}")
        if ours := [name for name in names.split() if name.startswith(prefix)]:
            await self.engine.ask("volume", "rm", *ours)

    async def is_running(self, host_name: str) -> bool:
        """Say whether a machine of this name is one of the demonstration's containers."""
        ours = f"label={LABEL}={self.settings.name}"
        ids = await self.engine.ask("ps", "--quiet", "--no-trunc", "--filter", ours)
        return bool(host_name) and any(one.startswith(host_name) for one in ids.split())


async def choose(wanted: str, *, name: str, base_image: str = "") -> Containers | None:
    """Return what is needed for containers, None for environments in folders; say which and why.

    `wanted` is AUTO, CONTAINERS or FOLDERS. Raises DemoError when containers are asked for and cannot be.
    """
    if wanted == FOLDERS:
        click.echo("Backend venv, as asked: environments are folders of this machine.")
        return None
    try:
        found = await _find(name, base_image or DEBIAN_BASE_IMAGE)
    except (DemoError, BinderError) as error:
        if wanted == CONTAINERS:
            raise DemoError(f"Containers cannot be used here. {error}") from error
        click.echo(f"Backend venv: environments are folders of this machine. {error}")
        return None
    click.echo(
        f"Backend repo2docker: environments are container images. Docker {found.engine.version} "
        f"answers and has the base image {found.settings.base_image}."
    )
    return found


async def _find(name: str, base_image: str) -> Containers:
    _require_packages()
    if shutil.which(_PROGRAM) is None:
        raise DemoError(f"There is no program {_PROGRAM!r} on this machine.")
    engine = await Engine.find(_PROGRAM)
    if engine.podman:
        raise DemoError(f"The program {_PROGRAM!r} is Podman's here, and the spawner needs Docker.")
    docker_host = await _find_socket(engine)
    hub_ip, hub_name = await _find_way_to_hub(engine)
    await _have_image(engine, base_image)
    return Containers(engine, ContainerSettings(name, base_image, docker_host, hub_ip, hub_name))


def _require_packages() -> None:
    require_repo2docker()
    if importlib.util.find_spec("dockerspawner") is None:
        raise ConfigurationError(
            "Servers in containers need dockerspawner: pip install 'dockerspawner>=14'"
        )


async def _find_socket(engine: Engine) -> str:
    """Return the engine's address, which DockerSpawner does not read from Docker's contexts."""
    shape = "{{.Endpoints.docker.Host}}"
    found = (await engine.ask("context", "inspect", "--format", shape)).strip()
    if not found.startswith("unix://"):
        raise DemoError(f"The engine at {found} may be another machine's; it needs a socket here.")
    return found


async def _find_way_to_hub(engine: Engine) -> tuple[str, str]:
    """Return where the hub listens, and under what name containers find it there."""
    shape = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
    gateways = (await engine.ask("network", "inspect", "bridge", "--format", shape)).split()
    for gateway in gateways:
        if _is_of_this_machine(gateway):
            return gateway, gateway
    system = (await engine.ask("info", "--format", "{{.OperatingSystem}}")).strip()
    if system == _DESKTOP or sys.platform == "darwin":
        # The engine is in a virtual machine, which leads this name to our 127.0.0.1.
        return "127.0.0.1", _HOST_FROM_VIRTUAL_MACHINE
    raise DemoError(
        "The network of Docker's containers has no address on this machine, so they would not "
        "reach the hub: rootless Docker, or Docker in a container?"
    )


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
            f"The base image {image} is not there and cannot be pulled: "
            f"{said[:300].rstrip('.') or 'docker said nothing'}. {_WAY_OUT}"
        ) from error
    except TimeoutError:
        raise DemoError(
            f"The base image {image} is not there, and was not pulled in {PULL_SECONDS} s. "
            f"{_WAY_OUT}"
        ) from None
