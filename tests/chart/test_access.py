"""Two tables: who may do what to Kubernetes, and who reaches whom; the rendered chart is held to both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kit.chart import ALL, FAKE, VALUES, Manifest, Rendered, containers, render, secret_text
from tests.kit.network_policy import Peer, allowed

every_set = pytest.mark.parametrize("values", ALL.values(), ids=ALL)

# --- Who may do what ------------------------------------------------------------------------------

Rights = set[tuple[str, str, str]]
"""Where it counts (``hub``: the namespace, ``*``: all of the cluster), what, and which verb."""

TABLE: dict[str, Rights] = {
    "service": {
        *(("hub", "pods", verb) for verb in ("get", "list", "watch", "create", "delete")),
        ("hub", "pods/log", "get"),
    },
    "pre-puller": set(),
    "backup": set(),
    "registry": set(),
    "builder": set(),
    "binderhub": {
        *(("hub", "pods", verb) for verb in ("get", "list", "watch", "create", "delete")),
        ("hub", "pods/log", "get"),
    },
    "image-cleaner": {("*", "nodes", "get"), ("*", "nodes", "patch")},
}


def rights(rendered: Rendered, component: str) -> Rights:
    """Return what a component's pod can do with the token that it has; nothing without one."""
    spec = rendered.pod(component)["spec"]
    if not spec["automountServiceAccountToken"]:
        return set()
    account = spec.get("serviceAccountName", "default")
    found: Rights = set()
    for binding in rendered.all("RoleBinding", "ClusterRoleBinding"):
        subject = {"kind": "ServiceAccount", "name": account, "namespace": rendered.namespace}
        if subject in binding["subjects"]:
            found |= granted(rendered, binding)
    return found


