"""Builds on several BinderHubs, with failover.

Each repository has a preferred host. All hosts push to a registry from which the hub's servers can
pull.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from traitlets import Dict, List

from jupyterhub_binder.backends.binderhub.base import RemoteBackend
from jupyterhub_binder.backends.binderhub.client import BinderHubRemote
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.model.text import Message

__all__ = ["FederationBackend"]

_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "url": str,
    "weight": (int, float),
    "token": str,
    "build_token_secret": str,
}


class FederationBackend(RemoteBackend):
    """Builds on several BinderHubs."""

    name: ClassVar[str] = "federation"
    description: ClassVar[str] = Message(
        "Container images, made by repo2docker on several BinderHubs."
    )

    members = List(
        Dict(),
        help="""
        The BinderHubs. Each has a `url`, and optionally a `name` for the pages (default: its host),
        a `weight` (default 1; 2 gets twice as many repositories, 0 only those that no other one can
        build), a `token` and a `build_token_secret`. For example `[{"url": "http://binder-a/"},
        {"url": "http://binder-b/", "weight": 0.5}]`. No default.
        """,
    ).tag(config=True)

    def _remotes(self) -> Iterable[tuple[BinderHubRemote, float]]:
        if not self.members:
            raise ConfigurationError("FederationBackend.members names no BinderHub.")
        taken: set[str] = set()
        for number, member in enumerate(self.members):
            trait = f"FederationBackend.members[{number}]"
            _check(member, trait)
            remote = self._remote(
                "",
                member.get("url", ""),
                trait=f"{trait}['url']",
                token=member.get("token", ""),
                secret=member.get("build_token_secret", ""),
            )
            name = member.get("name") or remote.url.host_port_subcomponent or ""
            if name in taken:
                raise ConfigurationError(f"{trait} has two members called {name!r}.")
            taken.add(name)
            yield remote.called(name), float(member.get("weight", 1))


def _check(member: Mapping[str, Any], trait: str) -> None:
    """Raise ConfigurationError for an unknown key or a bad value."""
    for key, value in member.items():
        kind = _KEYS.get(key)
        if kind is None:
            raise ConfigurationError(
                f"{trait} has an unknown key, {key!r}. Known keys: {', '.join(_KEYS)}."
            )
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigurationError(f"{trait}[{key!r}] has the wrong type.")
    if not 0 <= member.get("weight", 1) < math.inf:
        raise ConfigurationError(f"{trait}['weight'] must be 0 or more, and finite.")
