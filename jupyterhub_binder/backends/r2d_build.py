"""One build of the repo2docker backend: repo2docker, a smoke test, a name, a push.

An image gets its own name only when it has passed the smoke test; until then it has a
temporary one, which goes with the build. So an image with its own name is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from jupyterhub_binder.backends.engine import Engine, ImageInUse, LocalImage
from jupyterhub_binder.backends.r2d_log import LogReader
from jupyterhub_binder.backends.r2d_script import BEGINNING
from jupyterhub_binder.backends.r2d_smoke import Expected, check, try_image
from jupyterhub_binder.backends.r2d_trial import Report, Wanted
from jupyterhub_binder.backends.venv_image import MARKER, end_processes
from jupyterhub_binder.errors import BinderError, BuildFailed, UpstreamUnavailable
from jupyterhub_binder.model import BackendOutput, Build, Checkpoint, Image, Line, Phase
from jupyterhub_binder.process import ProcessFailed, Waiting

LABEL = "org.jupyter.binder"
"""Where the labels of our images and containers begin."""
KEY_LABEL = f"{LABEL}.key"
REPO_DIR = "/srv/repo"
_DOCKER_HUB = "docker.io/"
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.2
_PURPOSES = ("smoke", "look")
"""What containers of a build are for: to try the image, to look into it."""

_OWNED = re.compile(r"^[a-z0-9]+-(\d+)-(\d+)$")
_UNDER_WAY: set[str] = set()
"""The workspaces of this process's builds."""
_NOT_IN_LABEL = re.compile(r"[^A-Za-z0-9:/._@+-]")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an admin chose, as one build needs it."""

    config: Mapping[str, Mapping[str, Any]]
    """repo2docker's configuration: classes to traits."""
    config_file: str
    """An admin's own configuration of repo2docker; empty for none."""
    debian: Sequence[str] | None
    """What our Debian build pack installs everywhere; None where repo2docker's own are used."""
    user_id: int
    user_name: str
    appendix: str
    prefix: str
    """What every image's name begins with."""
    push: bool
    smoke_test: Expected | None


