"""What admins start from: our values, and Zero to JupyterHub's beside them, say the same things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jupyterhub import orm
from jupyterhub.crypto import CryptKeeper
from jupyterhub.tests.mocking import MockHub
from kubespawner import KubeSpawner
from traitlets.config import Config

from jupyterhub_binder.spawner import BinderSpawnerMixin
from tests.kit.chart import EXAMPLES, Rendered, containers, examples, render, secret_text

NAMES = [name.removesuffix(".yaml") for name in examples()]
NAMESPACE = "jupyterhub"
MACHINE = EXAMPLES / "single-node-k3s"


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def chart_of(name: str) -> Rendered:
    """Return what an example's values of our chart become, with what an admin adds by hand."""
    values = read(EXAMPLES / f"{name}.yaml")
    if "internal" not in values.get("registry", {"internal": {}}):
        values["registry"] |= {"username": "binder", "password": "a password"}
    return render(values, namespace=NAMESPACE)


@pytest.fixture(params=NAMES)
def example(request: pytest.FixtureRequest) -> tuple[Rendered, dict[str, Any]]:
    """Return what our chart becomes, and the values of Zero to JupyterHub beside it."""
    return chart_of(request.param), read(EXAMPLES / f"{request.param}.jupyterhub.yaml")


# --- The hub -------------------------------------------------------------------------------------


