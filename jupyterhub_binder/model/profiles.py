"""The resources that a hub offers for a server, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PROFILES_PATH = "binder-profiles"
"""Where the hub says which profiles a person has: below the person's address in its API."""


@dataclass(frozen=True, slots=True)
class ProfileOption:
    """A choice within a profile, such as an amount of memory."""

    name: str
    label: str
    choices: Mapping[str, str]
    """The label of each value."""
    default: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One of KubeSpawner's profiles, as a person sees it."""

    slug: str
    name: str
    description: str = ""
    default: bool = False
    options: tuple[ProfileOption, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileChoice:
    """What a person chose."""

    slug: str = ""
    """Empty: the hub's default."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the profile's options; what is missing has its default."""
