"""Container images made by repo2docker on one machine that has Docker or Podman.

Holds the configuration and meets the contract. One build is `r2d_build`'s, the engine
`engine`'s; what is pushed is looked for through a registry client that is configured here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from platformdirs import user_state_path
from traitlets import Bool, Enum, Float, Int, List, TraitError, Type, Unicode, default, validate

from jupyterhub_binder.aio import TaskSet
from jupyterhub_binder.backends import r2d_build, r2d_plan
from jupyterhub_binder.backends.base import BuildBackend, KeptImage
from jupyterhub_binder.backends.builder import Builder
from jupyterhub_binder.backends.engine import Engine, LocalImage
from jupyterhub_binder.backends.r2d_build import (
    KEY_LABEL,
    Making,
    Settings,
    is_finished,
    plain_name,
    to_the_end,
)
from jupyterhub_binder.backends.r2d_smoke import Expected, singleuser_of
from jupyterhub_binder.errors import BinderError, ConfigurationError
from jupyterhub_binder.model import Assessment, BackendOutput, Build, BuildJob, Recipe

_LAYOUT = 2
"""Raised when the same inputs make other images, so that old ones are not taken for new."""
_OLDEST = "2026.4"
_NEVER = datetime.min.replace(tzinfo=UTC)
_SWEEP_SECONDS = 300.0
"""How often to look for what builds left that ended while the engine went on."""

DEBIAN_BASE_IMAGE = "docker.io/library/python:3.12-bookworm"
"""What the build pack `debian` starts from where nothing else is configured."""


class ImageRegistry(Protocol):
    """What this backend asks of a registry's client; `Registry` is the one that ships."""

    async def start(self) -> None:
        """Open what it needs."""

    async def stop(self) -> None:
        """Let go of it; may be called twice."""

    async def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository, ``host/path``; none if it is not there."""
        ...

    async def fetch_digest(self, image: str) -> str | None:
        """Return the digest of an image's manifest; None if it is not there."""
        ...

    async def list_images(self, prefix: str) -> tuple[str, ...]:
        """Return the names, with tags, of the images that begin with a prefix."""
        ...

    async def delete(self, image: str) -> None:
        """Remove an image; gone already is success."""

    async def health(self) -> str | None:
        """Return None if it answers, else what to do."""
        ...


