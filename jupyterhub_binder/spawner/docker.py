"""Servers in Docker containers on one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import Unicode

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner.ended import EndedServer, read_end
from jupyterhub_binder.spawner.folder import find_content_key, find_key
from jupyterhub_binder.spawner.image import BinderImageMixin
from jupyterhub_binder.spawner.refusal import StartRefused

try:
    from docker.errors import APIError
    from docker.types import Mount
    from dockerspawner import DockerSpawner
except ImportError as error:
    raise ImportError(
        "BinderDockerSpawner needs dockerspawner: pip install 'dockerspawner>=14'"
    ) from error

if TYPE_CHECKING:
    _Base = DockerSpawner
else:
    _Base = object

_MARK = "BINDER_ENVIRONMENT"
_ENDED = ("exited", "dead")
_LINES = 20
_MAX_END_BYTES = 16_384
_MAX_READ_BYTES = 2**20
"""More is not read to find the end of twenty lines."""


class BinderDockerMixin(BinderImageMixin, _Base):
    """Starts environments as Docker containers; other starts use `DockerSpawner.image`.

    An environment that is a folder of this machine is mounted read-only, at the path where it was
    made, into a container of `binder_environments_image`.

    With ``DockerSpawner.remove = False``, a stopped container is removed anyway if its image or
    command changed, so keep home directories in volumes.
    """

    binder_environments_host_root = Unicode(
        config=True,
        help="""
        The folder of `environments_root` as the Docker engine sees it, if that differs: for example
        if the hub and the service run in containers. Default: the same as `environments_root`.
        """,
    )

    def mounted_folder(self, spec: LaunchSpec) -> Path | None:
        """Return where a folder is mounted. Raises StartRefused without `environments_root`."""
        key = find_key(spec)
        if key is None:
            return None
        if not self.environments_root:
            raise StartRefused(
                "An administrator must set BinderSpawnerMixin.environments_root.",
                reason="configuration",
            )
        return Path(self.environments_root) / key

    @property
    def mount_binds(self) -> list[Mount]:
        """Add the folders of an environment, read-only.

        As mounts, because for a volume the engine would create a folder that does not exist.
        """
        mounts: list[Mount] = super().mount_binds
        spec = self.binder_spec
        folder = self.mounted_folder(spec) if spec is not None else None
        if spec is None or folder is None:
            return mounts
        content = find_content_key(spec) if spec.content_kept else ""
        host = Path(self.binder_environments_host_root or self.environments_root)
        keys = sorted({folder.name, content or folder.name})
        return mounts + [
            Mount(str(folder.with_name(key)), str(host / key), type="bind", read_only=True)
            for key in keys
        ]

    def environment_variables(self, spec: LaunchSpec) -> dict[str, str]:
        """Add a mark for our containers."""
        return {**super().environment_variables(spec), _MARK: spec.environment_id}

    async def pull_image(self, image: str) -> None:
        """Pull a missing image; remove an outdated container."""
        spec = self.binder_spec
        if spec is None or image != self.image or self.mounted_folder(spec):
            await super().pull_image(image)
        else:
            await self._get_image(spec, image)
        if self.object_type == "container":
            await self._remove_outdated()

    async def _get_image(self, spec: LaunchSpec, image: str) -> None:
        """Pull a missing image. Raises StartRefused.

        An image without a registry was built here. It is never pulled, because the name may be
        somebody else's on Docker Hub.
        """
        try:
            if names_registry(image):
                await super().pull_image(image)
            else:
                await self.docker("inspect_image", image)
        except APIError as error:
            self.log.warning("%s: can't get %s: %s", self._log_name, image, error)
            raise self.environment_refusal(
                f"The image of {spec.environment_name} no longer exists. Build it again",
                reason="environment",
                page=f"environments/{spec.environment_id}",
            ) from error

    async def find_ended(self) -> EndedServer | None:
        """Return the container if it has ended, with the end of its log."""
        container = await self.get_object() if self.object_type == "container" else None
        if container is None or container["State"]["Status"] not in _ENDED:
            return None
        said = await asyncio.wrap_future(self.executor.submit(self._read_end, container["Id"]))
        return EndedServer(container["State"]["FinishedAt"], said.decode("utf-8", "replace"))

    def _read_end(self, container_id: str) -> bytes:
        """Return the end of a container's log; its lines may be of any length. Blocks."""
        parts = self.client.logs(container_id, tail=_LINES, stream=True, follow=False)
        with closing(parts):
            return read_end(parts, keep=_MAX_END_BYTES, give_up=_MAX_READ_BYTES)

    async def _remove_outdated(self) -> None:
        container = await self.get_object()
        if container is None or not await self._is_outdated(container):
            return
        self.log.info("%s: removing a container of another image", self._log_name)
        if container["State"]["Running"]:
            await self.stop_object()
        await self.remove_object()
        self.object_id = ""

    async def _is_outdated(self, container: Mapping[str, Any]) -> bool:
        """Say whether this start needs another container.

        Without an environment, only our own containers are outdated.
        """
        was_ours = any(line.startswith(f"{_MARK}=") for line in container["Config"]["Env"] or ())
        if self.binder_spec is None:
            return was_ours
        image = await self.docker("inspect_image", self.image)
        same_image = container["Image"] == image["Id"]
        return not (same_image and container["Config"]["Cmd"] == await self.get_command())


def names_registry(image: str) -> bool:
    """Recognise a registry host in an image name."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


class BinderDockerSpawner(BinderDockerMixin, DockerSpawner):
    """Starts environments as Docker containers."""
