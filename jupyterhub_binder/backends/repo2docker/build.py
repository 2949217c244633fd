"""One repo2docker build: build, smoke test, name, push.

An image has a temporary name until it passes the smoke test, so an image with its final name is
complete.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from jupyterhub_binder.backends.repo2docker.engine import Engine, ImageInUse, LocalImage
from jupyterhub_binder.backends.repo2docker.log import LogReader
from jupyterhub_binder.backends.repo2docker.smoke_test import BEGINNING, Expected, try_image
from jupyterhub_binder.backends.venv.folders import MARKER, end_processes
from jupyterhub_binder.errors import BinderError, BuildFailed, UpstreamUnavailable
from jupyterhub_binder.model import (
    BackendOutput,
    Build,
    Checkpoint,
    Image,
    Inventory,
    Line,
    Phase,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.subprocess import ProcessFailed, stream
from jupyterhub_binder.utils.trees import try_to_remove

LABEL = "org.jupyter.binder"
"""The prefix of our labels on images."""
KEY_LABEL = f"{LABEL}.key"
REPO_DIR = "/srv/repo"
_DOCKER_HUB = "docker.io/"
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.2
_PURPOSES = ("smoke", "look")
"""The purposes of a build's containers: the smoke test, and the check for files."""

_ENGINE_SECONDS = 120
_LAST_LINES = 5
"""Of a build, in which its command says that the engine is gone."""

_ENGINE_STOPPED = "The container engine stopped. The build begins again when the engine is back."
_LOST = re.compile(
    r"(?:^|: )unexpected EOF\W*$|error during connect|Cannot connect to the Docker daemon"
    r"|rpc error: code = (?:Unavailable|Canceled)|error reading from server"
)
"""What an engine's program says when the engine ends. A second time, it is the build's own reason."""

_OWNED = re.compile(r"^[a-z0-9]+-(\d+)-(\d+)$")
_UNDER_WAY: set[str] = set()
"""The workspaces of this process's running builds."""
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9:/._@+-]")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Repo2DockerSettings:
    """The configuration of one build."""

    config: Mapping[str, Mapping[str, Any]]
    """repo2docker's configuration, traits by class."""
    config_file: str
    """The path of the admin's repo2docker configuration, or empty."""
    debian: Sequence[str] | None
    """The packages of our Debian build pack; None for repo2docker's build packs."""
    user_id: int
    user_name: str
    appendix: str
    prefix: str
    """The prefix of image names."""
    push: bool
    smoke_test: Expected | None


