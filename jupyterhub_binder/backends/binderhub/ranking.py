"""Chooses the BinderHub for a repository. Pure.

Rendezvous hashing gives each repository its own order of hosts. Caches stay warm, and a new or
removed host moves only its own repositories.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """A host that can be chosen."""

    name: str
    weight: float


W = TypeVar("W", bound=Weighted)


def rank(hosts: Sequence[W], repository: str) -> list[W]:
    """Return hosts in order of preference; weight 0 comes last.

    `repository` has no ref, so all its commits go to one host.
    """
    return sorted(hosts, key=lambda host: (-score(host, repository), host.name))


def score(host: Weighted, repository: str) -> float:
    """Return a host's score; the share of repositories follows the weight."""
    text = f"{host.name}\n{repository.lower()}".encode()
    # 52 bits, so that the fraction is exact and never 0 or 1.
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 12
    return host.weight / -math.log((number + 0.5) / 2**52)
