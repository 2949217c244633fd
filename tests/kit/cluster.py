"""The tests' way to a cluster: `kubectl` for objects, Helm as a library for the chart.

Everything is in a namespace of the tests' own, made at the start and removed at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

HERE = Path(__file__).parent.parent / "cluster"
CHART = HERE.parent.parent / "helm" / "jupyterhub-binder"

FLEETING = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}
FLEETING |= {"endpointslices.discovery.k8s.io", "podmetrics", "pods.metrics.k8s.io"}
"""Kinds of which a cluster makes and removes objects by itself."""


def find_cluster() -> str | None:
    """Return what leads to a cluster, if these tests were asked for and can speak to it.

    KUBECONFIG alone is not enough: a person may have it set for a cluster that people use.
    """
    asked = os.environ.get("BINDER_TEST_CLUSTER") and shutil.which("kubectl")
    return os.environ.get("KUBECONFIG") if asked else None


def fill(name: str, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the documents of a file of this folder, with values put in for ``${NAME}``."""
    text = Template((HERE / name).read_text(encoding="utf-8")).substitute(values)
    return list(yaml.safe_load_all(text))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A namespace of a cluster."""

    namespace: str

    def run(self, *args: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Run kubectl in the namespace; return what it printed. Raises RuntimeError."""
        done = subprocess.run(
            ["kubectl", f"--namespace={self.namespace}", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def get(self, *args: str) -> dict[str, Any]:
        """Return an object, or a list of them."""
        return json.loads(self.run("get", *args, "--output=json"))

    def apply(self, documents: list[dict[str, Any]]) -> None:
        """Make these objects, or change them."""
        listing = {"apiVersion": "v1", "kind": "List", "items": documents}
        self.run("apply", "--filename=-", stdin=json.dumps(listing))

    def wait_for(self, deployment: str, *, seconds: int = 180) -> None:
        """Wait until a deployment is there as it was asked for; else tell what its pods say."""
        try:
            self.run(
                "rollout", "status", f"deployment/{deployment}", f"--timeout={seconds}s",
                seconds=seconds + 30,
            )  # fmt: skip
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.explain()}") from None

    def wait_until(self, name: str, condition: str, *, seconds: int = 180) -> None:
        """Wait until an object has a condition; else tell what the pods say."""
        try:
            self.run(
                "wait", name, f"--for=condition={condition}", f"--timeout={seconds}s",
                seconds=seconds + 30,
            )  # fmt: skip
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.explain()}") from None

    def explain(self) -> str:
        """Return how the pods stand, and the last lines of each, for a failure's message."""
        said = [self.run("get", "pods", "--output=wide")]
        for pod in self.run("get", "pods", "--output=name").split():
            with contextlib.suppress(RuntimeError):
                said += [pod, self.run("logs", pod, "--tail=40")]
        events = self.run("get", "events", "--sort-by=.lastTimestamp").splitlines()
        return "\n".join([*said, *events[-20:]])

    def list_objects(self) -> set[str]:
        """Return the name of every object in the namespace, as ``kind/name``."""
        found = self.run("get", self._kinds("true"), "--output=name", "--ignore-not-found")
        return set(found.split())

    def list_cluster_objects(self) -> set[str]:
        """Return the objects in no namespace that speak of this one; others are not ours."""
        found = self.run("get", self._kinds("false"), "--output=json", "--ignore-not-found")
        return {
            f"{item['kind'].lower()}/{item['metadata']['name']}"
            for item in json.loads(found or "{}").get("items", ())
            if self.namespace in json.dumps(item)
        }

    def _kinds(self, namespaced: str) -> str:
        which = f"--namespaced={namespaced}"
        kinds = self.run("api-resources", "--verbs=list", which, "--output=name").split()
        return ",".join(kind for kind in kinds if kind not in FLEETING)

    @contextlib.asynccontextmanager
    async def forward(self, service: str, port: int) -> AsyncIterator[str]:
        """Make a Service's port reachable from here; give its URL."""
        process = await asyncio.create_subprocess_exec(
            "kubectl", f"--namespace={self.namespace}", "port-forward",
            "--address=127.0.0.1", f"service/{service}", f":{port}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                said = (await process.stdout.readline()).decode()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            assert found, f"kubectl port-forward said {said!r}"
            yield f"http://127.0.0.1:{found[1]}/"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
