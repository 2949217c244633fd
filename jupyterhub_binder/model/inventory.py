"""What a build put into its image, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Package:
    """A package in an image."""

    name: str
    version: str
    source: str = "pip"
    """What manages it: ``pip`` or ``conda``."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in an image, as its backend found it; a backend yields it before the image."""

    packages: tuple[Package, ...]
    lock: str = ""
    """The requirements with their exact versions, in pip's format; empty if there are none."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """What made the image, with versions: ``{"python": "3.12.3", "uv": "0.9.1"}``."""
    digest: str = ""
    """The image's digest; empty for images without one."""


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package with another version."""

    name: str
    source: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two images. All are in order of their names."""

    added: tuple[Package, ...] = ()
    removed: tuple[Package, ...] = ()
    changed: tuple[PackageChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)
