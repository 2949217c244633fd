"""What a repository asks of conda, as far as an installation needs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CondaPackage:
    """One file of a channel, as a lock names it."""

    name: str
    version: str
    url: str
    sha256: str
    """64 hex digits; empty if the lock has none."""
    platform: str
    """Such as ``linux-64`` or ``noarch``."""


@dataclass(frozen=True, slots=True)
class CondaFile:
    """A configuration file with conda packages."""

    path: str
    channels: tuple[str, ...] = ()
    """As written, the first one first."""
    specs: tuple[str, ...] = ()
    """What to install, as written, Python among it."""
    variables: tuple[tuple[str, str], ...] = ()
    """Environment variables of servers."""
    only_for: tuple[str, ...] = ()
    """The platforms of a file that leaves versions open; empty for all."""
    platforms: tuple[str, ...] | None = None
    """The platforms of a lock; None for a file that leaves versions open."""
    packages: tuple[CondaPackage, ...] = ()
    """What a lock installs, on all its platforms."""
    pip: tuple[tuple[str, str], ...] = ()
    """What it installs from PyPI: the platform, and a line of pip's format with a checksum."""

    @property
    def is_lock(self) -> bool:
        """Whether the file names each package in one version."""
        return self.platforms is not None
