"""Says whether network policies let one pod or address speak to another, as Kubernetes would.

What it knows of policies is what this chart uses: selectors by labels, blocks of addresses, ports by
number and by name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod, or with no labels an address outside."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_pod(self) -> bool:
        """Say whether policies can be about it."""
        return bool(self.namespace)


def allowed(
    policies: Iterable[Policy], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Say whether a connection is let out, and in."""
    policies = list(policies)
    out = _rules(policies, source, "Egress")
    come = _rules(policies, target, "Ingress")
    return _passes(out, "to", target, target, port, protocol) and _passes(
        come, "from", source, target, port, protocol
    )


def _rules(policies: list[Policy], pod: Peer, way: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Return the rules of all policies about a pod; None if there is no policy about it."""
    about = [
        one
        for one in policies
        if pod.is_pod
        and one["metadata"]["namespace"] == pod.namespace
        and way in one["spec"]["policyTypes"]
        and _selects(one["spec"]["podSelector"], pod.labels)
    ]
    if not about:
        return None
    return [
        (one["metadata"]["namespace"], rule)
        for one in about
        for rule in one["spec"].get(way.lower()) or ()
    ]


def _passes(
    rules: list[tuple[str, dict[str, Any]]] | None,
    key: str,
    other: Peer,
    target: Peer,
    port: int,
    protocol: str,
) -> bool:
    if rules is None:
        return True
    return any(
        _at(rule.get("ports"), target, port, protocol)
        and (key not in rule or any(_is(peer, other, namespace) for peer in rule[key]))
        for namespace, rule in rules
    )


def _at(ports: list[dict[str, Any]] | None, target: Peer, port: int, protocol: str) -> bool:
    if not ports:
        return True
    return any(
        one.get("protocol", "TCP") == protocol
        and (target.ports.get(one["port"], one["port"]) == port if "port" in one else True)
        for one in ports
    )


def _is(peer: dict[str, Any], other: Peer, namespace: str) -> bool:
    if "ipBlock" in peer:
        return _within(other.address, peer["ipBlock"])
    if not other.is_pod:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": other.namespace}
        if not _selects(peer["namespaceSelector"], labels):
            return False
    elif other.namespace != namespace:
        return False
    return _selects(peer.get("podSelector") or {}, other.labels)


def _within(address: str, block: dict[str, Any]) -> bool:
    ip = ipaddress.ip_address(address)
    nets = [ipaddress.ip_network(one) for one in block.get("except", ())]
    return ip in ipaddress.ip_network(block["cidr"]) and not any(ip in net for net in nets)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "more than labels: teach the evaluator"
    return (selector.get("matchLabels") or {}).items() <= labels.items()
