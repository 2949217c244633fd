"""How an engine's program builds: what the service and repo2docker's process both speak of."""

from __future__ import annotations

from enum import StrEnum

ENDED = "The build ended with exit status"
"""What `BinderEngine` says where the engine's program has told the reason before."""


class Builder(StrEnum):
    """How an engine's program builds."""

    BUILDX = "buildx"
    """Docker's plugin."""
    BUILDKIT = "buildkit"
    """What was in Docker's program itself before version 23."""
    LEGACY = "legacy"
    """Docker's first builder, for programs without the plugin."""
    PODMAN = "podman"