def granted(rendered: Rendered, binding: Manifest) -> Rights:
    where = "*" if binding["kind"] == "ClusterRoleBinding" else rendered.namespace
    role = rendered.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
    return {
        (where, "/".join(filter(None, (group, resource))), verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("component", TABLE)
def test_each_part_may_do_what_the_table_says(component: str) -> None:
    folders = component in ("service", "pre-puller")
    values = VALUES["folders" if folders else "everything"]
    assert rights(render(values), component) == TABLE[component]


@every_set
def test_nobody_may_do_more_than_the_table_says(values: dict[str, Any]) -> None:
    rendered = render(values)
    for component, _ in rendered.pods():
        assert rights(rendered, component) <= TABLE[component]
    bound = {
        (kind["roleRef"]["kind"], kind["roleRef"]["name"])
        for kind in rendered.all("RoleBinding", "ClusterRoleBinding")
    }
    assert bound == {
        (one["kind"], one["metadata"]["name"]) for one in rendered.all("Role", "ClusterRole")
    }


@every_set
def test_only_who_needs_a_token_of_kubernetes_has_one(values: dict[str, Any]) -> None:
    rendered = render(values)
    with_token = {
        component
        for component, pod in rendered.pods()
        if pod["spec"]["automountServiceAccountToken"]
    }
    cordon = values.get("imageCleaner", {}).get("threshold", {}).get("cordon")
    folders = values.get("builder", {}).get("type") == "folders"
    allowed_one = {"image-cleaner": cordon, "service": folders, "binderhub": True}
    assert with_token <= {component for component, may in allowed_one.items() if may}
    for account in rendered.all("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_without_cordoning_the_cleaner_asks_nothing_of_the_cluster() -> None:
    rendered = render(VALUES["Podman builds"])
    assert "image-cleaner" in dict(rendered.pods())
    assert not rendered.all("ClusterRole", "ClusterRoleBinding")


# --- Who reaches whom -----------------------------------------------------------------------------


def of_hub(address: str, component: str, **ports: int) -> Peer:
    labels = {"app": "jupyterhub", "release": "jhub", "component": component}
    return Peer(address, labels, "hub", ports)


PEERS = {
    "hub": of_hub("10.42.0.10", "hub", http=8081),
    "proxy": of_hub("10.42.0.11", "proxy", http=8000),
    "person": of_hub("10.42.0.12", "singleuser-server"),
    "build": Peer("10.42.0.20", {"name": "build-x", "component": "binderhub-build"}, "hub"),
    "dns": Peer("10.42.0.2", {"k8s-app": "kube-dns"}, "kube-system"),
    "prometheus": Peer("10.42.0.30", {"app": "prometheus"}, "monitoring"),
    "neighbour": Peer("10.42.0.31", {"app": "shop"}, "shop"),
    "other in hub": Peer("10.42.0.32", {"app": "postgresql"}, "hub"),
    "kubernetes": Peer("192.168.1.2"),
    "node": Peer("192.168.1.3"),
    "metadata": Peer("169.254.169.254"),
    "internet": Peer("93.184.216.34"),
    "internet 6": Peer("2606:2800:220:1::1"),
    "private 6": Peer("fd00::1"),
}


def peers(rendered: Rendered) -> dict[str, Peer]:
    """Return the peers outside the chart, and the chart's own pods."""
    found = dict(PEERS)
    for number, (component, pod) in enumerate(rendered.pods()):
        ports = {
            port["name"]: port["containerPort"]
            for container in containers(pod)
            for port in container.get("ports", ())
        }
        labels = pod["metadata"]["labels"]
        found[component] = Peer(f"10.42.1.{number + 1}", labels, rendered.namespace, ports)
    return found


CONNECTIONS: dict[tuple[str, int], set[str]] = {
    # To whom, at which port: who may.
    ("service", 10101): {"hub", "proxy", "prometheus"},
    ("binderhub", 8585): {"service"},
    ("registry", 5000): {"service", "binderhub", "builder", "node"},
    ("hub", 8081): {"service", "person"},
    ("proxy", 8000): {"person"},
    ("dns", 53): {
        *("service", "backup", "binderhub", "builder", "build", "person", "image-cleaner")
    },
    ("kubernetes", 6443): {"binderhub", "image-cleaner"},
    ("internet", 443): {
        *("service", "backup", "binderhub", "builder", "build", "person", "image-cleaner")
    },
    ("internet 6", 443): {"service", "backup", "binderhub", "builder", "build", "person"},
    ("internet", 22): {"builder", "build", "person"},
    ("internet", 25): set(),
    ("internet", 3333): set(),
    ("private 6", 443): set(),
    ("metadata", 80): set(),
    ("neighbour", 80): set(),
    # Where Kubernetes' API is, the chart does not know: networkPolicy.kubernetesApi.cidrs narrows it.
    ("neighbour", 443): {"binderhub", "image-cleaner"},
    ("other in hub", 5432): set(),
    ("node", 10250): set(),
    ("person", 8888): set(),
    ("builder", 2375): set(),
    ("build", 80): set(),
    ("image-cleaner", 80): set(),
    ("backup", 80): set(),
}

OURS = (
    *("service", "backup", "binderhub", "builder", "build", "person", "registry"),
    "image-cleaner",
)
OUTSIDE = ("neighbour", "prometheus", "node", "internet", "hub", "proxy")
"""Those whose own way out is not this chart's business."""


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return render(VALUES["everything"])


def policies(rendered: Rendered) -> list[Manifest]:
    """Return the network policies, each with the namespace that it is in."""
    return [
        {**one, "metadata": {"namespace": rendered.namespace, **one["metadata"]}}
        for one in rendered.all("NetworkPolicy")
    ]


@pytest.mark.parametrize(("target", "port"), CONNECTIONS, ids=lambda part: str(part))
def test_only_those_of_the_table_get_through(everything: Rendered, target: str, port: int) -> None:
    known = peers(everything)
    names = {*OURS, *(OUTSIDE if target in OURS and target != "person" else ())}
    protocol = "UDP" if port == 53 else "TCP"
    through = {
        name
        for name in names - {target}
        if allowed(policies(everything), known[name], known[target], port, protocol)
    }
    assert through == CONNECTIONS[target, port]


@pytest.mark.parametrize("name", ["build", "builder", "person"])
def test_who_runs_strangers_code_reaches_no_other_address_of_the_cluster(
    everything: Rendered, name: str
) -> None:
    known = peers(everything)
    open_to = {
        "build": {"dns"},
        "builder": {"dns", "registry"},
        "person": {"dns", "hub", "proxy"},
    }[name]
    ports = (22, 53, 80, 443, 2375, 5000, 6443, 8000, 8081, 8585, 8888, 9418, 10101, 10250)
    for other, peer in known.items():
        if other in (name, "internet", "internet 6") or other in open_to:
            continue
        for port in ports:
            assert not allowed(policies(everything), known[name], peer, port), (other, port)


def test_chart_s_policies_are_about_nobody_else(everything: Rendered) -> None:
    known = peers(everything)
    for name in ("hub", "proxy", "other in hub"):
        assert allowed(policies(everything), known[name], known["neighbour"], 9999)
        assert allowed(policies(everything), known["neighbour"], known[name], 9999)


def test_zero_to_jupyterhub_s_policy_lets_the_service_speak_to_the_hub() -> None:
    labels = render(VALUES["to try the pages"]).pod("service")["metadata"]["labels"]
    assert labels["hub.jupyter.org/network-access-hub"] == "true"


def test_a_hub_in_another_namespace_is_found_there() -> None:
    rendered = render(VALUES["a hub in another namespace"])
    service = peers(rendered)["service"]
    there = Peer("10.42.5.1", PEERS["hub"].labels, "people", {"http": 8081})
    assert allowed(policies(rendered), there, service, 10101)
    assert allowed(policies(rendered), service, there, 8081)
    assert not allowed(policies(rendered), PEERS["hub"], service, 10101)
    person = Peer("10.42.5.2", PEERS["person"].labels, "people")
    assert allowed(policies(rendered), person, there, 8081)
    assert not allowed(policies(rendered), person, service, 10101)
    assert not allowed(policies(rendered), person, PEERS["internet"], 25)


def test_a_rule_of_the_admin_s_own_is_added() -> None:
    rendered = render(VALUES["a BinderHub that is there"])
    assert allowed(policies(rendered), peers(rendered)["service"], PEERS["other in hub"], 5432)


def test_a_backup_reaches_a_database_where_the_service_does_and_else_nothing() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "postgresql"}}}]}
    backup = {
        **FAKE,
        "backup": {"enabled": True},
        "networkPolicy": {"service": {"extraEgress": [rule]}},
    }
    secret = {"database": {"existingSecret": {"name": "postgresql"}}}
    for values, targets in ((backup, set()), ({**backup, **secret}, {"dns", "other in hub"})):
        rendered = render(values)
        known = peers(rendered)
        reached = {
            name
            for name in known.keys() - {"backup"}
            for port, protocol in ((53, "UDP"), (5432, "TCP"))
            if allowed(policies(rendered), known["backup"], known[name], port, protocol)
        }
        assert reached == targets


