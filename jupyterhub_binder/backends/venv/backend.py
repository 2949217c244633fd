"""The venv backend, the default: its configuration and the contract.

`plan` decides what to build, `build` builds it, `folders` owns the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import uv
from packaging.version import Version
from platformdirs import user_state_path
from traitlets import Bool, Dict, Enum, Int, List, Unicode, default, observe

from jupyterhub_binder.backends.base import (
    PYTHON_OPTION,
    BuildBackend,
    KeptImage,
    Pythons,
    Reuse,
)
from jupyterhub_binder.backends.venv import plan
from jupyterhub_binder.backends.venv.build import VenvBuild
from jupyterhub_binder.backends.venv.conda.cache import trim
from jupyterhub_binder.backends.venv.conda.options import CondaChannels
from jupyterhub_binder.backends.venv.egress import Egress
from jupyterhub_binder.backends.venv.folders import PREFIX, Folders
from jupyterhub_binder.backends.venv.interpreters import OWN, closed_folder, find_pythons
from jupyterhub_binder.backends.venv.kept import fetch_cache_bytes, list_kept
from jupyterhub_binder.backends.venv.links import can_clone
from jupyterhub_binder.backends.venv.lock import OPTION, clean_lock, lock_of
from jupyterhub_binder.backends.venv.plan import Offer
from jupyterhub_binder.backends.venv.pods.runner import BuildPods
from jupyterhub_binder.backends.venv.requirements import Policy
from jupyterhub_binder.backends.venv.sandbox import MISSING, Sandbox
from jupyterhub_binder.backends.venv.steps import Interpreter, VenvSettings
from jupyterhub_binder.backends.venv.uv import PASSED, index_hosts, index_urls, uv_environment
from jupyterhub_binder.backends.venv.wheels import WheelCaches
from jupyterhub_binder.errors import BuildFailed, ConfigurationError, InvalidInput
from jupyterhub_binder.model import Assessment, BackendOutput, Build, BuildJob, Recipe
from jupyterhub_binder.model.text import Message

_LAYOUT = 1
"""Raised when the layout of environments changes, so that old ones are not reused."""


class VenvBackend(BuildBackend):
    """Virtual environments, made with uv from wheels, read-only once finished."""

    name: ClassVar[str] = "venv"
    makes_containers: ClassVar[bool] = False
    takes_lock: ClassVar[bool] = True
    made: ClassVar[str] = Message("made as a folder")
    pace: ClassVar[str] = Message("usually in seconds")
    description: ClassVar[str] = Message(
        "Makes Python environments in folders. Other languages and system packages need container "
        "images."
    )

    where = Enum(
        ["local", "kubernetes"],
        "local",
        help="""
        Where a repository's own code (setup.py of source distributions, postBuild) runs: in a
        sandbox on this machine, or each step in a Kubernetes pod of its own, see `BuildPods`. With
        `kubernetes` the service runs in a pod, and `environments_root` is a volume that pods for
        builds and servers can mount. The chart sets all this with `builder.type: folders`. Default:
        `local`.
        """,
    ).tag(config=True)

    environments_root = Unicode(
        help="""
        The folder for finished environments, environments being built and the cache of wheels, all
        on one file system. Servers read it, so every parent folder must let other users through. Give the
        spawner the same value. Default: `environments` in the user's state folder for the service.
        For example `/srv/jupyterhub-binder/environments`.
        """,
    ).tag(config=True)

    pythons = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        Python interpreters that repositories can ask for, by minor version: `{"3.12":
        "/usr/bin/python3.12"}`. Other users must be able to run them. Default: empty, the service's
        own interpreter and every working `python3.N` on the PATH.
        """,
    ).tag(config=True)

    default_python = Unicode(
        OWN,
        help="""
        The Python version for repositories that don't ask for one; one of `pythons`. Default: the
        version of the service's own interpreter.
        """,
    ).tag(config=True)

    base_packages = List(
        Unicode(),
        help="""
        Requirements that every environment gets, resolved together with those of the repository.
        Default: the single-user server in the hub's version, JupyterLab, Notebook and pip. Without
        `jupyterhub`, no server starts.
        """,
    ).tag(config=True)

    constraints = List(
        Unicode(),
        help="""
        Constraints for all environments, as in pip's `-c`: they limit versions but don't install
        packages. Default: none. For example `["numpy<3"]`.
        """,
    ).tag(config=True)

    smoke_test = List(
        Unicode(),
        ["jupyterhub-singleuser", "--version"],
        help="""
        A program in a new environment, with arguments, that must succeed before the environment
        counts as built. It runs in the sandbox; without a sandbox it does not run. Default:
        `jupyterhub-singleuser --version`. Empty: no test.
        """,
    ).tag(config=True)

    allow_unsandboxed = Bool(
        False,
        help="""
        Run a repository's own code (setup.py of source distributions, postBuild) **without** a
        sandbox, as the service's user, if bubblewrap does not work. That code can then read and
        change everything that the service can, including its database and all environments. Use
        this only if you trust everyone who builds. Default: False, such builds are refused.
        """,
    ).tag(config=True)

    build_network = Bool(
        False,
        help="""
        Let postBuild download from `build_hosts`. Source distributions always can. Default: False,
        postBuild has no network.
        """,
    ).tag(config=True)

    build_hosts = List(
        Unicode(),
        ["*"],
        help="""
        Hosts that sandboxed steps can reach over https, in addition to the package indexes that the
        service uses. `*` means every host that has only public addresses; hosts in the local
        network must be named. Default: `*`, as on BinderHub. To restrict it, name the hosts of your
        index and, for requirements from Git, `github.com` and `codeload.github.com`. On Kubernetes a
        NetworkPolicy decides instead, so other values are refused there.
        """,
    ).tag(config=True)

    allowed_indexes = List(
        Unicode(),
        list(Policy().index_urls),
        help="""
        URL prefixes of package indexes that a requirements.txt may add with `--extra-index-url`.
        PyPI and the indexes that the service uses need no entry; if the service uses another index
        than PyPI, it takes PyPI's place. Default: PyTorch's indexes.
        """,
    ).tag(config=True)

    allowed_url_hosts = List(
        Unicode(),
        list(Policy().url_hosts),
        help="""
        Hosts from which a requirement may use a file or a Git repository directly. Default: GitHub
        and GitLab.
        """,
    ).tag(config=True)

    link_mode = Enum(
        ["auto", "clone", "copy"],
        "auto",
        help="""
        How packages get from the cache of wheels into environments. `auto` clones files where the
        file system can (btrfs, XFS), and otherwise makes hard links for environments that nobody can
        write to; see `servers_cannot_write`. Everything else is copied. `clone` makes no hard
        links, `copy` copies everything. Default: `auto`.
        """,
    ).tag(config=True)

    servers_cannot_write = Bool(
        False,
        help="""
        Whether no server can write to environments: every server runs as another user than the
        service and not as root, or sees environments on a read-only mount. Then environments of
        wheels alone share files with the cache by hard links, which saves most of their time and
        disk space. If you set it wrongly, a person can change other people's environments. Default:
        False; `configure` sets it for spawners that start servers as system users.
        """,
    ).tag(config=True)

    max_image_bytes = Int(
        10 * 2**30,
        min=0,
        help="""
        Maximum size of an environment in bytes. A build that exceeds it is stopped. Default: 10
        GiB. 0: no limit.
        """,
    ).tag(config=True)

    max_memory_bytes = Int(
        16 * 2**30,
        min=0,
        help="""
        Maximum address space of each process of a build, in bytes. This is more than the memory it
        uses. To limit a whole build, run the service in a cgroup; on Kubernetes, `BuildPods.resources`
        limits the pods. Default: 16 GiB. 0: no limit.
        """,
    ).tag(config=True)

    passed_environment = List(
        Unicode(),
        list(PASSED),
        help="""
        Environment variables of the service that uv and rattler get, as names or patterns: package indexes,
        certificates, proxies. Steps that run untrusted code don't get variables that hold
        credentials. Default: uv's settings for these, and the usual proxy variables.
        """,
    ).tag(config=True)

    @default("environments_root")
    def _default_environments_root(self) -> str:
        return str(user_state_path("jupyterhub-binder") / "environments")

    @default("base_packages")
    def _default_base_packages(self) -> list[str]:
        hub = Version(version("jupyterhub"))
        # A development version is on no index: the newest release is the nearest.
        pin = "jupyterhub" if hub.is_devrelease or hub.local else f"jupyterhub=={hub}"
        return [pin, "jupyterlab>=4,<5", "notebook>=7,<8", "pip"]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._interpreters: dict[str, Interpreter] = {}
        self._can_clone = False
        self._sandbox: Sandbox | None = None
        self._why_no_sandbox: str | None = MISSING
        self._pods: BuildPods | None = None
        self._conda = CondaChannels(parent=self)
        self._folders = Folders(Path(self.environments_root).absolute())

    @observe("environments_root")
    def _root_changed(self, _: object) -> None:
        self._folders = Folders(Path(self.environments_root).absolute())

    async def start(self) -> None:
        """Find interpreters and the sandbox; set aside leftovers of a killed service."""
        try:
            await asyncio.to_thread(self._folders.ensure)
        except OSError as error:
            raise ConfigurationError(
                f"VenvBackend.environments_root: can't use {self.environments_root} "
                f"({error.strerror})."
            ) from error
        self._conda.check()
        self._can_clone = await asyncio.to_thread(can_clone, self._folders.building)
        self._interpreters, _ = await asyncio.gather(find_pythons(self.pythons), self._find_place())
        if self.default_python not in self._interpreters:
            raise ConfigurationError(
                f"VenvBackend.default_python: Python {self.default_python} is not available. "
                f"Choose one of {', '.join(self._interpreters)}."
            )
        if self._why_no_sandbox:
            self.log.warning("%s", self._why_no_sandbox)
        for name in await asyncio.to_thread(self._folders.sweep):
            self.log.info("Leftovers of an earlier build are being removed: %s", name)
        if os.geteuid() == 0:
            await asyncio.to_thread(self._warn_of_closed_folders)

    async def _find_place(self) -> None:
        """Find out where untrusted steps run."""
        if self.where == "local":
            self._sandbox, self._why_no_sandbox = await Sandbox.find()
            return
        if list(self.build_hosts) != ["*"]:
            raise ConfigurationError(
                "VenvBackend.build_hosts does not work with VenvBackend.where='kubernetes'. Change "
                "the NetworkPolicy of pods for builds instead."
            )
        if self.session is None:
            raise ValueError("the backend needs a session")
        self._why_no_sandbox = None
        self._pods = BuildPods(parent=self)
        await self._pods.start(self._folders.root, self.session)

    async def stop(self) -> None:
        """Release everything. Idempotent."""
        if self._pods is not None:
            await self._pods.stop()

    def _warn_of_closed_folders(self) -> None:
        paths = [self._folders.root / "x", *(one.program for one in self._interpreters.values())]
        for path in paths:
            if closed := closed_folder(path):
                self.log.warning(
                    "Other users can't open %s, so only servers that run as root can use "
                    "environments in %s",
                    closed,
                    path,
                )

    def fingerprint(self) -> str:
        """Return what decides an environment besides its repository."""
        decides = {
            "layout": _LAYOUT,
            "python": self.default_python,
            "base": list(self.base_packages),
            "constraints": list(self.constraints),
            "network": self.build_network,
        }
        if self._conda.offer().why_not() is None:
            decides["conda"] = self._conda.fingerprint()
        return f"venv {json.dumps(decides, sort_keys=True)}"

    def clean_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options `lock` and `python`. Raises InvalidInput."""
        known = (OPTION, PYTHON_OPTION)
        super().clean_options({name: each for name, each in options.items() if name not in known})
        found = {OPTION: clean_lock(options[OPTION])} if OPTION in options else {}
        return found | self._clean_python(options)

    def _clean_python(self, options: Mapping[str, Any]) -> dict[str, Any]:
        if PYTHON_OPTION not in options:
            return {}
        # Whether a repository's Python comes from a channel is known only with its files.
        offer = self._offer()
        channels = offer.for_conda().pythons if plan.can_conda(offer) else ()
        offered = plan.in_order({*offer.pythons, *channels})
        if options[PYTHON_OPTION] not in offered:
            raise InvalidInput(
                "This hub has no Python %(asked)s. It has %(known)s.",
                asked=str(options[PYTHON_OPTION])[:20],
                known=", ".join(offered),
            )
        if OPTION in options:
            raise InvalidInput("The option 'lock' names a Python already.")
        return {PYTHON_OPTION: options[PYTHON_OPTION]}

    def pythons_of(self, recipe: Recipe, options: Mapping[str, Any]) -> Pythons:
        """Return the interpreter of a recipe, and all interpreters."""
        offer = self._offer()
        made, _ = plan.make_plan(plan.with_python(recipe, options), offer, lock_of(options))
        offered = offer.pythons if made.conda is None else offer.conda.pythons
        return Pythons(made.python, plan.in_order(offered))

    def fits(self, recipe: Recipe) -> str:
        """Return what a recipe that it serves consists of."""
        if recipe.conda:
            return Message("Python and conda packages only")
        return Message("Python packages only")

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return what is installed, what runs, and what is not supported."""
        return plan.assess(plan.with_python(recipe, options), self._offer(), lock_of(options))

    def reuse(self, recipe: Recipe, options: Mapping[str, Any]) -> Reuse:
        """Return whether builds with the same recipe may share an environment."""
        return plan.reuse(plan.with_python(recipe, options), self._offer(), lock_of(options))

    def _offer(self) -> Offer:
        isolated = self._sandbox is not None or self._pods is not None
        runs_code = isolated or self.allow_unsandboxed
        return Offer(
            pythons={minor: str(one.program) for minor, one in self._interpreters.items()}
            or {self.default_python: ""},
            default_python=self.default_python,
            versions={minor: one.version for minor, one in self._interpreters.items()},
            runs_code=runs_code,
            why_not=""
            if runs_code
            else Message("For the administrator: %(why)s", why=self._why_no_sandbox),
            network=self.build_network,
            policy=Policy(
                index_urls=tuple(self.allowed_indexes),
                own_indexes=tuple(index_urls(self._uv_environment())),
                url_hosts=tuple(self.allowed_url_hosts),
            ),
            constraints=tuple(self.constraints),
            isolated=isolated,
            conda=self._conda.offer(),
        )

    def _uv_environment(self) -> dict[str, str]:
        return uv_environment(os.environ, self.passed_environment)

    async def find_image(self, key: str) -> str | None:
        """Return `venv:<key>` if the environment is complete, or None."""
        found = await asyncio.to_thread(self._folders.find, key)
        return f"{PREFIX}{key}" if found else None

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Build in a workspace, then rename."""
        making = VenvBuild(job, self._folders, self._settings())
        outputs = making.outputs()
        try:
            async for output in outputs:
                yield output
        except OSError as error:
            self.log.exception("Build %s could not continue", job.build.id)
            raise BuildFailed(
                "The service could not continue the build (%(why)s). Tell your administrator.",
                why=error.strerror or Message("error"),
            ) from error
        finally:
            await outputs.aclose()

    async def keep_files(self, build: Build, checkout: Path) -> None:
        """Keep the files beside the environments; clean-up removes them like one."""
        try:
            await asyncio.to_thread(self._folders.keep_files, build.key, build.id, checkout)
        except OSError as error:
            self.log.warning("Can't keep the files of %s: %s", build.label, error)

    @property
    def _wheels(self) -> WheelCaches:
        return WheelCaches(self._folders.wheels, _find_uv())

    async def has_files(self, key: str) -> bool:
        """Return whether files are kept under a key."""
        return await asyncio.to_thread((self._folders.environment(key) / "repo").is_dir)

    def _settings(self) -> VenvSettings:
        passed = self._uv_environment()
        return VenvSettings(
            uv=_find_uv(),
            uv_environment=passed,
            interpreters=self._interpreters,
            offer=self._offer(),
            sandbox=self._sandbox,
            base_packages=tuple(self.base_packages),
            constraints=tuple(self.constraints),
            smoke_test=tuple(self.smoke_test),
            wheels=self._wheels,
            link_mode=self.link_mode,
            can_clone=self._can_clone,
            servers_cannot_write=self.servers_cannot_write,
            egress=Egress([*self.build_hosts, *index_hosts(passed)], self.log),
            build_network=self.build_network,
            max_image_bytes=self.max_image_bytes,
            max_memory_bytes=self.max_memory_bytes,
            pods=self._pods,
            conda=self._conda.settings(one_machine=self.where == "local"),
            conda_cache=self._folders.conda,
        )

    async def delete_image(self, image: str) -> None:
        """Remove an environment. Idempotent."""
        if image.startswith(PREFIX):
            folder = self._folders.environment(image.removeprefix(PREFIX))
            await asyncio.to_thread(self._folders.discard, folder)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return finished environments; they are in use while their programs run."""
        return await asyncio.to_thread(list_kept, self._folders.root)

    async def fetch_cache_bytes(self) -> int:
        """Return the disk space of the cache of packages, shared files included."""
        return await asyncio.to_thread(fetch_cache_bytes, self._folders)

    async def trim_cache(self, wanted_bytes: int) -> int:
        """Remove wheels and conda packages that no recent build used."""
        freed = await asyncio.to_thread(self._wheels.trim, wanted_bytes)
        if freed < wanted_bytes:
            freed += await asyncio.to_thread(trim, self._folders.conda, wanted_bytes - freed)
        return freed

    async def health(self) -> str | None:
        """Return None if environments can be made, else what to do."""
        if not os.access(self._folders.root, os.W_OK):
            return f"The folder {self._folders.root} is not writable."
        if not self._interpreters:
            return "No Python interpreter was found. Set VenvBackend.pythons."
        return await self._pods.health() if self._pods is not None else None


def _find_uv() -> Path:
    return Path(uv.find_uv_bin()).absolute()
