"""What Helm made up once, it finds again in the cluster: asked of a server that answers as Kubernetes."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from tests.kit.chart import CHART, Manifest, helm_python, secret_text

VALUES = {
    "binderhub": {"enabled": True},
    "registry": {"internal": {"enabled": True, "nodePort": 30500}},
}
RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "secrets", "kind": "Secret", "namespaced": True, "verbs": ["get", "list"]}
    ],
}


class Cluster(ThreadingHTTPServer):
    """As much of a Kubernetes API as a look-up of secrets asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.secrets: dict[str, Manifest] = {}

    def answer(self, path: str) -> Any:
        """Return what is at a path; None if nothing is."""
        known = {
            "/version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": RESOURCES,
        }
        return known.get(path) or self.secrets.get(
            path.removeprefix("/api/v1/namespaces/hub/secrets/")
        )


class _Answer(BaseHTTPRequestHandler):
    server: Cluster

    def do_GET(self) -> None:
        found = self.server.answer(self.path.partition("?")[0])
        missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(found or missing).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def deploy(cluster: Cluster, values: dict[str, Any]) -> dict[str, Manifest]:
    """Render as an installation or upgrade does, keep the secrets there, and return them."""
    return {one["metadata"]["name"]: one for one in install(cluster, values, "Secret")}


def install(cluster: Cluster, values: dict[str, Any], *kinds: str) -> list[Manifest]:
    """Return what Helm would give to the cluster, of some kinds."""
    with (
        helm_python.Config(
            kube_apiserver=f"http://127.0.0.1:{cluster.server_address[1]}", namespace="hub"
        ) as config,
        helm_python.Chart.load(CHART) as chart,
    ):
        texts = config.render(chart, values, name="binder", namespace="hub")
    cluster.secrets.update(
        {one["metadata"]["name"]: one for one in documents(texts) if one["kind"] == "Secret"}
    )
    return [one for one in documents(texts) if one["kind"] in kinds]


def documents(texts: dict[str, str]) -> Iterator[Manifest]:
    for path, text in texts.items():
        if path.endswith(".yaml"):
            yield from filter(None, yaml.safe_load_all(text))


def test_secrets_survive_an_upgrade(cluster: Cluster) -> None:
    before = deploy(cluster, VALUES)
    after = deploy(cluster, {**VALUES, "config": {"Builds": {"max_running": 2}}})
    kept = ("binder", "binder-registry", "binder-registry-credentials")
    assert [after[name]["data"] for name in kept] == [before[name]["data"] for name in kept]
    assert after["binder-config"]["data"] != before["binder-config"]["data"]


def test_a_token_that_is_given_replaces_the_one_that_was_made_up(cluster: Cluster) -> None:
    deploy(cluster, VALUES)
    after = deploy(cluster, {**VALUES, "hub": {"apiToken": "given-by-the-admin"}})
    assert secret_text(after["binder"], "api-token") == "given-by-the-admin"


def test_a_password_that_is_given_changes_the_registry_and_all_who_use_it(cluster: Cluster) -> None:
    before = deploy(cluster, VALUES)
    registry = {
        "internal": {"enabled": True, "nodePort": 30500},
        "username": "ours",
        "password": "given",
    }
    after = deploy(cluster, {**VALUES, "registry": registry})
    assert secret_text(after["binder-registry"], "htpasswd").startswith("ours:$2")
    auths = json.loads(secret_text(after["binder-registry-credentials"], "config.json"))["auths"]
    ((_, credentials),) = auths.items()
    assert base64.b64decode(credentials["auth"]) == b"ours:given"
    assert before["binder"]["data"] == after["binder"]["data"]


def test_switching_a_part_on_later_leaves_the_token_of_the_hub_alone(cluster: Cluster) -> None:
    before = deploy(cluster, {"config": {"JupyterHubBinder": {"backend": "fake"}}})
    after = deploy(cluster, VALUES)
    assert before["binder"]["data"]["api-token"] == after["binder"]["data"]["api-token"]
    assert "build-token-secret" in after["binder"]["data"]


def test_an_upgrade_that_changes_nothing_starts_no_pod_anew(cluster: Cluster) -> None:
    first, second = (install(cluster, VALUES, "Deployment", "DaemonSet") for _ in range(2))
    assert len(first) == 4
    assert first == second
