"""The options for conda packages."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from packaging.version import Version
from traitlets import Bool, Dict, Enum, Int, List, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.backends.venv.conda.channels import Channels, channels_of
from jupyterhub_binder.backends.venv.conda.choice import CondaOffer, CondaSettings
from jupyterhub_binder.errors import ConfigurationError

_PLATFORMS = {
    ("Linux", "x86_64"): "linux-64",
    ("Linux", "aarch64"): "linux-aarch64",
    ("Linux", "ppc64le"): "linux-ppc64le",
    ("Darwin", "x86_64"): "osx-64",
    ("Darwin", "arm64"): "osx-arm64",
}


@cache
def _has_rattler() -> bool:
    return find_spec("rattler") is not None


class CondaChannels(LoggingConfigurable):
    """conda packages in the environments of the `venv` backend, by rattler."""

    channels = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        The channels that repositories may use: by name, the URL from which the hub gets them. For a
        mirror, give its URL: packages of a lock that name the public channel come from the mirror
        too. Default: conda-forge. Empty: no conda packages. For example `{"conda-forge":
        "https://conda.anaconda.org/conda-forge", "bioconda": "https://conda.anaconda.org/bioconda"}`.
        """,
    ).tag(config=True)

    default_channels = List(
        Unicode(),
        help="""
        Names of the channels for files that name none, the first one first. Default: the first of
        `channels`.
        """,
    ).tag(config=True)

    channel_order = Enum(
        ["repository", "hub"],
        "repository",
        help="""
        Which order of channels decides: that of the repository's file, or that of `channels`.
        Default: `repository`.
        """,
    ).tag(config=True)

    channel_priority = Enum(
        ["strict", "disabled"],
        "strict",
        help="""
        `strict`: a package comes only from the first channel that has it, in any version.
        `disabled`: the newest version of all channels counts. Default: `strict`.
        """,
    ).tag(config=True)

    base_packages = List(
        Unicode(),
        help="""
        conda packages that every environment with conda packages gets for its server, chosen
        together with those of the repository and from its channels, or else `default_channels`.
        Default: the single-user server in the hub's version, JupyterLab, Notebook and pip.
        """,
    ).tag(config=True)

    pythons = List(
        Unicode(),
        ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"],
        help="""
        Minor versions of Python that repositories with conda packages can have. Python itself comes
        from the channel. If a repository asks for none, `VenvBackend.default_python` is tried
        first. Default: 3.9 to 3.14.
        """,
    ).tag(config=True)

    run_link_scripts = Bool(
        False,
        help="""
        Run the scripts that some packages have for the end of their installation (post-link). They
        run in the sandbox, without network. Default: False; the build's log names the packages whose
        scripts did not run.
        """,
    ).tag(config=True)

    virtual_packages = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        Properties of the machines that run servers, in place of those that are found on this one:
        `__glibc`, `__linux`, `__archspec`, `__cuda`, with their versions. Empty text: servers lack
        it. Default: those of this machine, but on Kubernetes `__archspec` is a baseline processor. For
        example `{"__cuda": "12.4", "__archspec": "x86_64_v3"}`.
        """,
    ).tag(config=True)

    max_packages = Int(
        1000, min=1, help="Maximum number of conda packages in an environment. Default: 1000."
    ).tag(config=True)

    max_download_bytes = Int(
        5 * 2**30,
        min=1,
        help="Maximum size of an environment's compressed conda packages in bytes. Default: 5 GiB.",
    ).tag(config=True)

    solve_seconds = Int(
        300,
        min=1,
        help="""
        Time limit for choosing versions of conda packages, in seconds, without the time to download
        the channels' lists. Default: 300.
        """,
    ).tag(config=True)

    @default("channels")
    def _default_channels(self) -> dict[str, str]:
        return {"conda-forge": "https://conda.anaconda.org/conda-forge"}

    @default("default_channels")
    def _default_default_channels(self) -> list[str]:
        return list(self.channels)[:1]

    @default("base_packages")
    def _default_base_packages(self) -> list[str]:
        hub = Version(version("jupyterhub"))
        pin = "" if hub.is_devrelease or hub.local else f" =={hub}"
        return [f"jupyterhub-singleuser{pin}", "jupyterlab >=4,<5", "notebook >=7,<8", "pip"]

    def check(self) -> None:
        """Raise ConfigurationError for channels that can't be used."""
        for name, url in self.channels.items():
            parts = urlsplit(url)
            if parts.scheme not in ("https", "http", "file") or not (parts.netloc or parts.path):
                raise ConfigurationError(
                    f"CondaChannels.channels: {name} must have a URL that begins with https://."
                )
            if "@" in parts.netloc or parts.path.startswith("/t/"):
                raise ConfigurationError(
                    f"CondaChannels.channels: the URL of {name} must not contain credentials, "
                    "because locks name it. Put them into the file that RATTLER_AUTH_FILE names."
                )
        for name in self.default_channels:
            if name not in self.channels:
                raise ConfigurationError(
                    f"CondaChannels.default_channels: {name} is not one of CondaChannels.channels."
                )

    def offer(self) -> CondaOffer:
        """Return what repositories can have. Reads memory."""
        return CondaOffer(
            channels=self._channels(),
            platform=_PLATFORMS.get((platform.system(), platform.machine()), ""),
            pythons=tuple(self.pythons),
            installed=_has_rattler(),
        )

    def settings(self, *, one_machine: bool) -> CondaSettings:
        """Return how a build installs them."""
        return CondaSettings(
            base_packages=tuple(self.base_packages),
            strict=self.channel_priority == "strict",
            run_link_scripts=self.run_link_scripts,
            virtual_packages=dict(self.virtual_packages),
            one_machine=one_machine,
            max_packages=self.max_packages,
            max_download_bytes=self.max_download_bytes,
            solve_seconds=self.solve_seconds,
        )

    def fingerprint(self) -> dict[str, Any]:
        """Return what decides an environment besides its repository."""
        return {
            "channels": dict(self.channels),
            "default": list(self.default_channels),
            "order": self.channel_order,
            "priority": self.channel_priority,
            "base": list(self.base_packages),
            "scripts": self.run_link_scripts,
            "virtual": dict(self.virtual_packages),
        }

    def _channels(self) -> Channels:
        own = self.channel_order == "hub"
        return channels_of(self.channels, self.default_channels, own_order=own)
