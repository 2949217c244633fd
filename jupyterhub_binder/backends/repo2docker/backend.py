"""The repo2docker backend: its configuration and the contract.

`build` runs one build; `engine` calls Docker or Podman; a registry client finds pushed images.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import aiohttp
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from platformdirs import user_state_path
from traitlets import Bool, Enum, Float, Int, List, TraitError, Type, Unicode, default, validate

from jupyterhub_binder.backends.base import BuildBackend, KeptImage
from jupyterhub_binder.backends.left_out import left_out
from jupyterhub_binder.backends.repo2docker import plan
from jupyterhub_binder.backends.repo2docker.build import (
    KEY_LABEL,
    ImageBuild,
    Repo2DockerSettings,
    is_finished,
    list_nameless,
    plain_name,
    remove_image,
    sweep,
)
from jupyterhub_binder.backends.repo2docker.builder import Builder
from jupyterhub_binder.backends.repo2docker.engine import Engine, LocalImage
from jupyterhub_binder.backends.repo2docker.smoke_test import Expected, singleuser_of
from jupyterhub_binder.errors import BinderError, ConfigurationError, UpstreamUnavailable
from jupyterhub_binder.model import Assessment, BackendOutput, Build, BuildJob, Recipe
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet

_LAYOUT = 2
"""Raised when the same inputs make different images, so that old ones are not reused."""
_OLDEST = "2026.4"
_NEVER = datetime.min.replace(tzinfo=UTC)
_SWEEP_SECONDS = 300.0
"""Interval for removing leftovers of builds that ended before the engine did."""

DEBIAN_BASE_IMAGE = "docker.io/library/python:3.12-bookworm"
"""The default base image of the build pack `debian`."""


class ImageRegistry(Protocol):
    """The interface of registry clients."""

    session: aiohttp.ClientSession | None
    """The service's HTTP session, set before `start`."""

    async def start(self) -> None:
        """Open connections."""

    async def stop(self) -> None:
        """Close connections. Idempotent."""

    async def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository, ``host/path``, or []."""
        ...

    async def fetch_digest(self, image: str) -> str | None:
        """Return the digest of an image's manifest, or None."""
        ...

    async def list_images(self, prefix: str) -> tuple[str, ...]:
        """Return image names with tags that begin with a prefix."""
        ...

    async def delete(self, image: str) -> None:
        """Remove an image. Idempotent."""

    async def health(self) -> str | None:
        """Return None if it works, else what to do."""
        ...