def test_a_registry_at_a_port_of_its_own_is_reached_by_who_pushes_and_looks_up() -> None:
    for registry in (
        {"imagePrefix": "registry.example.org:5443/env-"},
        {"imagePrefix": "registry.example.org/env-", "url": "https://registry.example.org:5443"},
    ):
        rendered = render({"binderhub": {"enabled": True}, "registry": registry})
        known = peers(rendered)
        through = {
            name
            for name in ("service", "binderhub", "builder", "build", "person")
            if allowed(policies(rendered), known[name], known["internet"], 5443)
        }
        assert through == {"service", "binderhub", "builder"}


HTTPS = {("dns", 53), ("internet", 443), ("internet 6", 443)}


@pytest.mark.parametrize(("network", "reached"), [("none", set()), ("https", HTTPS)])
def test_pods_for_builds_of_folders_reach_public_https_or_nothing(
    network: str, reached: set[tuple[str, int]]
) -> None:
    rendered = render({"builder": {"type": "folders"}})
    known = peers(rendered)
    labels = config_of(rendered)["BuildPods"]["labels"]
    pod = Peer("10.42.0.21", {**labels, "jupyterhub-binder/network": network}, rendered.namespace)
    ports = (22, 53, 80, 443, 6443, 8000, 8081, 8888, 10101, 10250)
    through = {
        (name, port)
        for name, peer in known.items()
        for port in ports
        if allowed(policies(rendered), pod, peer, port)
    }
    assert through == reached
    for name in ("hub", "person", "neighbour", "service"):
        assert not allowed(policies(rendered), known[name], pod, 8080)


def config_of(rendered: Rendered) -> dict[str, Any]:
    return json.loads(secret_text(rendered.one("Secret", "binder-config"), "chart.json"))


def test_policies_can_be_left_out() -> None:
    assert not render(VALUES["one Docker for all"]).all("NetworkPolicy")
    accounts = render(VALUES["accounts and claims that are there"])
    assert "binder-people" not in {p["metadata"]["name"] for p in policies(accounts)}
