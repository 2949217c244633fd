"""What the service says an environment is, as the hub's side reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """What the service says an environment is."""

    id: str
    name: str
    state: str
    build_id: str | None
    image: str | None
    content: str
    directory: str
    path: str
    repo_url: str
    resolved_ref: str
    ref_url: str = ""
    """Where a person reads the repository as it was built."""
    request: str = ""
    """``v2/gh/org/name/main``: the link that asks for it, below the service's address."""
    persistent_request: str = ""
    """The same at the resolved ref, whose content never changes."""
    content_url: str = ""
    """Where git fetches the files; empty where they are no git repository's."""
    content_ref: str = ""
    """The branch, tag or commit that they follow."""
    content_elsewhere: bool = False
    """Whether the files are another repository's than the image's own."""
    client_ip: str = ""
    """Who asked the service to launch it; empty where nobody did, and the hub was asked."""

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> EnvironmentSpec:
        """Read the service's answer. Raises KeyError where it is none."""
        return cls(
            id=answer["environment_id"],
            name=answer["environment_name"],
            state=answer["state"],
            build_id=answer["build_id"],
            image=answer["image"],
            content=answer["content"],
            directory=answer["directory"],
            path=answer["path"],
            repo_url=answer["repo_url"],
            resolved_ref=answer["resolved_ref"],
            ref_url=answer.get("ref_url", ""),
            request=answer.get("request", ""),
            persistent_request=answer.get("persistent_request", ""),
            content_url=answer.get("content_url", ""),
            content_ref=answer.get("content_ref", ""),
            content_elsewhere=answer.get("content_elsewhere", False),
            client_ip=answer.get("client_ip", ""),
        )