class Repo2DockerBackend(BuildBackend):
    """Builds container images with repo2docker on this machine."""

    name: ClassVar[str] = "repo2docker"
    description: ClassVar[str] = Message("Makes container images with repo2docker.")

    engine = Unicode(
        "docker",
        help="""
        The container engine's command-line program, as a name or path. Its contexts and variables
        (DOCKER_HOST) apply. The buildx plugin is not required. Default: `docker`. For example
        `podman`.
        """,
    ).tag(config=True)

    docker_config = Unicode(
        help="""
        A folder with a `config.json` that holds registry credentials, as `docker login` or a
        Kubernetes secret of type dockerconfigjson makes it. Default: empty, the engine's own
        folder, usually `~/.docker`.
        """,
    ).tag(config=True)

    image_prefix = Unicode(
        "jupyterhub-binder/",
        help="""
        Prefix of every image name; the content key and the commit follow. With `push`, it names the
        registry: `registry.example.org/binder/`. Services that share an engine need different
        prefixes. Default: `jupyterhub-binder/`.
        """,
    ).tag(config=True)

    push = Bool(
        False,
        help="""
        Push each image to the registry in `image_prefix`. An image then counts as built when the
        registry has it. Default: False, images stay in the engine on this machine.
        """,
    ).tag(config=True)

    registry_class = Type(
        "jupyterhub_binder.backends.repo2docker.registry.Registry",
        klass=object,
        help="The client class for the registry. Default: a client for the Docker Registry API v2.",
    ).tag(config=True)

    buildpack = Enum(
        ["repo2docker", "debian"],
        "repo2docker",
        help="""
        How to build repositories without a Dockerfile. `repo2docker` uses repo2docker's build
        packs, which need conda channels. `debian` installs Python packages with uv on a Debian
        base, for sites without conda. Default: `repo2docker`.
        """,
    ).tag(config=True)

    base_image = Unicode(
        help="""
        The base image of builds. Default: empty, repo2docker's own. For the build pack `debian` it
        must have Python 3 with venv and pip; the default is then
        `docker.io/library/python:3.12-bookworm`.
        """,
    ).tag(config=True)

    base_python = Unicode(
        help="""
        The Python version of `base_image` for the build pack `debian`, such as `3.11`. A repository
        that asks for another version is refused before the build. Default: empty, the requested
        version is ignored.
        """,
    ).tag(config=True)

    base_packages = List(
        Unicode(),
        help="""
        Packages that the build pack `debian` installs in every image. Default: the single-user
        server in the hub's version, JupyterLab and Notebook.
        """,
    ).tag(config=True)

    user_id = Int(
        1000,
        min=1,
        help="""
        The user id of servers. Home directories belong to it, so the smoke test rejects images
        whose commands run as another user. Default: 1000.
        """,
    ).tag(config=True)

    user_name = Unicode(
        "jovyan",
        help="The user name in images. The home directory is `/home/<name>`. Default: `jovyan`.",
    ).tag(config=True)

    appendix = Unicode(
        help="""
        Lines to add to the Dockerfile of each build pack, but not to a repository's own Dockerfile.
        Default: empty.
        """,
    ).tag(config=True)

    extra_build_args = List(
        Unicode(),
        help="""
        Additional arguments for the engine's `build` command, for example to limit the resources of
        builds. For Podman: `["--memory=4g", "--ulimit=nproc=4096:4096"]`. Default: none.
        """,
    ).tag(config=True)

    repo2docker_config = Unicode(
        help="""
        Path of your own repo2docker configuration file. Settings made here override it. Default:
        empty, none. Configuration files in a repository are never read.
        """,
    ).tag(config=True)

    smoke_test = Bool(
        True,
        help="""Whether an image counts as built only when `jupyterhub-singleuser --version` runs
        in it, as `user_id`, with a home that can be written to. It takes one to three
        seconds. Default: True.""",
    ).tag(config=True)

    smoke_test_seconds = Float(
        120, min=1, help="Time limit of the smoke test, in seconds. Default: 120."
    ).tag(config=True)

    singleuser_versions = Unicode(
        help="""
        Versions of jupyterhub-singleuser that work with this hub, as a pip version specifier.
        Default: the hub's major version and the one before. For example `>=5.2,<7`.
        """,
    ).tag(config=True)

    work_dir = Unicode(
        help="""
        The folder for running builds. Default: `repo2docker` in the user's state folder for the
        service.
        """,
    ).tag(config=True)

    @default("work_dir")
    def _default_work_dir(self) -> str:
        return str(user_state_path("jupyterhub-binder") / "repo2docker")

    @default("singleuser_versions")
    def _default_singleuser_versions(self) -> str:
        return singleuser_of(version("jupyterhub"))

    @default("base_packages")
    def _default_base_packages(self) -> list[str]:
        hub = Version(version("jupyterhub"))
        # A development version is on no index: the newest release is the nearest.
        pin = "jupyterhub" if hub.is_devrelease or hub.local else f"jupyterhub=={hub}"
        return [pin, "jupyterlab>=4,<5", "notebook>=7,<8"]

    @validate("singleuser_versions")
    def _is_specifier(self, proposal: Any) -> str:
        try:
            return str(SpecifierSet(proposal.value))
        except InvalidSpecifier as error:
            raise TraitError(
                f"Repo2DockerBackend.singleuser_versions: {proposal.value!r} is not a version "
                "specifier such as '>=5,<7'."
            ) from error

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._engine: Engine | None = None
        self._registry: ImageRegistry | None = None
        self._fingerprint = ""
        self._tasks = TaskSet(self.log)

    async def start(self) -> None:
        """Find the engine and the registry; begin to remove leftovers of a killed service."""
        self._fingerprint = self._find_fingerprint()
        root = Path(self.work_dir)
        try:
            await asyncio.to_thread(root.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"Repo2DockerBackend.work_dir: can't use {root} ({error.strerror})."
            ) from error
        self._engine = await self._find_engine()
        if self.push:
            make = cast("Callable[..., ImageRegistry]", self.registry_class)
            self._registry = make(
                parent=self, image_prefix=self.image_prefix, docker_config=self.docker_config
            )
            self._registry.session = self.session
            await self._registry.start()
        # Listed before any build begins: one may have such an image for a moment.
        nameless: Sequence[LocalImage] = ()
        with suppress(BinderError):
            nameless = await list_nameless(self._engine)
        self._tasks.spawn(self._keep_sweeping(nameless), name="sweeps of repo2docker")

    async def _keep_sweeping(self, nameless: Iterable[LocalImage]) -> None:
        await self._sweep()
        for image in nameless:
            await remove_image(self.container_engine, image.id)
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._sweep()

    async def _sweep(self) -> None:
        root = Path(self.work_dir)
        try:
            for name in await sweep(self.container_engine, root, self.image_prefix):
                self.log.info("Removed leftovers of an earlier build: %s", name)
        except (BinderError, OSError) as error:
            self.log.warning(
                "Leftovers of earlier builds could not be removed and stay for now: %s", error
            )

    async def _find_engine(self) -> Engine:
        try:
            engine = await Engine.find(self.engine, docker_config=self.docker_config)
        except ConfigurationError:
            raise
        except BinderError as error:
            raise ConfigurationError(
                f"Repo2DockerBackend.engine: {error.message} Start it, and let the service's user "
                "reach it (for Docker: the group docker, or DOCKER_HOST)."
            ) from error
        self.log.info("%s %s builds with %s", engine.program, engine.version, engine.builder)
        if engine.builder is Builder.LEGACY:
            self.log.warning(
                "Docker has no buildx plugin. The old builder works, but it is slower and "
                "deprecated. Install docker-buildx (Debian) or docker-buildx-plugin (Docker)."
            )
        return engine

    async def stop(self) -> None:
        """Close the registry client and end the background task."""
        await self._tasks.close()
        registry, self._registry = self._registry, None
        if registry is not None:
            await registry.stop()

    @property
    def container_engine(self) -> Engine:
        """The engine. Raises UpstreamUnavailable or ConfigurationError before the start."""
        if self.start_failure:
            raise UpstreamUnavailable(self.not_now)
        if self._engine is None:
            raise ConfigurationError("The repo2docker backend has not been started.")
        return self._engine

    def fingerprint(self) -> str:
        """Return what decides an image besides its repository; constant after the start."""
        if not self._fingerprint:
            self._fingerprint = self._find_fingerprint()
        return self._fingerprint

    def _find_fingerprint(self) -> str:
        require_repo2docker()
        decides = {
            "layout": _LAYOUT,
            "repo2docker": version("jupyter-repo2docker"),
            "buildpack": self.buildpack,
            "base_image": self.base_image,
            "base_packages": list(self.base_packages) if self.buildpack == "debian" else [],
            "user": [self.user_id, self.user_name],
            "appendix": self.appendix,
            "arguments": list(self.extra_build_args),
            "config": _read(self.repo2docker_config),
            "prefix": self.image_prefix,
        }
        return f"repo2docker {json.dumps(decides, sort_keys=True)}"

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return what repo2docker does with each file."""
        debian = self.buildpack == "debian"
        found = plan.assess(recipe, debian=debian, python=self.base_python)
        return replace(found, findings=(*found.findings, *left_out(recipe)))

    async def find_image(self, key: str) -> str | None:
        """Return a key's image from the registry, or from the engine without one."""
        if self._registry is not None:
            return await self._find_pushed(self._registry, key)
        begin = f"{self.image_prefix}{key}:"
        for image in await self.container_engine.list_images(f"label={KEY_LABEL}={key}"):
            for name in self._plain_names(image):
                if name.startswith(begin):
                    return name
        return None

    def _plain_names(self, image: LocalImage) -> list[str]:
        return [plain_name(name, self.image_prefix) for name in image.names]

    async def _find_pushed(self, registry: ImageRegistry, key: str) -> str | None:
        repository = f"{self.image_prefix}{key}"
        for tag in await registry.list_tags(repository):
            if await registry.fetch_digest(f"{repository}:{tag}") is not None:
                return f"{repository}:{tag}"
        return None

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Run repo2docker on the checkout; test, name and push the image."""
        if job.checkout is None:
            raise ValueError("repo2docker needs a checkout")
        making = ImageBuild(job.build, self.container_engine, Path(self.work_dir), self._settings())
        outputs = making.outputs(job.checkout, anew=await self._is_wanted_anew(job.build))
        async with aclosing(outputs):
            async for output in outputs:
                yield output

    async def _is_wanted_anew(self, build: Build) -> bool:
        """Whether this is a rebuild of content whose image still exists.

        If clean-up removed it, cached steps may be used.
        """
        for generation in reversed(range(build.generation)):
            if await self.find_image(replace(build, generation=generation).key) is not None:
                return True
        return False

    def _settings(self) -> Repo2DockerSettings:
        engine = self.container_engine
        debian = self.buildpack == "debian"
        base = self.base_image or (DEBIAN_BASE_IMAGE if debian else "")
        own: dict[str, dict[str, Any]] = {
            "BinderEngine": {
                "program": engine.program,
                "builder": str(engine.builder),
                "extra_build_args": list(self.extra_build_args),
            },
            "Repo2Docker": {"base_image": base} if base else {},
        }
        expected = Expected(
            user_id=self.user_id,
            home=f"/home/{self.user_name}",
            singleuser=SpecifierSet(self.singleuser_versions),
            timeout_seconds=self.smoke_test_seconds,
        )
        return Repo2DockerSettings(
            config=own,
            config_file=self.repo2docker_config,
            debian=list(self.base_packages) if debian else None,
            user_id=self.user_id,
            user_name=self.user_name,
            appendix=self.appendix,
            prefix=self.image_prefix,
            push=self.push,
            smoke_test=expected if self.smoke_test else None,
        )

    async def delete_image(self, image: str) -> None:
        """Remove an image from the engine and the registry. Idempotent."""
        if not image.startswith(self.image_prefix):
            return
        await self.container_engine.remove(image)
        if self._registry is not None:
            await self._registry.delete(image)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images of engine and registry, without duplicates."""
        engine = self.container_engine
        used = await engine.fetch_used_images()
        found: dict[str, KeptImage] = {}
        for image in await engine.list_images(f"label={KEY_LABEL}"):
            for name in self._plain_names(image):
                if is_finished(self.image_prefix, name):
                    created = image.created or _NEVER
                    found[name] = KeptImage(name, image.size_bytes, created, image.id in used)
        if self._registry is not None:
            for name in await self._registry.list_images(self.image_prefix):
                found.setdefault(name, KeptImage(name, 0, _NEVER))
        return tuple(found.values())

    async def health(self) -> str | None:
        """Return None if the engine and the registry work, else what to do."""
        try:
            await self.container_engine.fetch_version()
        except BinderError as error:
            return f"{error.message} Is it running?"
        return await self._registry.health() if self._registry is not None else None


def require_repo2docker() -> None:
    """Raise ConfigurationError if repo2docker is missing or too old."""
    if importlib.util.find_spec("repo2docker") is None:
        raise ConfigurationError(
            "The repo2docker backend needs jupyter-repo2docker: "
            "pip install 'jupyterhub-binder[repo2docker]'."
        )
    found = version("jupyter-repo2docker")
    if Version(found) < Version(_OLDEST):
        raise ConfigurationError(
            f"The repo2docker backend needs jupyter-repo2docker {_OLDEST} or later, and {found} is "
            "installed: pip install --upgrade 'jupyterhub-binder[repo2docker]'."
        )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8") if path else ""
    except OSError as error:
        raise ConfigurationError(
            f"Repo2DockerBackend.repo2docker_config: can't read {path} ({error.strerror})."
        ) from error