class ImageBuild:
    """Makes one image."""

    def __init__(
        self, build: Build, engine: Engine, root: Path, settings: Repo2DockerSettings
    ) -> None:
        self._build = build
        self._engine = engine
        self._root = root
        self._settings = settings
        self._workspace = root / workspace_name(build.id)
        self.name = image_name(settings.prefix, build.key, build.resolved_ref)
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._unfinished = temporary_name(settings.prefix, self._workspace.name)

    async def outputs(
        self, checkout: Path, *, anew: bool = False
    ) -> AsyncGenerator[BackendOutput, None]:
        """Yield the log, a checkpoint and the image. `anew` disables cached steps."""
        left = str(self._build.checkpoint.get("workspace"))
        mine = _OWNED.match(left) and left.startswith(self._build.id)
        if mine and left != self._workspace.name:
            await clear(self._engine, self._root, left, self._settings.prefix)
        yield Checkpoint({"workspace": self._workspace.name})
        containers = _PURPOSES
        _UNDER_WAY.add(self._workspace.name)
        try:
            try:
                async with aclosing(self._make(checkout, anew=anew)) as lines:
                    async for line in lines:
                        yield line
            except (BuildFailed, UpstreamUnavailable) as error:
                if not await self._lost_the_engine(error):
                    raise
                yield Line(Phase.BUILDING, _ENGINE_STOPPED)
                await self._wait_for_engine()
                await self._clear(_PURPOSES)
                async with aclosing(self._make(checkout, anew=anew)) as lines:
                    async for line in lines:
                        yield line
            image = await self._inspect(self.name)
            containers = ()  # where all went well, they are gone
        finally:
            await to_the_end(self._clear(containers))
            _UNDER_WAY.discard(self._workspace.name)
        yield Image(self.name, image.size_bytes)

    async def _make(self, checkout: Path, *, anew: bool) -> AsyncGenerator[Line | Inventory, None]:
        if await self._engine.inspect(self.name) is not None:
            yield Line(Phase.BUILDING, "This machine's container engine has the image.")
        else:
            if anew:
                yield Line(Phase.BUILDING, "Building the image without cached steps")
            async with aclosing(self._run_repo2docker(checkout, anew=anew)) as lines:
                async for line in lines:
                    yield line
            await self._inspect(self._unfinished)
            if (expected := self._settings.smoke_test) is not None:
                async with aclosing(self._try(expected)) as lines:
                    async for line in lines:
                        yield line
            await self._engine.tag(self._unfinished, self.name)
        if self._settings.push:
            async with aclosing(self._push()) as lines:
                async for line in lines:
                    yield line

    async def _clear(self, containers: Sequence[str]) -> None:
        name, prefix = self._workspace.name, self._settings.prefix
        await clear(self._engine, self._root, name, prefix, containers)

    async def _lost_the_engine(self, error: BinderError) -> bool:
        """Whether the engine, not the repository, ended the build."""
        if any(_LOST.search(text) for text in (str(error), *self._last_lines)):
            return True
        try:
            await self._engine.fetch_version()
        except BinderError:
            return True
        return False

    async def _wait_for_engine(self) -> None:
        """Wait until it answers. Raises UpstreamUnavailable."""
        backoff = Backoff(0.5, max_seconds=5, patience_seconds=_ENGINE_SECONDS)
        while True:
            try:
                await self._engine.fetch_version()
                return
            except UpstreamUnavailable as error:
                if not await backoff.wait():
                    raise UpstreamUnavailable(
                        "The container engine stopped during the build and did not come back. "
                        "Build again later, or tell your administrator."
                    ) from error

    async def _inspect(self, name: str) -> LocalImage:
        image = await self._engine.inspect(name)
        if image is None:
            raise BuildFailed(
                "The container engine no longer has the image that it built. Build again."
            )
        return image

    async def _try(self, expected: Expected) -> AsyncGenerator[Line | Inventory, None]:
        yield Line(Phase.BUILDING, BEGINNING, Message("testing it"))
        tried = await try_image(
            self._engine,
            self._unfinished,
            container=container_name("smoke", self._settings.prefix, self._workspace.name),
            expected=expected,
        )
        yield Line(Phase.BUILDING, f"The image has jupyterhub-singleuser {tried.version}")
        yield Inventory(
            tried.packages,
            tools={
                "repo2docker": version("jupyter-repo2docker"),
                "podman" if self._engine.podman else "docker": self._engine.version,
            },
            digest=(await self._inspect(self._unfinished)).id,
        )

    async def _run_repo2docker(self, checkout: Path, *, anew: bool) -> AsyncGenerator[Line, None]:
        config = await self._prepare(anew=anew)
        command = [
            *(sys.executable, "-P", "-m", "repo2docker"),
            *self._arguments(config, checkout),
        ]
        environment = {
            **self._engine.environment,
            MARKER: str(self._workspace),
            "TMPDIR": str(self._workspace / "tmp"),
            "PYTHONUNBUFFERED": "1",
        }
        reader = LogReader()
        try:
            output = stream(command, env=environment, cwd=self._workspace / "empty")
            async with aclosing(output):
                async for text in output:
                    for line in reader.read(text):
                        self._last_lines.append(line.text)
                        yield line
        except ProcessFailed as error:
            raise _build_failure(error, reader.own_words) from error

    async def _prepare(self, *, anew: bool) -> Path:
        """Create the workspace; return the path of repo2docker's configuration."""
        config = self._workspace / "repo2docker_config.py"
        text = write_config(self._settings, self._engine_traits(anew=anew))
        try:
            for name in ("empty", "tmp"):
                await asyncio.to_thread((self._workspace / name).mkdir, parents=True, exist_ok=True)
            await asyncio.to_thread(config.write_text, text, "utf-8")
        except OSError as error:
            raise UpstreamUnavailable(
                "The service can't write to its build folder (%(why)s). Tell your administrator.",
                why=error.strerror,
            ) from error
        return config

    def _engine_traits(self, *, anew: bool) -> dict[str, Any]:
        traits: dict[str, Any] = {
            "container_name": container_name("look", self._settings.prefix, self._workspace.name),
            "cache_namespace": _short_hash(self._build.clone_url),
            "labels": self._labels(),
        }
        if anew:
            given = self._settings.config["BinderEngine"]["extra_build_args"]
            traits["extra_build_args"] = [*given, "--no-cache"]
        return traits

    def _labels(self) -> dict[str, str]:
        labels = {
            KEY_LABEL: self._build.key,
            f"{LABEL}.repository": self._build.repo_url,
            f"{LABEL}.ref": self._build.resolved_ref,
        }
        return {name: _NOT_IN_LABEL.sub("_", text) for name, text in labels.items()}

    def _arguments(self, config: Path, checkout: Path) -> list[str]:
        settings, build = self._settings, self._build
        return [
            *("--config", str(config)),
            "--json-logs",
            "--no-run",
            "--no-clean",
            "--no-push",
            "--engine=binder",
            f"--ref={build.resolved_ref}",
            f"--user-id={settings.user_id}",
            f"--user-name={settings.user_name}",
            f"--target-repo-dir={REPO_DIR}",
            f"--image-name={self._unfinished}",
            *([f"--appendix={settings.appendix}"] if settings.appendix else ()),
            str(checkout.absolute()),
        ]

    async def _push(self) -> AsyncGenerator[Line, None]:
        yield Line(Phase.PUSHING, f"Pushing {self.name}")
        last = ""
        try:
            async with aclosing(self._engine.push(self.name)) as lines:
                async for text in lines:
                    last = text.strip() or last
                    yield Line(Phase.PUSHING, text)
        except ProcessFailed as error:
            raise BuildFailed(
                "The image was built but could not be pushed to the registry: %(why)s. Build "
                "again. If that fails too, tell your administrator.",
                why=last or error.message,
                code="push_failed",
            ) from error


