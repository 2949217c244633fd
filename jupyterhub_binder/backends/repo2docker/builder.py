"""The builders of container engines: shared by the service and repo2docker's process."""

from __future__ import annotations

from enum import StrEnum

ENDED = "The build ended with exit status"
"""Begins `BinderEngine`'s error if the program has already printed the reason."""


class Builder(StrEnum):
    """How a container engine builds."""

    BUILDX = "buildx"
    """Docker's plugin."""
    BUILDKIT = "buildkit"
    """Built into Docker's program before version 23."""
    LEGACY = "legacy"
    """Docker's first builder, for programs without the plugin."""
    PODMAN = "podman"
