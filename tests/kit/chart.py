"""Renders the chart, once for each set of values, and takes what comes out apart."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

# Not every machine has a wheel of it.
helm_python = pytest.importorskip("helm_python", reason="needs Helm (PyPI: helm-python-sdk)")

HELM = Path(__file__).parents[2] / "helm"
CHART = HELM / "jupyterhub-binder"
EXAMPLES = HELM / "examples"

Manifest = dict[str, Any]

FAKE = {"config": {"JupyterHubBinder": {"backend": "fake"}}}

VALUES: dict[str, dict[str, Any]] = {
    "to try the pages": FAKE,
    "a BinderHub that is there": {
        "config": {"BinderHubBackend": {"url": "https://binder.example.org/"}},
        "registry": {
            "imagePrefix": "registry.example.org/binder/env-",
            "username": "robot",
            "password": "pass:word $x",
        },
        "networkPolicy": {"service": {"extraEgress": [{"to": [{"namespaceSelector": {}}]}]}},
    },
    "a hub in another namespace": {
        **FAKE,
        "hub": {
            "namespace": "people",
            "baseUrl": "/jupyter/",
            "serviceName": "environments",
            "publicHost": "https://hub.example.org",
            "existingSecret": {"name": "hub-token", "key": "binder"},
        },
        "persistence": {"enabled": False},
        "database": {"existingSecret": {"name": "postgresql", "key": "url"}},
        "registry": {"imagePrefix": "ghcr.io/example/env-", "existingSecret": "ghcr"},
    },
    "everything": {
        "binderhub": {
            "enabled": True,
            "config": {"GitHubRepoProvider": {"banned_specs": ["^bad/.*"]}},
            "builder": {"dind": {"mtu": 1450}, "extraArgs": ["--debug"]},
        },
        "registry": {"internal": {"enabled": True, "nodePort": 30500}},
        "imageCleaner": {"enabled": True, "threshold": {"enabled": True, "cordon": True}},
        "metrics": {
            "serviceMonitor": {"enabled": True, "tokenSecret": {"name": "prometheus"}},
            "dashboard": {"enabled": True},
            "alerts": {"enabled": True, "labels": {"prometheus": "ours"}},
        },
        "networkPolicy": {
            "registry": {"nodeCidrs": ["192.168.1.0/24"]},
            "service": {
                "metricsFrom": [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                        },
                        "podSelector": {"matchLabels": {"app": "prometheus"}},
                    }
                ]
            },
        },
        "podDisruptionBudget": {"enabled": True},
        "backup": {"enabled": True},
        "database": {"url": "postgresql://binder:secret@db.example.org/binder"},
        "extraConfig": {"pages": "c.JupyterHubBinder.example_name = 'An example'"},
        "extraEnv": {
            "HTTPS_PROXY": "http://proxy.example.org:3128",
            "GITHUB_ACCESS_TOKEN": {"valueFrom": {"secretKeyRef": {"name": "gh", "key": "token"}}},
        },
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/ours", "readOnly": True}],
        "initContainers": [{"name": "wait", "image": "busybox:1", "command": ["true"]}],
        "imagePullSecrets": ["ours"],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAffinity": {}},
        "priorityClassName": "important",
        "podLabels": {"team": "jupyter"},
        "podAnnotations": {"why": "because"},
    },
    "Podman builds": {
        "binderhub": {"enabled": True, "builder": {"type": "pink"}},
        "registry": {"imagePrefix": "docker.io/ours/env-", "username": "u", "password": "p"},
        "imageCleaner": {"enabled": True},
    },
    "one Docker for all": {
        "binderhub": {"enabled": True, "builder": {"type": "host"}},
        "registry": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "hub": {"apiToken": "0123456789abcdef"},
    },
    "folders": {
        "builder": {
            "type": "folders",
            "folders": {
                "maxGigabytes": 50,
                # several nodes
                "persistence": {"storageClassName": "nfs", "accessModes": ["ReadWriteMany"]},
                "prePuller": {"enabled": True},
                "builds": {"runtimeClassName": "gvisor", "nodeSelector": {"disk": "ssd"}},
            },
        },
        "imagePullSecrets": ["ours"],
        "networkPolicy": {"folders": {"extraEgress": [{"to": [{"podSelector": {}}]}]}},
    },
    "accounts and claims that are there": {
        "binderhub": {
            "enabled": True,
            "rbac": {"create": False},
            "serviceAccount": {"create": False, "name": "builder"},
            "buildToken": {"existingSecret": {"name": "build-token"}},
        },
        "registry": {
            "internal": {
                "enabled": True,
                "host": "registry.example.org",
                "persistence": {"existingClaim": "images"},
            }
        },
        "serviceAccount": {"create": False},
        "persistence": {"existingClaim": "state"},
        "backup": {"enabled": True, "persistence": {"existingClaim": "backups"}},
        "networkPolicy": {"people": {"enabled": False}},
    },
}
"""Sets of values that together use everything that the chart has."""


def examples() -> dict[str, dict[str, Any]]:
    """Return the examples that admins start from: values of this chart, by the file's name."""
    # The counterparts are values of Zero to JupyterHub.
    paths = [path for path in EXAMPLES.glob("*.yaml") if not path.stem.endswith(".jupyterhub")]
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(paths)}


ALL = {**VALUES, **examples()}


@dataclass(frozen=True)
class Rendered:
    """What a set of values becomes."""

    manifests: tuple[Manifest, ...]
    notes: str
    namespace: str = "hub"
    sources: Mapping[str, str] = field(default_factory=dict)

    def all(self, *kinds: str) -> list[Manifest]:
        """Return the manifests of some kinds."""
        return [one for one in self.manifests if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """Return the one of a kind and a name."""
        (found,) = [one for one in self.all(kind) if one["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Give the pods that it runs, by what they are for."""
        for one in self.all("Deployment", "DaemonSet", "CronJob"):
            spec = one["spec"]
            pod = (
                spec["jobTemplate"]["spec"]["template"]
                if "jobTemplate" in spec
                else spec["template"]
            )
            yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod

    def pod(self, component: str) -> Manifest:
        """Return the pod of one component."""
        return dict(self.pods())[component]


def containers(pod: Manifest) -> list[Manifest]:
    """Return a pod's containers, those of its start included."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def secret_text(secret: Manifest, key: str) -> str:
    """Return what a secret has under a key."""
    return base64.b64decode(secret["data"][key]).decode()


def render(values: Mapping[str, Any], name: str = "binder", namespace: str = "hub") -> Rendered:
    """Render the chart with these values; the same values are rendered once."""
    return _render(json.dumps(values), name, namespace)


@functools.cache
def _render(values: str, name: str, namespace: str) -> Rendered:
    found = dict(_chart().render(json.loads(values), name=name, namespace=namespace))
    notes = next((found.pop(path) for path in list(found) if path.endswith("NOTES.txt")), "")
    return Rendered(tuple(_documents(found.values())), notes, namespace, found)


def _documents(texts: Iterable[str]) -> Iterator[Manifest]:
    for text in texts:
        yield from filter(None, yaml.safe_load_all(text))


@functools.cache
def _chart() -> Any:
    return helm_python.Chart.load(CHART)
