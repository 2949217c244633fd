"""Servers in Docker's containers on one machine, by dockerspawner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jupyterhub_binder.spawner.image import BinderImageMixin
from jupyterhub_binder.spawner.spec import EnvironmentSpec

try:
    from docker.errors import APIError
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


class BinderDockerMixin(BinderImageMixin, _Base):
    """Starts environments as Docker containers; `DockerSpawner.image` is for all other starts.

    With ``DockerSpawner.remove = False`` the container of a stopped server is started again
    only where it would be made the same: of this very image and command. Any other is removed
    and made anew, so keep homes in volumes.
    """

    def environment_variables(self, spec: EnvironmentSpec) -> dict[str, str]:
        """Return the variables, with the mark that tells our containers from others."""
        return {**super().environment_variables(spec), _MARK: spec.id}

    async def pull_image(self, image: str) -> None:
        """Get the image where it is missing; then see to it that no old container starts."""
        if self.binder_spec is None or image != self.image:
            await super().pull_image(image)
        else:
            await self._get_image(self.binder_spec, image)
        if self.object_type == "container":
            await self._remove_outdated()

    async def _get_image(self, spec: EnvironmentSpec, image: str) -> None:
        """Get an environment's image where it is missing. Raises StartRefused.

        One that names no registry was built here, and is never pulled, whatever `pull_policy`
        says: Docker Hub has an account of that name, and it is somebody else's.
        """
        try:
            if names_registry(image):
                await super().pull_image(image)
            else:
                await self.docker("inspect_image", image)
        except APIError as error:
            self.log.warning("%s: %s cannot be had: %s", self._log_name, image, error)
            raise self.environment_refusal(
                f"The image of {spec.name} is not here any more. Build it again",
                reason="environment",
                page=f"environments/{spec.id}",
            ) from error

    async def _remove_outdated(self) -> None:
        container = await self.get_object()
        if container is None or not await self._is_outdated(container):
            return
        self.log.info("%s: a container of another image makes room", self._log_name)
        if container["State"]["Running"]:
            await self.stop_object()
        await self.remove_object()
        self.object_id = ""

    async def _is_outdated(self, container: Mapping[str, Any]) -> bool:
        """Say whether a container is another than the one that this start would make.

        Without an environment, only our own are: what else becomes of containers is the
        administrator's choice.
        """
        was_ours = any(line.startswith(f"{_MARK}=") for line in container["Config"]["Env"] or ())
        if self.binder_spec is None:
            return was_ours
        image = await self.docker("inspect_image", self.image)
        same_image = container["Image"] == image["Id"]
        return not (same_image and container["Config"]["Cmd"] == await self.get_command())


def names_registry(image: str) -> bool:
    """Say whether an image's name begins with a registry's host, as Docker reads it."""
    first, slash, _ = image.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


class BinderDockerSpawner(BinderDockerMixin, DockerSpawner):
    """Starts environments as containers of one machine's Docker."""