@pytest.fixture
def hub(
    example: tuple[Rendered, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MockHub]:
    """Make a real hub with what the example's values become."""
    chart, theirs = example
    for variable, token in variables(theirs, chart):
        monkeypatch.setenv(variable, token)
    monkeypatch.chdir(tmp_path)
    yield MockHub.instance(config=configuration(theirs["hub"]))
    MockHub.clear_instance()
    CryptKeeper.clear_instance()


def variables(theirs: dict[str, Any], chart: Rendered) -> Iterator[tuple[str, str]]:
    """Give the variables that the hub's pod gets out of the chart's secrets."""
    for variable, value in theirs["hub"]["extraEnv"].items():
        asked = value["valueFrom"]["secretKeyRef"]
        yield variable, secret_text(chart.one("Secret", asked["name"]), asked["key"])


def configuration(hub: dict[str, Any]) -> Config:
    """Do what Zero to JupyterHub does with the values that the examples have."""
    c = Config()
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.allow_named_servers = hub["allowNamedServers"]
    c.JupyterHub.template_paths = []
    c.JupyterHub.services = [
        {"name": name, "api_token": "t" * 32, **service}
        for name, service in hub.get("services", {}).items()
    ]
    c.JupyterHub.load_roles = [{"name": n, **role} for n, role in hub.get("loadRoles", {}).items()]
    for section, traits in hub.get("config", {}).items():
        assert section[0].isupper(), "Zero to JupyterHub refuses other sections"
        c[section].update(traits)
    for _, code in sorted(hub["extraConfig"].items()):
        exec(code, {"c": c})
    # Who may log in is another package's affair, and how is the site's.
    c.JupyterHub.authenticator_class = "dummy"
    c.JupyterHub.db_url = "sqlite://"
    c.CryptKeeper.keys = ["0" * 64]
    c.JupyterHub.base_url = "/"  # the mocked hub has another one
    return c


async def test_a_hub_finds_the_service_where_the_chart_puts_it(
    hub: MockHub, example: tuple[Rendered, dict[str, Any]]
):
    await hub.initialize([])
    chart, _ = example
    service, port = chart.one("Service", "binder"), 10101
    server = orm.Service.find(hub.db, "binder").server
    assert server.ip == service["metadata"]["name"]
    assert [server.port] == [one["port"] for one in service["spec"]["ports"]] == [port]
    assert server.base_url == environment_of(chart)["JUPYTERHUB_SERVICE_PREFIX"]
    assert issubclass(hub.spawner_class, BinderSpawnerMixin)
    assert issubclass(hub.spawner_class, KubeSpawner)
    assert hub.allow_named_servers


async def test_the_hub_takes_the_token_that_the_service_has(
    hub: MockHub, example: tuple[Rendered, dict[str, Any]]
):
    await hub.initialize([])
    chart, _ = example
    token = secret_text(chart.one("Secret", "binder"), "api-token")
    found = orm.APIToken.find(hub.db, token)
    assert found is not None
    assert found.service.name == "binder"
    assert "read:servers" in {scope for role in found.service.roles for scope in role.scopes}


async def test_metrics_are_read_with_a_token_that_may(
    hub: MockHub, example: tuple[Rendered, dict[str, Any]]
):
    chart, theirs = example
    monitors = chart.all("ServiceMonitor")
    if not monitors:
        return
    await hub.initialize([])
    (name,) = theirs["hub"]["services"]
    # Where Zero to JupyterHub keeps the tokens of services that it makes up.
    (endpoint,) = monitors[0]["spec"]["endpoints"]
    token = {"name": "hub", "key": f"hub.services.{name}.apiToken"}
    assert endpoint["authorization"]["credentials"] == token
    scopes = {s for role in orm.Service.find(hub.db, name).roles for s in role.scopes}
    assert {"read:metrics", "access:services!service=binder"} <= scopes


def environment_of(chart: Rendered) -> dict[str, str]:
    """Return the service's variables that are written in its pod."""
    (container,) = chart.pod("service")["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


# --- Servers, and who may reach whom ---------------------------------------------------------------


def test_servers_pull_with_credentials_that_the_chart_makes(
    example: tuple[Rendered, dict[str, Any]],
):
    chart, theirs = example
    for name in theirs["singleuser"]["image"].get("pullSecrets", ()):
        secret = chart.one("Secret", name)
        assert secret["type"] == "kubernetes.io/dockerconfigjson"


def test_servers_reach_something_where_their_hubs_policy_closes_the_internet(
    example: tuple[Rendered, dict[str, Any]],
):
    chart, theirs = example
    rules = theirs["singleuser"].get("networkPolicy", {}).get("egressAllowRules", {})
    if not rules.get("nonPrivateIPs", True):
        policy = chart.one("NetworkPolicy", "binder-people")
        opened = [peer for rule in policy["spec"]["egress"] for peer in rule["to"]]
        assert any(peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0" for peer in opened)


def test_all_servers_of_a_person_have_one_home(example: tuple[Rendered, dict[str, Any]]):
    storage = example[1]["singleuser"].get("storage", {"type": "the hub's own affair"})
    if storage.get("type") == "static":
        assert storage["static"]["subPath"] == "{username}"
    elif "type" not in storage:
        assert storage["dynamic"]["pvcNameTemplate"] == "claim-{username}"


# --- One VM ----------------------------------------------------------------------------------------


def test_the_machines_runtime_finds_the_registry_that_images_name():
    chart = chart_of("single-node-k3s-binderhub")
    service = chart.one("Service", "binder-registry")
    (port,) = service["spec"]["ports"]
    name = f"binder-registry.{NAMESPACE}.svc.cluster.local:{port['port']}"
    assert read(MACHINE / "registries.yaml") == {
        "mirrors": {name: {"endpoint": [f"http://127.0.0.1:{port['nodePort']}"]}}
    }
    assert name in secret_text(
        chart.one("Secret", "binder-registry-credentials"), ".dockerconfigjson"
    )


def test_the_registrys_port_is_open_to_the_machine_alone():
    assert read(MACHINE / "config.yaml")["kube-proxy-arg"] == ["nodeport-addresses=127.0.0.0/8"]


def test_the_kubelets_limits_go_together():
    kubelet = read(MACHINE / "99-kubelet.conf")
    assert kubelet["kind"] == "KubeletConfiguration"
    assert kubelet["maxPods"] < 254
    images = read(MACHINE / "99-images.conf")
    assert images["kind"] == kubelet["kind"]
    assert images["imageGCLowThresholdPercent"] < images["imageGCHighThresholdPercent"]


def test_one_vm_needs_no_registry_and_no_privilege():
    chart, theirs = (
        chart_of("single-node-k3s"),
        read(EXAMPLES / "single-node-k3s.jupyterhub.yaml"),
    )
    assert {component for component, _ in chart.pods()} == {"service", "backup", "pre-puller"}
    for _, pod in chart.pods():
        assert all("hostPath" not in volume for volume in pod["spec"].get("volumes", ()))
        assert all(
            not one["securityContext"]["allowPrivilegeEscalation"] for one in containers(pod)
        )
    assert not theirs["singleuser"]["cloudMetadata"]["blockWithIptables"]


def test_one_vm_removes_folders_before_its_volume_is_full():
    claim = chart_of("single-node-k3s").one("PersistentVolumeClaim", "binder-environments")
    assert claim["spec"]["storageClassName"] == "local-path"
    gigabytes = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
    budget = read(EXAMPLES / "single-node-k3s.yaml")["builder"]["folders"]["maxGigabytes"]
    assert 0 < budget < gigabytes


def test_servers_have_the_image_that_stays_on_the_machine_and_mount_the_claim():
    chart, theirs = (
        chart_of("single-node-k3s"),
        read(EXAMPLES / "single-node-k3s.jupyterhub.yaml"),
    )
    image = theirs["singleuser"]["image"]
    (kept,) = chart.pod("pre-puller")["spec"]["containers"]
    assert kept["image"] == f"{image['name']}:{image['tag']}"
    (claim,) = re.findall(
        r'environments_claim="([^"]+)"', theirs["hub"]["extraConfig"]["zz-binder"]
    )
    assert chart.one("PersistentVolumeClaim", claim)


def test_examples_and_their_counterparts_are_pairs():
    found = {path.name.removesuffix(".yaml") for path in EXAMPLES.glob("*.yaml")}
    assert found == {*NAMES, *(f"{name}.jupyterhub" for name in NAMES)}


def test_images_are_of_the_version_that_the_chart_runs():
    version = read(EXAMPLES.parent / "jupyterhub-binder/Chart.yaml")["appVersion"]
    for name in NAMES:
        theirs = read(EXAMPLES / f"{name}.jupyterhub.yaml")
        assert theirs["hub"]["image"]["tag"] == version
        (image,) = {
            one["image"]
            for one in chart_of(name).pod("service")["spec"]["containers"]
        }  # fmt: skip
        assert re.fullmatch(rf"(registry\.example\.org/)?jupyterhub-binder:{version}", image)