class Repo2DockerBackend(BuildBackend):
    """Container images, made with repo2docker by the Docker or Podman of this machine."""

    name: ClassVar[str] = "repo2docker"
    description: ClassVar[str] = "Makes container images with repo2docker."

    engine = Unicode(
        "docker",
        help="""The engine's command-line program, by name or path; its contexts and variables
        (DOCKER_HOST) are obeyed. Needs no buildx plugin. Default: `docker`. For example
        `podman`.""",
    ).tag(config=True)

    docker_config = Unicode(
        help="""A folder that holds a `config.json` with registries' credentials, as `docker login`
        or a Kubernetes secret of type dockerconfigjson makes it. Default: empty, the engine's
        own, usually `~/.docker`.""",
    ).tag(config=True)

    image_prefix = Unicode(
        "jupyterhub-binder/",
        help="""What every image's name begins with; the content's key and the commit follow. With
        `push` it names the registry: `registry.example.org/binder/`. Services that share an
        engine need different ones. Default: `jupyterhub-binder/`.""",
    ).tag(config=True)

    push = Bool(
        False,
        help="""Whether each image is pushed to the registry that `image_prefix` names; then an
        image counts as built when the registry has it. Default: False, this machine's engine
        keeps it.""",
    ).tag(config=True)

    registry_class = Type(
        "jupyterhub_binder.registry.Registry",
        klass=object,
        help="""The client that asks the registry. Default: one for the Docker Registry API v2.""",
    ).tag(config=True)

    buildpack = Enum(
        ["repo2docker", "debian"],
        "repo2docker",
        help="""Who builds what has no Dockerfile: repo2docker's own build packs, which need conda
        channels, or `debian`: Python packages with uv on a Debian base, for sites without
        them. Default: `repo2docker`.""",
    ).tag(config=True)

    base_image = Unicode(
        help="""The image that builds start from. Default: empty, repo2docker's own; for the build
        pack `debian` it must have Python 3 with venv and pip, by default
        `docker.io/library/python:3.12-bookworm`.""",
    ).tag(config=True)

    base_python = Unicode(
        help="""The Python of `base_image` for the build pack `debian`, such as `3.11`: a
        repository that asks for another one is refused before the build. Default: empty, any
        wish is ignored.""",
    ).tag(config=True)

    base_packages = List(
        Unicode(),
        help="""What the build pack `debian` installs for every repository. Default: the
        single-user server of the hub's version, JupyterLab and Notebook.""",
    ).tag(config=True)

    user_id = Int(
        1000,
        min=1,
        help="""The user id of servers. Homes belong to it, so the smoke test refuses images whose
        commands run as another one. Default: 1000.""",
    ).tag(config=True)

    user_name = Unicode(
        "jovyan", help="The user's name in images; the home is `/home/<name>`. Default: jovyan."
    ).tag(config=True)

    appendix = Unicode(
        help="""Lines that are added to the Dockerfile of each build pack; not to a repository's
        own. Default: empty.""",
    ).tag(config=True)

    extra_build_args = List(
        Unicode(),
        help="""More arguments of the engine's `build`, to limit what builds take: for Podman
        `["--memory=4g", "--ulimit=nproc=4096:4096"]`. Default: none.""",
    ).tag(config=True)

    repo2docker_config = Unicode(
        help="""The path of a configuration file of repo2docker of your own; what is set here wins
        over it. Default: empty, none. A file of a repository is never read.""",
    ).tag(config=True)

    smoke_test = Bool(
        True,
        help="""Whether an image counts as built only when `jupyterhub-singleuser --version` runs
        in it, as `user_id`, with a home that can be written to. It takes one to three seconds,
        beside the writing of the image where BuildKit builds it. Default: True.""",
    ).tag(config=True)

    smoke_test_seconds = Float(
        120, min=1, help="How long the smoke test may take, in seconds. Default: 120."
    ).tag(config=True)

    singleuser_versions = Unicode(
        help="""Which versions of jupyterhub-singleuser go with this hub, as pip writes it.
        Default: the hub's major version and the one before. For example `>=5.2,<7`.""",
    ).tag(config=True)

    work_dir = Unicode(
        help="""The folder of builds under way. Default: `repo2docker` in the service's state
        folder of this user.""",
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
                f"Repo2DockerBackend.singleuser_versions: {proposal.value!r} is no set of "
                "versions, such as '>=5,<7'."
            ) from error

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._engine: Engine | None = None
        self._registry: ImageRegistry | None = None
        self._expected: dict[str, Making] = {}
        self._fingerprint = ""
        self._tasks = TaskSet(self.log)

    async def start(self) -> None:
        """Find the engine and the registry; remove what builds of a killed service left."""
        require_repo2docker()
        self._fingerprint = self._find_fingerprint()
        root = Path(self.work_dir)
        try:
            await asyncio.to_thread(root.mkdir, mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"Repo2DockerBackend.work_dir: {root} cannot be used ({error.strerror})."
            ) from error
        self._engine = await self._find_engine()
        if self.push:
            make = cast("Callable[..., ImageRegistry]", self.registry_class)
            self._registry = make(
                parent=self, image_prefix=self.image_prefix, docker_config=self.docker_config
            )
            await self._registry.start()
        await self._sweep()
        with suppress(BinderError):
            await r2d_build.remove_nameless(self._engine)
        self._tasks.spawn(self._keep_sweeping(), name="sweeps of repo2docker")

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self._sweep()

    async def _sweep(self) -> None:
        root = Path(self.work_dir)
        try:
            for name in await r2d_build.sweep(self.container_engine, root, self.image_prefix):
                self.log.info("Removed what an earlier build left: %s", name)
        except (BinderError, OSError) as error:
            self.log.warning("What earlier builds left stays for now: %s", error)

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
                "Docker's program has no buildx plugin: its first builder works, but is slower and "
                "will go away. Install docker-buildx (Debian) or docker-buildx-plugin (Docker)."
            )
        return engine

    async def stop(self) -> None:
        """Close the registry's client, and end what goes on by itself."""
        await self._tasks.close()
        registry, self._registry = self._registry, None
        if registry is not None:
            await registry.stop()

    @property
    def container_engine(self) -> Engine:
        """Return the engine; ConfigurationError before the start."""
        if self._engine is None:
            raise ConfigurationError("The repo2docker backend has not been started.")
        return self._engine

    def fingerprint(self) -> str:
        """Return what decides an image besides its repository; the same from the start on."""
        if not self._fingerprint:
            self._fingerprint = self._find_fingerprint()
        return self._fingerprint

    def _find_fingerprint(self) -> str:
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
        """Say what repo2docker does with each file."""
        return r2d_plan.assess(recipe, debian=self.buildpack == "debian", python=self.base_python)

    async def find_image(self, key: str) -> str | None:
        """Return the image of a key if the registry has it, or without one the engine."""
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

    @asynccontextmanager
    async def expecting(self, build: Build) -> AsyncIterator[None]:
        """Have repo2docker's process load while the repository is fetched."""
        making = self._expected[build.id] = self._making(build)
        try:
            with suppress(OSError):  # a full disk: the build says so
                await making.begin()
            yield
        finally:
            self._expected.pop(build.id, None)
            await to_the_end(making.end())

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Run repo2docker on the checkout, try the image, name it, push it."""
        if job.checkout is None:
            raise ValueError("repo2docker needs a checkout")
        making = self._expected.get(job.build.id) or self._making(job.build)
        outputs = making.outputs(job.checkout, anew=await self._is_wanted_anew(job.build))
        async with aclosing(outputs):
            async for output in outputs:
                yield output

    def _making(self, build: Build) -> Making:
        return Making(build, self.container_engine, Path(self.work_dir), self._settings())

    async def _is_wanted_anew(self, build: Build) -> bool:
        """Say whether an image of the same content is there, and another one is asked for.

        An image that clean-up removed is made again out of the steps that the engine still has.
        """
        for generation in reversed(range(build.generation)):
            if await self.find_image(replace(build, generation=generation).key) is not None:
                return True
        return False

    def _settings(self) -> Settings:
        engine = self.container_engine
        debian = self.buildpack == "debian"
        base = self.base_image or (DEBIAN_BASE_IMAGE if debian else "")
        own: dict[str, dict[str, Any]] = {
            "BinderEngine": {
                "program": engine.program,
                "builder": str(engine.builder),
                "buildx": engine.buildx,
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
        return Settings(
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
        """Remove an image from engine and registry; one that is gone is success."""
        if not image.startswith(self.image_prefix):
            return
        await self.container_engine.remove(image)
        if self._registry is not None:
            await self._registry.delete(image)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the images of engine and registry; an image in both counts once."""
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
        """Return None if the engine and the registry answer, else what to do."""
        try:
            await self.container_engine.fetch_version()
        except BinderError as error:
            return f"{error.message} Is it running?"
        return await self._registry.health() if self._registry is not None else None


def require_repo2docker() -> None:
    """Raise ConfigurationError, with what to install, unless repo2docker is here and new enough."""
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
            f"Repo2DockerBackend.repo2docker_config: {path} cannot be read ({error.strerror})."
        ) from error
