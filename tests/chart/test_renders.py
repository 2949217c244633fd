"""Real Helm lints, renders and packages the chart; Kubernetes' schemas take what comes out."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from jupyterhub_binder import __version__
from tests.kit.chart import (
    ALL,
    CHART,
    FAKE,
    VALUES,
    Manifest,
    Rendered,
    containers,
    helm_python,
    render,
)

every_set = pytest.mark.parametrize("values", ALL.values(), ids=ALL)

# Resources that the Prometheus operator brings: Kubernetes' own schemas do not know them.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}


@every_set
def test_helm_finds_nothing_wrong(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace="hub")
    assert not report["errors"]
    assert [m["error"] for m in report["messages"]] == ["icon is recommended"]


@every_set
def test_oldest_and_newest_kubernetes_take_every_manifest(values: dict[str, Any]) -> None:
    versions = kubernetes_validate.utils.all_versions()
    for manifest in render(values).manifests:
        if manifest["kind"] in CUSTOM:
            continue
        for version in (versions[0], versions[-1]):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_values_together_use_every_template() -> None:
    used = {path for values in ALL.values() for path in render(values).sources}
    assert len({path.partition("/templates/")[2] for path in used}) >= len(
        list((CHART / "templates").rglob("*.yaml"))
    )
    kinds = {manifest["kind"] for values in ALL.values() for manifest in render(values).manifests}
    assert kinds > CUSTOM


@every_set
def test_every_object_has_a_name_of_its_own(values: dict[str, Any]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in render(values).manifests]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["b", "binder", "r" * 53])
def test_names_fit_whatever_the_release_is_called(name: str) -> None:
    for manifest in render(ALL["everything"], name=name).manifests:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])


@every_set
def test_every_port_says_its_protocol(values: dict[str, Any]) -> None:
    """Server-side apply merges ports by it, and older Kubernetes does not fill it in."""
    for service in render(values).all("Service"):
        assert all(port["protocol"] == "TCP" for port in service["spec"]["ports"])
    for _, pod in render(values).pods():
        for container in containers(pod):
            assert all(port["protocol"] == "TCP" for port in container.get("ports", ()))


@every_set
def test_services_find_pods_and_ports(values: dict[str, Any]) -> None:
    pods = [pod for _, pod in render(values).pods()]
    for service in render(values).all("Service"):
        (pod,) = [
            pod
            for pod in pods
            if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ]
        named = {port["name"] for one in containers(pod) for port in one.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_what_pods_mount_is_there(values: dict[str, Any]) -> None:
    rendered = render(values)
    mine = {(one["kind"], one["metadata"]["name"]) for one in rendered.manifests}
    given = {"hub-token", "postgresql", "ghcr", "build-token", "images", "state", "gh", "backups"}
    for _, pod in rendered.pods():
        for kind, name in references(pod):
            assert (kind, name) in mine or name in given
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes


def references(pod: Manifest) -> list[tuple[str, str]]:
    found = []
    for volume in pod["spec"].get("volumes", ()):
        if "secret" in volume:
            found.append(("Secret", volume["secret"]["secretName"]))
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            found.append(("PersistentVolumeClaim", claim))
    for container in containers(pod):
        sources = [variable.get("valueFrom", {}) for variable in container.get("env", ())]
        found += [
            ("Secret", one["secretKeyRef"]["name"]) for one in sources if "secretKeyRef" in one
        ]
    return found


# --- What pods may do to their node ------------------------------------------------------------


@every_set
def test_pods_are_contained_but_for_the_engines(values: dict[str, Any]) -> None:
    for component, pod in render(values).pods():
        if component == "builder":
            continue
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context["allowPrivilegeEscalation"]
            # The engine's socket belongs to root.
            if component != "image-cleaner":
                assert pod["spec"]["securityContext"]["runAsNonRoot"]
            assert container["resources"]["requests"]


@every_set
def test_only_engines_and_what_cleans_them_see_the_node(values: dict[str, Any]) -> None:
    seen = {
        component
        for component, pod in render(values).pods()
        if any("hostPath" in volume for volume in pod["spec"].get("volumes", ()))
    }
    assert seen <= {"builder", "image-cleaner"}


# --- Upgrades --------------------------------------------------------------------------------------


def checksums(values: dict[str, Any], component: str) -> dict[str, str]:
    annotations = render(values).pod(component)["metadata"]["annotations"]
    return {key: value for key, value in annotations.items() if key.startswith("checksum/")}


GIVEN = {
    "hub": {"apiToken": "a" * 32},
    "binderhub": {"enabled": True, "buildToken": {"secret": "ab" * 32}},
    "registry": {"imagePrefix": "example.org/env-", "username": "u", "password": "p"},
}


def test_a_change_of_options_starts_the_pod_anew() -> None:
    before = checksums(GIVEN, "service")
    after = checksums({**GIVEN, "config": {"Builds": {"max_running": 2}}}, "service")
    assert before["checksum/config"] != after["checksum/config"]
    assert before["checksum/secrets"] == after["checksum/secrets"]


def test_new_credentials_of_the_registry_start_those_who_use_them() -> None:
    changed = {**GIVEN, "registry": {**GIVEN["registry"], "password": "q"}}
    for component in ("service", "binderhub"):
        before, after = checksums(GIVEN, component), checksums(changed, component)
        assert before["checksum/registry"] != after["checksum/registry"]


def test_what_is_given_renders_to_the_same_again() -> None:
    """Otherwise every synchronisation by Argo CD or Flux would restart the service."""
    with helm_python.Chart.load(CHART) as chart:
        first, second = (chart.render(GIVEN, name="b", namespace="n") for _ in range(2))
    assert first == second


def test_what_is_made_up_is_long_and_new() -> None:
    tokens = set()
    with helm_python.Chart.load(CHART) as chart:
        for _ in range(2):
            text = chart.render(FAKE, name="b", namespace="n")[
                "jupyterhub-binder/templates/service/secret.yaml"
            ]
            tokens.add(re.search(r"api-token: (\S{80,})", text)[1])  # type: ignore[index]
    assert len(tokens) == 2


def test_old_pod_ends_before_the_new_one_starts() -> None:
    spec = render(FAKE).one("Deployment", "binder")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_requests_reach_the_new_pod_as_soon_as_it_listens() -> None:
    assert render(FAKE).one("Service", "binder")["spec"]["publishNotReadyAddresses"] is True


# --- The package ---------------------------------------------------------------------------------


def test_package_has_the_schema_and_the_python_files(tmp_path: Path) -> None:
    path = helm_python.package(CHART, destination=tmp_path)
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"values.schema.json", "README.md", "files/dashboard.json"} <= names
    assert {"files/jupyterhub_binder_config.py", "files/binderhub_config.py"} <= names
    assert "values.schema.yaml" not in names


def test_chart_installs_this_version() -> None:
    with helm_python.Chart.load(CHART) as chart:
        assert chart.metadata["appVersion"] == __version__
        assert "kubeVersion" not in chart.metadata
    (container,) = render(FAKE).pod("service")["spec"]["containers"]
    assert container["image"] == f"jupyterhub-binder:{__version__}"


def test_dashboard_and_alerts_are_passed_on_as_they_are() -> None:
    rendered: Rendered = render(ALL["everything"])
    (shown,) = rendered.one("ConfigMap", "binder-dashboard")["data"].values()
    files = CHART / "files"
    assert shown == (files / "dashboard.json").read_text(encoding="utf-8")
    rules = rendered.one("PrometheusRule", "binder")["spec"]
    assert rules == yaml.safe_load((files / "alerts.yaml").read_text(encoding="utf-8"))