class Making:
    """The making of one image."""

    def __init__(self, build: Build, engine: Engine, root: Path, settings: Settings) -> None:
        self._build = build
        self._engine = engine
        self._root = root
        self._settings = settings
        self._workspace = root / workspace_name(build.id)
        self.name = image_name(settings.prefix, build.key, build.resolved_ref)
        self._unfinished = temporary_name(settings.prefix, self._workspace.name)
        self._report = self._workspace / "trial.json"
        self._repo2docker: Waiting | None = None

    async def begin(self) -> None:
        """Make a workspace, and begin repo2docker's process, that waits for its arguments there."""
        _UNDER_WAY.add(self._workspace.name)
        for name in ("empty", "tmp"):
            await asyncio.to_thread((self._workspace / name).mkdir, parents=True, exist_ok=True)
        environment = {
            **self._engine.environment,
            MARKER: str(self._workspace),
            "TMPDIR": str(self._workspace / "tmp"),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-P", "-m", "jupyterhub_binder.backends.r2d_main"]
        empty = self._workspace / "empty"
        self._repo2docker = await Waiting.begin(command, env=environment, cwd=empty)

    async def end(self) -> None:
        """Take back what `begin` did; done already is success."""
        if self._repo2docker is not None:
            await self._repo2docker.end()
        await asyncio.to_thread(shutil.rmtree, self._workspace, ignore_errors=True)
        _UNDER_WAY.discard(self._workspace.name)

    async def outputs(
        self, checkout: Path, *, anew: bool = False
    ) -> AsyncGenerator[BackendOutput, None]:
        """Make it, and tell what happens.

        `anew` is whether no step of an earlier build may stand in for its own.
        """
        left = str(self._build.checkpoint.get("workspace"))
        mine = _OWNED.match(left) and left.startswith(self._build.id)
        if mine and left != self._workspace.name:
            await clear(self._engine, self._root, left, self._settings.prefix)
        yield Checkpoint({"workspace": self._workspace.name})
        containers = _PURPOSES
        _UNDER_WAY.add(self._workspace.name)
        try:
            image = await self._engine.inspect(self.name)
            if image is not None:
                yield Line(Phase.BUILDING, "This machine's container engine has the image.")
            else:
                if anew:
                    yield Line(
                        Phase.BUILDING, "Making the image anew, with no step of earlier ones"
                    )
                async with aclosing(self._run_repo2docker(checkout, anew=anew)) as lines:
                    async for line in lines:
                        yield line
                image = await self._inspect()
                if (expected := self._settings.smoke_test) is not None:
                    async with aclosing(self._try(image, expected)) as lines:
                        async for line in lines:
                            yield line
                await self._engine.tag(self._unfinished, self.name)
            if self._settings.push:
                async with aclosing(self._push()) as lines:
                    async for line in lines:
                        yield line
            containers = ()  # where all went well, they are gone
        finally:
            name, prefix = self._workspace.name, self._settings.prefix
            await to_the_end(clear(self._engine, self._root, name, prefix, containers))
            _UNDER_WAY.discard(name)
        yield Image(self.name, image.size_bytes)

    async def _inspect(self) -> LocalImage:
        image = await self._engine.inspect(self._unfinished)
        if image is None:
            raise BuildFailed("The container engine lost the image that it built.")
        return image

    async def _try(self, image: LocalImage, expected: Expected) -> AsyncGenerator[Line, None]:
        version = await asyncio.to_thread(self._find_tried, image, expected)
        if not version:
            yield Line(Phase.BUILDING, BEGINNING)
            version = await try_image(
                self._engine,
                self._unfinished,
                container=container_name("smoke", self._settings.prefix, self._workspace.name),
                expected=expected,
            )
        yield Line(Phase.BUILDING, f"It does: jupyterhub-singleuser {version}")

    def _find_tried(self, image: LocalImage, expected: Expected) -> str:
        """Return the version that a trial beside the build found; empty where that is no verdict."""
        report = Report.read(self._report)
        if report is None or report.entrypoint != list(image.entrypoint):
            return ""
        with contextlib.suppress(BuildFailed):  # the image itself has the last word
            return check(report.said, expected)
        return ""

    async def _run_repo2docker(self, checkout: Path, *, anew: bool) -> AsyncGenerator[Line, None]:
        if self._repo2docker is None:
            await self._begin_late()
        waiting, self._repo2docker = self._repo2docker, None
        assert waiting is not None
        config = self._workspace / "repo2docker_config.py"
        traits = self._engine_traits(anew=anew)
        await asyncio.to_thread(config.write_text, write_config(self._settings, traits), "utf-8")
        arguments = json.dumps(self._arguments(config, checkout))
        reader = LogReader()
        try:
            async with aclosing(waiting.stream(f"{arguments}\n")) as output:
                async for text in output:
                    for line in reader.read(text):
                        yield line
        except ProcessFailed as error:
            why = reader.explain()
            if error.returncode < 0:
                why = f"{error.message}. The machine may be out of memory"
            raise BuildFailed(f"repo2docker could not build the image: {why}") from error

    async def _begin_late(self) -> None:
        try:
            await self.begin()
        except OSError as error:
            raise UpstreamUnavailable(
                f"The service cannot write to its folder of builds ({error.strerror}): tell the "
                "hub's administrators."
            ) from error

    def _engine_traits(self, *, anew: bool) -> dict[str, Any]:
        traits: dict[str, Any] = {
            "container_name": container_name("look", self._settings.prefix, self._workspace.name),
            "cache_namespace": _short_hash(self._build.clone_url),
            "labels": self._labels(),
        }
        if anew:
            given = self._settings.config["BinderEngine"]["extra_build_args"]
            traits["extra_build_args"] = [*given, "--no-cache"]
        if (expected := self._settings.smoke_test) is None:
            return traits
        wanted = Wanted(
            expected.home, expected.user_id, expected.timeout_seconds, str(self._report)
        )
        return {**traits, "trial": asdict(wanted)}

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
                f"The image was built, but the registry did not take it: {last or error.message}. "
                "Build it again; if that fails too, tell the hub's administrators.",
                code="push_failed",
            ) from error


# --- Names --------------------------------------------------------------------------------------


def image_name(prefix: str, key: str, resolved_ref: str) -> str:
    """Return the name of a content key's image: the key is the repository, the ref the tag.

    The key tells one builder's configuration from another, and finds the image; the whole ref
    is for people who list images.
    """
    tag = _NOT_IN_TAG.sub("_", resolved_ref).lstrip(".-")[:128] or "latest"
    return f"{prefix}{key}:{tag}"


