"""Which of several BinderHubs makes a repository's images; pure.

Rendezvous hashing: every repository has an order of all hosts of its own, so that its caches
stay warm, and a host that comes or goes moves no repository but its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """What can be chosen."""

    name: str
    weight: float


W = TypeVar("W", bound=Weighted)


def rank(hosts: Sequence[W], repository: str) -> list[W]:
    """Return the hosts in a repository's order of preference; weight 0 comes last.

    `repository` is without its ref, so that all its commits go to one host.
    """
    return sorted(hosts, key=lambda host: (-score(host, repository), host.name))


def score(host: Weighted, repository: str) -> float:
    """Return how much a host is preferred: its share of repositories is as its weight."""
    text = f"{host.name}\n{repository.lower()}".encode()
    # 52 bits, so that the fraction is exact and never 0 or 1.
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 12
    return host.weight / -math.log((number + 0.5) / 2**52)