def _build_failure(error: ProcessFailed, own_words: str) -> BuildFailed:
    """Return the failure of repo2docker; the log has the cause, unless it was killed."""
    if error.returncode < 0:
        return BuildFailed(
            "repo2docker was killed: %(why)s. The machine may have run out of memory.",
            why=error.message,
            code="killed",
        )
    if own_words:
        return BuildFailed("repo2docker could not build the image: %(why)s", why=own_words)
    return BuildFailed("repo2docker could not build the image.")


# --- Names --------------------------------------------------------------------------------------


def image_name(prefix: str, key: str, resolved_ref: str) -> str:
    """Return the image name: the key is the repository, the ref the tag.

    The ref only helps people who list images.
    """
    tag = _NOT_IN_TAG.sub("_", resolved_ref).lstrip(".-")[:128] or "latest"
    return f"{prefix}{key}:{tag}"


def temporary_name(prefix: str, workspace: str) -> str:
    """Return an unfinished image's name."""
    return f"{prefix}building:{workspace}"


def container_name(purpose: str, prefix: str, workspace: str) -> str:
    """Return the container name of a workspace, to find it after a kill.

    Labels would not do: a container inherits those of its image, which may be hostile.
    """
    return f"binder-{purpose}-{_short_hash(prefix)}-{workspace}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_finished(prefix: str, name: str) -> bool:
    """Whether a name is one of our finished images."""
    return name.startswith(prefix) and not name.startswith(f"{prefix}building:")


def plain_name(name: str, prefix: str) -> str:
    """Return an image name as we gave it.

    Podman adds `localhost/`, Docker drops `docker.io/`.
    """
    plain = name.removeprefix("localhost/").removeprefix(_DOCKER_HUB)
    return f"{_DOCKER_HUB}{plain}" if prefix.startswith(_DOCKER_HUB) else plain