def temporary_name(prefix: str, workspace: str) -> str:
    """Return what an image is called while it is made."""
    return f"{prefix}building:{workspace}"


def container_name(purpose: str, prefix: str, workspace: str) -> str:
    """Return the name of a workspace's container, by which it is found after a kill.

    Never a label: a container has its image's labels too, and an image may have any.
    """
    return f"binder-{purpose}-{_short_hash(prefix)}-{workspace}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_finished(prefix: str, name: str) -> bool:
    """Say whether a name is that of a finished image of ours."""
    return name.startswith(prefix) and not name.startswith(f"{prefix}building:")


def plain_name(name: str, prefix: str) -> str:
    """Return an image's name as it was given, where names begin with a prefix.

    Podman puts `localhost/` before those of no registry, and Docker takes its own hub's away.
    """
    plain = name.removeprefix("localhost/").removeprefix(_DOCKER_HUB)
    return f"{_DOCKER_HUB}{plain}" if prefix.startswith(_DOCKER_HUB) else plain


def workspace_name(build_id: str) -> str:
    """Return a name that tells which build it is, and which process makes it."""
    owner = psutil.Process()
    return f"{build_id}-{owner.pid}-{int(owner.create_time())}"


def is_under_way(workspace: str) -> bool:
    """Say whether a workspace is that of a build: one of this process, or of another that lives."""
    match = _OWNED.match(workspace)
    if match is None:
        return False
    try:
        lives = int(psutil.Process(int(match[1])).create_time()) == int(match[2])
    except psutil.Error:
        return False
    return lives and (int(match[1]) != os.getpid() or workspace in _UNDER_WAY)


# --- Configuration, and what is left ------------------------------------------------------------


def write_config(settings: Settings, engine: Mapping[str, Any]) -> str:
    """Return repo2docker's configuration file: the admin's own first, then ours over it.

    `engine` are the traits of `BinderEngine` that are this build's.
    """
    lines = ["c = get_config()"]
    if settings.config_file:
        lines.append(f"load_subconfig({settings.config_file!r})")
    if settings.debian is not None:
        lines += [
            "from repo2docker.buildpacks.docker import DockerBuildPack",
            "from jupyterhub_binder.backends.r2d_buildpack import DebianBuildPack",
            f"DebianBuildPack.requirements = {list(settings.debian)!r}",
            "c.Repo2Docker.buildpacks = [DockerBuildPack, DebianBuildPack]",
        ]
    for owner, traits in (*settings.config.items(), ("BinderEngine", engine)):
        lines += [f"c.{owner}.{name} = {value!r}" for name, value in traits.items()]
    return "\n".join(lines) + "\n"


async def sweep(engine: Engine, root: Path, prefix: str) -> list[str]:
    """Remove what builds that are over left; return the workspaces' names.

    That is what builds of a killed service left, and the image of a build that was ended while the
    engine wrote it: the engine does that to its end, and names it then. Raises
    UpstreamUnavailable.
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


async def remove_nameless(engine: Engine) -> None:
    """Remove images that a layer of files was added to: they have lost their name to the new one."""
    for image in await engine.list_images("dangling=true", f"label={KEY_LABEL}"):
        await _remove(engine, image.id)


async def clear(
    engine: Engine, root: Path, workspace: str, prefix: str, purposes: Sequence[str] = _PURPOSES
) -> None:
    """End the processes of a workspace, and remove its folder, containers and temporary image.

    What is gone already is success; an engine that does not answer is left alone.
    """
    folder = root / workspace
    await asyncio.to_thread(end_processes, folder)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    names = [container_name(purpose, prefix, workspace) for purpose in purposes]
    await asyncio.gather(*map(engine.remove_container, names), return_exceptions=True)
    await _remove(engine, temporary_name(prefix, workspace))


async def _remove(engine: Engine, image: str) -> None:
    """Remove an image, once a container of it that is on its way out is gone."""
    for _ in range(_ATTEMPTS):
        try:
            return await engine.remove(image)
        except ImageInUse:
            await asyncio.sleep(_PAUSE_SECONDS)
        except BinderError:
            return None
    return None


async def to_the_end(work: Awaitable[None]) -> None:
    """Do it all, even when this is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
