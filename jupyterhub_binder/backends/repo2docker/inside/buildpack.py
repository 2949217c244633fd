"""A repo2docker build pack without conda: Python packages with uv on Debian.

It supports requirements.txt, setup.py, pyproject.toml, apt.txt, postBuild and start. It runs in
repo2docker's process if `Repo2DockerBackend.buildpack` is ``debian``.
"""

from __future__ import annotations

import os
import shlex
from functools import lru_cache
from typing import ClassVar

from repo2docker.buildpacks.base import BaseImage
from repo2docker.buildpacks.python import PythonBuildPack

_PREFIX = "/srv/venv"
Scripts = list[tuple[str, str]]

_MAKE = rf"""
install -d -o ${{NB_USER}} -g ${{NB_USER}} {_PREFIX} && \
echo 'export PATH="{_PREFIX}/bin:$HOME/.local/bin:$PATH"' > /etc/profile.d/binder-venv.sh
"""
# Links to the files of a cache that goes with the step: nothing else has them, and no copy is made.
_UV = f"{_PREFIX}/bin/uv pip install --python {_PREFIX}/bin/python --no-cache --link-mode hardlink"


class DebianBuildPack(PythonBuildPack):
    """One virtual environment for server and packages."""

    requirements: ClassVar[list[str]] = ["jupyterhub", "jupyterlab>=4,<5", "notebook>=7,<8"]
    """The packages of every environment; set by the service."""

    @property
    def python_version(self) -> str:
        """Return the base image's version."""
        return ""

    @property
    def separate_kernel_env(self) -> bool:
        """Return False: kernel and server share an environment."""
        return False

    @lru_cache  # noqa: B019 - as in every build pack: one is made a build
    def get_build_env(self) -> Scripts:
        """Return the variables that repo2docker's Python build pack sets."""
        return [
            *BaseImage.get_build_env(self),
            ("NB_PYTHON_PREFIX", _PREFIX),
            ("KERNEL_PYTHON_PREFIX", _PREFIX),
            ("VIRTUAL_ENV", _PREFIX),
            ("UV_LINK_MODE", "copy"),
            # A site's own certificates are where the base image's system keeps them.
            ("UV_SYSTEM_CERTS", "true"),
        ]

    @lru_cache  # noqa: B019
    def get_env(self) -> Scripts:
        """Return no variables beyond the build's."""
        return []

    @lru_cache  # noqa: B019
    def get_path(self) -> list[str]:
        """Return the folder of the environment's programs."""
        return [f"{_PREFIX}/bin"]

    @lru_cache  # noqa: B019
    def get_build_script_files(self) -> dict[str, str]:
        """Return no files."""
        return {}

    @lru_cache  # noqa: B019
    def get_build_scripts(self) -> Scripts:
        """Return the script that creates the environment; the same for all, so cached."""
        wanted = shlex.join(self.requirements)
        return [
            ("root", _MAKE),
            (
                "${NB_USER}",
                rf"""
                python3 -m venv {_PREFIX} && \
                {_PREFIX}/bin/pip install --quiet --no-cache-dir uv && \
                {_UV} --compile-bytecode {wanted}
                """,
            ),
        ]

    @lru_cache  # noqa: B019
    def get_preassemble_script_files(self) -> dict[str, str]:
        """Return the files that list packages."""
        path = self.binder_path("requirements.txt")
        return {path: path} if os.path.exists(path) else {}  # noqa: PTH110

    def _get_pip_scripts(self) -> Scripts:
        path = self.binder_path("requirements.txt")
        if not os.path.exists(path):  # noqa: PTH110
            return []
        return [("${NB_USER}", f'{_UV} -r "{path}"')]

    @lru_cache  # noqa: B019
    def get_preassemble_scripts(self) -> Scripts:
        """Return what runs before the repository is copied: apt and listed packages."""
        scripts = BaseImage.get_preassemble_scripts(self)
        return [*scripts, *self._get_pip_scripts()] if self._should_preassemble_pip else scripts

    @lru_cache  # noqa: B019
    def get_assemble_scripts(self) -> Scripts:
        """Return what needs the repository's files."""
        scripts = [] if self._should_preassemble_pip else self._get_pip_scripts()
        if self._is_python_package():
            scripts.append(("${NB_USER}", f"{_UV} ."))
        return scripts

    def detect(self) -> bool:
        """Return True: any repository gets at least the server."""
        return True