def workspace_name(build_id: str) -> str:
    """Return a name for the build and its process."""
    owner = psutil.Process()
    return f"{build_id}-{owner.pid}-{int(owner.create_time())}"


def is_under_way(workspace: str) -> bool:
    """Whether a running build of any process owns a workspace."""
    match = _OWNED.match(workspace)
    if match is None:
        return False
    try:
        lives = int(psutil.Process(int(match[1])).create_time()) == int(match[2])
    except psutil.Error:
        return False
    return lives and (int(match[1]) != os.getpid() or workspace in _UNDER_WAY)


# --- Configuration and clean-up -----------------------------------------------------------------


def write_config(settings: Repo2DockerSettings, engine: Mapping[str, Any]) -> str:
    """Return repo2docker's configuration: the admin's, then ours, which wins.

    `engine` holds this build's traits of `BinderEngine`.
    """
    lines = ["c = get_config()"]
    if settings.config_file:
        lines.append(f"load_subconfig({settings.config_file!r})")
    if settings.debian is not None:
        lines += [
            "from repo2docker.buildpacks.docker import DockerBuildPack",
            "from jupyterhub_binder.backends.repo2docker.inside.buildpack import DebianBuildPack",
            f"DebianBuildPack.requirements = {list(settings.debian)!r}",
            "c.Repo2Docker.buildpacks = [DockerBuildPack, DebianBuildPack]",
        ]
    for owner, traits in (*settings.config.items(), ("BinderEngine", engine)):
        lines += [f"c.{owner}.{name} = {value!r}" for name, value in traits.items()]
    return "\n".join(lines) + "\n"


async def sweep(engine: Engine, root: Path, prefix: str) -> list[str]:
    """Remove leftovers of ended builds; return the workspaces' names. Raises UpstreamUnavailable.

    An engine may finish and name an image after its build ended.

    What stays is the container of a step that Docker's first builder ran when the engine was
    killed. It has a name that Docker made up and no label of ours: those come with the last step.
    By its image's labels it can't be told from a server of another hub, which must not be removed.
    `docker container prune` removes it; with buildx there is none.
    """
    images = await engine.list_images(f"reference={prefix}building")
    tags = [name.rpartition(":")[2] for image in images for name in image.names]
    begins = tuple(container_name(purpose, prefix, "") for purpose in _PURPOSES)
    names = await engine.list_container_names()
    containers = [name[len(one) :] for name in names for one in begins if name.startswith(one)]
    folders = await asyncio.to_thread(os.listdir, root)
    found = {name for name in (*tags, *containers, *folders) if _OWNED.match(name)}
    left = sorted(name for name in found if not is_under_way(name))
    for name in left:
        await clear(engine, root, name, prefix)
    return left


async def list_nameless(engine: Engine) -> Sequence[LocalImage]:
    """Return images that lost their name to one with another layer."""
    return await engine.list_images("dangling=true", f"label={KEY_LABEL}")


async def clear(
    engine: Engine, root: Path, workspace: str, prefix: str, purposes: Sequence[str] = _PURPOSES
) -> None:
    """Remove a workspace with its processes, containers and temporary image.

    Idempotent. Ignores an engine that does not answer.
    """
    folder = root / workspace
    await asyncio.to_thread(end_processes, folder)
    await asyncio.to_thread(try_to_remove, folder)
    names = [container_name(purpose, prefix, workspace) for purpose in purposes]
    await asyncio.gather(*map(engine.remove_container, names), return_exceptions=True)
    await remove_image(engine, temporary_name(prefix, workspace))


async def remove_image(engine: Engine, image: str) -> None:
    """Remove an image; wait briefly for its container to go."""
    for _ in range(_ATTEMPTS):
        try:
            return await engine.remove(image)
        except ImageInUse:
            await asyncio.sleep(_PAUSE_SECONDS)
        except BinderError:
            return None
    return None


async def to_the_end(work: Awaitable[None]) -> None:
    """Finish the work even if cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
