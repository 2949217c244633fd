"""Docker or Podman, through its command-line program.

The program applies the user's contexts, hosts, credentials and certificates. Both take the same
commands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.repo2docker.builder import Builder
from jupyterhub_binder.errors import ConfigurationError, UpstreamUnavailable
from jupyterhub_binder.utils.subprocess import ProcessFailed, run, stream

PASSED = (
    "PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR",
    "DOCKER_*", "CONTAINER_*", "CONTAINERS_*", "BUILDAH_*", "BUILDX_*", "REGISTRY_AUTH_FILE",
    "XDG_*", "DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "SSL_CERT_*",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
"""The environment variables that an engine's program gets, by name or pattern."""

_QUICK_SECONDS = 60
_ATTEMPTS = 5
_AT_ONCE = 100
"""Images per command; each one's output has kilobytes."""
_GONE = re.compile(
    r"no such (?:image|object|container)|(?:image|manifest) not known"
    r"|(?:image|container|reference|tag)\b.{0,300}? does not exist|is already in progress",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r" at (?:unix|tcp|https?|ssh|npipe)://\S+?(?=[.:,]?(?:\s|$))")
"""An engine's address, which is hidden from users."""
_IN_USE = re.compile(r"in use|being used|is using", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that an engine holds."""

    id: str
    names: tuple[str, ...]
    """Its names with tags."""
    size_bytes: int
    labels: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    user: str = ""
    """The Dockerfile's user, by name or number, maybe with a group."""


class ImageInUse(UpstreamUnavailable):
    """The engine keeps an image because a container uses it."""

    code = "image_in_use"


class Engine:
    """One engine."""

    def __init__(
        self, program: str, *, environment: Mapping[str, str], version: str, podman: bool
    ) -> None:
        self.program = program
        self.environment = environment
        self.version = version
        self.podman = podman
        self.builder = Builder.PODMAN if podman else Builder.LEGACY

    @classmethod
    async def find(cls, program: str, *, docker_config: str = "") -> Engine:
        """Return the engine of a program, by name or path.

        Raises ConfigurationError if there is no such program, UpstreamUnavailable if the engine
        does not answer.
        """
        path = shutil.which(program)
        if path is None:
            raise ConfigurationError(
                f"The program {program!r} is not on this machine. Install Docker or Podman, or "
                "set Repo2DockerBackend.engine to the path of its command-line program."
            )
        engine = cls(path, environment=_environment(docker_config), version="", podman=False)
        engine.podman = "podman" in (await engine.ask("--version")).lower()
        await engine.fetch_version()
        engine.builder = await engine._find_builder()
        return engine

    async def fetch_version(self) -> str:
        """Return the engine's version. Raises UpstreamUnavailable."""
        if self.podman:
            told = await self.ask("version", "--format", "json")
            try:
                found = json.loads(told)
                self.version = (found.get("Server") or found["Client"])["Version"]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UpstreamUnavailable(
                    "The container engine does not report its version."
                ) from error
        else:
            self.version = (await self.ask("version", "--format", "{{.Server.Version}}")).strip()
        return self.version

    async def _find_builder(self) -> Builder:
        if self.podman:
            return Builder.PODMAN
        try:
            await self._run("buildx", "version")
        except ProcessFailed:
            client = (await self.ask("version", "--format", "{{.Client.Version}}")).strip()
            major = int(client.partition(".")[0]) if client[:1].isdigit() else 0
            return Builder.BUILDKIT if 18 < major < 23 else Builder.LEGACY
        return Builder.BUILDX

    # --- Images -----------------------------------------------------------------------------

    async def inspect(self, image: str) -> LocalImage | None:
        """Return an image by name or id; None if it does not exist."""
        return next(iter(await self._inspect([image])), None)

    async def list_images(self, *filters: str) -> tuple[LocalImage, ...]:
        """Return images that match all filters, such as ``label=x`` or ``reference=y``."""
        chosen = [word for one in filters for word in ("--filter", one)]
        ids = (await self.ask("image", "ls", "--quiet", "--no-trunc", *chosen)).split()
        batches = batched(list(dict.fromkeys(ids)), _AT_ONCE)
        return tuple([image for batch in batches for image in await self._inspect(batch)])

    async def _inspect(self, images: Sequence[str]) -> tuple[LocalImage, ...]:
        if not images:
            return ()
        try:
            output = await self._run("image", "inspect", *images)
        except ProcessFailed as error:
            if not _GONE.search(error.output):
                raise self._unavailable(error) from error
            if len(images) == 1:
                return ()
            # One of them went away meanwhile.
            found = [await self._inspect([image]) for image in images]
            return tuple(image for some in found for image in some)
        return tuple(_read_image(one) for one in json.loads(output))

    async def tag(self, image: str, name: str) -> None:
        """Give an image another name."""
        await self.ask("image", "tag", image, name)

    async def remove(self, image: str) -> None:
        """Remove a name, and the image with its last name. Idempotent.

        Raises ImageInUse.
        """
        try:
            await self._run("image", "rm", image)
        except ProcessFailed as error:
            if _GONE.search(error.output):
                return
            if _IN_USE.search(error.output):
                raise ImageInUse("A container uses the image %(image)s.", image=image) from error
            raise self._unavailable(error) from error

    def push(self, image: str) -> AsyncGenerator[str, None]:
        """Push an image; yield the output. Raises ProcessFailed."""
        return self.stream("push", image)

    # --- Containers -------------------------------------------------------------------------

    async def fetch_used_images(self) -> frozenset[str]:
        """Return the ids of images that any container uses, even a stopped one."""
        return frozenset(await self._describe_containers("{{.Image}}"))

    async def list_containers(self, label: str) -> dict[str, str]:
        """Return containers with a label: name to value.

        Containers inherit image labels, so a repository may have chosen the value.
        """
        shape = "{{.Name}} {{json .Config.Labels}}"
        lines = await self._describe_containers(shape, "--filter", f"label={label}")
        found = (line.split(" ", 1) for line in lines)
        return {name.lstrip("/"): json.loads(labels)[label] for name, labels in found}

    async def list_container_names(self) -> tuple[str, ...]:
        """Return the names of all containers."""
        return tuple((await self.ask("ps", "--all", "--format={{.Names}}")).splitlines())

    async def _describe_containers(self, shape: str, *filters: str) -> list[str]:
        """Return one line per container, from a template."""
        for _ in range(_ATTEMPTS):
            ids = (await self.ask("ps", "--all", "--quiet", "--no-trunc", *filters)).split()
            if not ids:
                return []
            try:
                output = await self._run("container", "inspect", f"--format={shape}", *ids)
            except ProcessFailed as error:
                if not _GONE.search(error.output):
                    raise self._unavailable(error) from error
                continue  # one ended meanwhile: a guess would not do
            return output.splitlines()
        raise UpstreamUnavailable(
            "The list of containers changes too quickly to find out which images they use. Try "
            "again later."
        )

    async def remove_container(self, name: str) -> None:
        """Kill and remove a container. Idempotent."""
        try:
            await self._run("rm", "--force", "--volumes", name)
        except ProcessFailed as error:
            if not _GONE.search(error.output):
                raise self._unavailable(error) from error

    # --- The program ------------------------------------------------------------------------

    async def stream(self, *words: str, grace_seconds: float = 5) -> AsyncGenerator[str, None]:
        """Run a command; yield its lines. Raises ProcessFailed, UpstreamUnavailable.

        If closed early, the caller must remove the container.
        """
        command = [self.program, *words]
        lines = stream(command, env=self.environment, cwd=Path("/"), grace_seconds=grace_seconds)
        try:
            async with aclosing(lines):
                async for line in lines:
                    yield line
        except OSError as error:
            raise self._cannot_run(error) from error

    async def ask(self, *words: str) -> str:
        """Run a short command. Raises UpstreamUnavailable."""
        try:
            return await self._run(*words)
        except ProcessFailed as error:
            raise self._unavailable(error) from error

    async def _run(self, *words: str) -> str:
        try:
            return await run(
                [self.program, *words],
                env=self.environment,
                cwd=Path("/"),
                timeout_seconds=_QUICK_SECONDS,
            )
        except TimeoutError as error:
            raise UpstreamUnavailable(
                "The container engine did not answer within %(seconds)s seconds.",
                seconds=_QUICK_SECONDS,
            ) from error
        except OSError as error:  # while its package is replaced
            raise self._cannot_run(error) from error

    def _cannot_run(self, error: OSError) -> UpstreamUnavailable:
        name = Path(self.program).name
        return UpstreamUnavailable(
            "The container engine's program (%(name)s) can't be run: %(why)s.",
            name=name,
            why=error.strerror,
        )

    def _unavailable(self, error: ProcessFailed) -> UpstreamUnavailable:
        said = error.output.strip().splitlines() or [error.message]
        name = Path(self.program).name
        return UpstreamUnavailable(
            "The container engine (%(name)s) returned an error: %(why)s",
            name=name,
            why=_ADDRESS.sub("", said[-1])[:300],
        )


def batched(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut a list into batches."""
    return (items[i : i + size] for i in range(0, len(items), size))


def _environment(docker_config: str) -> dict[str, str]:
    own = os.environ
    passed = {name: own[name] for name in own if any(fnmatchcase(name, one) for one in PASSED)}
    if docker_config:
        passed["DOCKER_CONFIG"] = docker_config
        passed["REGISTRY_AUTH_FILE"] = str(Path(docker_config) / "config.json")
    return {"PATH": os.defpath, **passed}


def _read_image(found: Mapping[str, Any]) -> LocalImage:
    config = found.get("Config") or {}
    labels = config.get("Labels") or found.get("Labels") or {}
    return LocalImage(
        id=found["Id"],
        names=tuple(found.get("RepoTags") or ()),
        size_bytes=int(found.get("Size") or 0),
        labels=dict(labels),
        created=_read_time(found.get("Created")),
        user=str(config.get("User") or ""),
    )


def _read_time(text: object) -> datetime | None:
    """Parse Docker's time, which has nine decimals."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", str(text))
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
