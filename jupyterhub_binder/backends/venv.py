"""The embedded default: environments made with uv in a folder; needs no container engine.

Holds the configuration and meets the contract. What to build is `venv_plan`'s, building it
`venv_build`'s, the folders `venv_image`'s.
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

from jupyterhub_binder.backends import venv_plan
from jupyterhub_binder.backends.base import BuildBackend, KeptImage
from jupyterhub_binder.backends.egress import Egress
from jupyterhub_binder.backends.sandbox import MISSING, Sandbox
from jupyterhub_binder.backends.venv_build import Making
from jupyterhub_binder.backends.venv_image import PREFIX, Folders
from jupyterhub_binder.backends.venv_kept import list_kept
from jupyterhub_binder.backends.venv_plan import Offer
from jupyterhub_binder.backends.venv_pythons import OWN, closed_folder, find_pythons
from jupyterhub_binder.backends.venv_requirements import Policy
from jupyterhub_binder.backends.venv_steps import Interpreter, Settings
from jupyterhub_binder.backends.venv_uv import PASSED, index_hosts, uv_environment
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import Assessment, BackendOutput, BuildJob, Recipe

_LAYOUT = 1
"""Raised when finished environments look different, so that old ones are not taken for new."""


class VenvBackend(BuildBackend):
    """Virtual environments, made with uv from wheels, read-only when finished."""

    name: ClassVar[str] = "venv"
    description: ClassVar[str] = (
        "Makes Python environments in a folder of this machine; other languages and system "
        "packages need a hub that builds container images."
    )

    environments_root = Unicode(
        help="""The folder of the finished environments, of those being built and of uv's cache,
        all on one file system. People's servers read it: every folder above must let other users
        through. The spawner is told the same. Default: `environments` in the service's state
        folder of this user. For example `/srv/jupyterhub-binder/environments`.""",
    ).tag(config=True)

    pythons = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""Interpreters that repositories may ask for, by minor version:
        `{"3.12": "/usr/bin/python3.12"}`. Other users must be able to run them. Default: empty,
        the service's own and every `python3.N` on the PATH that works.""",
    ).tag(config=True)

    default_python = Unicode(
        OWN,
        help="""The version for a repository that asks for none; one of `pythons`. Default: that
        of the service's own interpreter.""",
    ).tag(config=True)

    base_packages = List(
        Unicode(),
        help="""Requirements that every environment gets, resolved together with the repository's
        own. Default: the single-user server of the hub's version, JupyterLab, Notebook and pip.
        Without `jupyterhub` no server starts.""",
    ).tag(config=True)

    constraints = List(
        Unicode(),
        help="""Constraints as pip's `-c` takes them, for all environments: what may not be newer
        or older, should it be installed. Default: none. For example `["numpy<3"]`.""",
    ).tag(config=True)

    smoke_test = List(
        Unicode(),
        ["jupyterhub-singleuser", "--version"],
        help="""A program of a new environment, with arguments, that must succeed before it counts
        as built; it runs in the sandbox, or not at all where there is none. Default:
        `jupyterhub-singleuser --version`. Empty: no test.""",
    ).tag(config=True)

    allow_unsandboxed = Bool(
        False,
        help="""Whether a repository's own code (setup.py of source distributions, postBuild) may
        run **without** a sandbox, as the service's user, where bubblewrap does not work. It can
        then read and change all that the service can, its database and every environment among
        it: only where everybody who builds is trusted. Default: False, such builds are refused.""",
    ).tag(config=True)

    build_network = Bool(
        False,
        help="""Whether postBuild may download from `build_hosts`. Default: False, it has no
        network at all. Source distributions always may.""",
    ).tag(config=True)

    build_hosts = List(
        Unicode(),
        ["*"],
        help="""Hosts that sandboxed steps may reach over https, besides those of the package
        indexes that the service itself is configured with. `*` stands for every host with
        public addresses only; the local network is reached only by a host's own name. Default:
        `*`, as on a BinderHub. To narrow it, name your index's hosts and, for requirements from
        git, `github.com` and `codeload.github.com`.""",
    ).tag(config=True)

    allowed_indexes = List(
        Unicode(),
        list(Policy().index_urls),
        help="""Beginnings of package indexes that a requirements.txt may add with
        `--extra-index-url`. Default: PyTorch's.""",
    ).tag(config=True)

    allowed_url_hosts = List(
        Unicode(),
        list(Policy().url_hosts),
        help="""Hosts from which a requirement may name a file or a git repository directly.
        Default: GitHub and GitLab.""",
    ).tag(config=True)

    link_mode = Enum(
        ["copy", "clone"],
        "copy",
        help="""How packages come out of uv's cache. `clone` is as safe as `copy`, and faster, on
        btrfs, XFS and APFS. Hard links are not offered: through one, whoever can write to a file
        of one environment changes all others and the cache. Default: `copy`.""",
    ).tag(config=True)

    max_image_bytes = Int(
        10 * 2**30,
        min=0,
        help="""The most bytes that an environment may take. A build that goes over it is ended.
        Default: 10 GiB. 0: no limit.""",
    ).tag(config=True)

    max_memory_bytes = Int(
        16 * 2**30,
        min=0,
        help="""The most bytes of address space for each process of a build; more than it uses
        of memory. For a limit on a build as a whole run the service in a cgroup. Default:
        16 GiB. 0: no limit.""",
    ).tag(config=True)

    passed_environment = List(
        Unicode(),
        list(PASSED),
        help="""What of the service's own environment uv is given, by name or pattern: package
        indexes, certificates, proxies. Untrusted steps get none that holds credentials.
        Default: uv's settings of these, and the usual variables of proxies.""",
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
        self._sandbox: Sandbox | None = None
        self._why_no_sandbox: str | None = MISSING
        self._folders = Folders(Path(self.environments_root).absolute())

    @observe("environments_root")
    def _root_changed(self, _: object) -> None:
        self._folders = Folders(Path(self.environments_root).absolute())

    async def start(self) -> None:
        """Find interpreters and the sandbox; remove what builds of a killed service left."""
        try:
            await asyncio.to_thread(self._folders.ensure)
        except OSError as error:
            raise ConfigurationError(
                f"VenvBackend.environments_root: {self.environments_root} cannot be used "
                f"({error.strerror})."
            ) from error
        self._interpreters = await find_pythons(self.pythons)
        if self.default_python not in self._interpreters:
            raise ConfigurationError(
                f"VenvBackend.default_python: there is no Python {self.default_python} among "
                f"{', '.join(self._interpreters)}."
            )
        self._sandbox, self._why_no_sandbox = await Sandbox.find()
        if self._why_no_sandbox:
            self.log.warning("%s", self._why_no_sandbox)
        for name in await asyncio.to_thread(self._folders.sweep):
            self.log.info("Removed what an earlier build left: %s", name)
        if os.geteuid() == 0:
            await asyncio.to_thread(self._warn_of_closed_folders)

    def _warn_of_closed_folders(self) -> None:
        paths = [self._folders.root / "x", *(one.program for one in self._interpreters.values())]
        for path in paths:
            if closed := closed_folder(path):
                self.log.warning(
                    "Other users cannot enter %s, so only root's servers can run from %s",
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
        return f"venv {json.dumps(decides, sort_keys=True)}"

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Say what is installed, what runs, and what this backend cannot serve."""
        return venv_plan.assess(recipe, self._offer())

    def _offer(self) -> Offer:
        runs_code = self._sandbox is not None or self.allow_unsandboxed
        return Offer(
            pythons={minor: str(one.program) for minor, one in self._interpreters.items()}
            or {self.default_python: ""},
            default_python=self.default_python,
            runs_code=runs_code,
            why_not="" if runs_code else f"The hub's admin: {self._why_no_sandbox}",
            network=self.build_network,
            policy=Policy(tuple(self.allowed_indexes), tuple(self.allowed_url_hosts)),
        )

    async def find_image(self, key: str) -> str | None:
        """Return `venv:<key>` if the environment is there and whole."""
        found = await asyncio.to_thread(self._folders.find, key)
        return f"{PREFIX}{key}" if found else None

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Make the environment beside the finished ones, and rename it into place."""
        making = Making(job, self._folders, self._settings())
        outputs = making.outputs()
        try:
            async for output in outputs:
                yield output
        except OSError as error:
            self.log.exception("Build %s could not go on", job.build.id)
            raise BuildFailed(
                f"The service could not go on with the build ({error.strerror or 'error'})."
            ) from error
        finally:
            await outputs.aclose()

    def _settings(self) -> Settings:
        passed = uv_environment(os.environ, self.passed_environment, cache=self._folders.cache)
        return Settings(
            uv=Path(uv.find_uv_bin()).absolute(),
            uv_environment=passed,
            interpreters=self._interpreters,
            offer=self._offer(),
            sandbox=self._sandbox,
            base_packages=tuple(self.base_packages),
            constraints=tuple(self.constraints),
            smoke_test=tuple(self.smoke_test),
            link_mode=self.link_mode,
            egress=Egress([*self.build_hosts, *index_hosts(passed)], self.log),
            build_network=self.build_network,
            max_image_bytes=self.max_image_bytes,
            max_memory_bytes=self.max_memory_bytes,
        )

    async def delete_image(self, image: str) -> None:
        """Remove an environment; one that is gone is success."""
        if image.startswith(PREFIX):
            folder = self._folders.environment(image.removeprefix(PREFIX))
            await asyncio.to_thread(self._folders.discard, folder)

    async def list_images(self) -> tuple[KeptImage, ...]:
        """Return the finished environments; those are in use whose programs run."""
        return await asyncio.to_thread(list_kept, self._folders.root)

    async def health(self) -> str | None:
        """Return None if environments can be made, else what to do."""
        if not os.access(self._folders.root, os.W_OK):
            return f"The folder {self._folders.root} cannot be written to."
        if not self._interpreters:
            return "No Python interpreter was found; set VenvBackend.pythons."
        return None
