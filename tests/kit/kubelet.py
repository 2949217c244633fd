"""A Kubernetes API in this process, and what a node would do with the pods that it is given.

The API is kmock's: it keeps objects, lists and watches them. The node runs a pod's containers
as local processes, with their own commands and variables, as the kubelet would put them in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import kmock

WITHOUT_SERVER = "registry.example.org/without-server:1"
"""The image that has no jupyterhub-singleuser."""

_VARIABLE = re.compile(r"\$(?:\$|\((\w+)\))")
_PLURALS = ("pods", "events", "persistentvolumeclaims", "secrets", "services")


def expand(text: str, env: Mapping[str, str]) -> str:
    """Put variables into a word of a command, or a variable, by Kubernetes' rules."""
    return _VARIABLE.sub(lambda m: env.get(m[1], m[0]) if m[1] else "$", text)


class Cluster:
    """One node, in the namespace ``default``."""

    def __init__(self, api: kmock.KubernetesEmulator, url: str, *, programs: Path, home: Path):
        self.api = api
        self.url = url
        self.pods: list[dict[str, Any]] = []
        """Every pod as it was asked for, in order."""
        self._programs = programs
        self._home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: set[str] = set()

    def kubeconfig(self, folder: Path) -> Path:
        """Write a file that leads to this cluster."""
        path = folder / "kubeconfig"
        path.write_text(
            f"""apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: "{self.url}"}}}}]
users: [{{name: test, user: {{}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
"""
        )
        return path

    def asked(self) -> list[tuple[str, str]]:
        """Return what has been asked of the API: method and path, without questions."""
        return [
            (request.method.value.upper(), request.url.path)
            for request in self.api
            if request.method.value.upper() != "GET"
        ]

    async def run(self) -> None:
        """Start what pods ask for, and end what is gone, until cancelled."""
        async with aiohttp.ClientSession(base_url=self.url) as session:
            try:
                while True:
                    await self._look(session)
                    await asyncio.sleep(0.05)
            finally:
                for name in list(self._running):
                    self._end(name)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/api/v1/namespaces/default/pods") as response:
            pods = {pod["metadata"]["name"]: pod for pod in (await response.json())["items"]}
        for name in self._running.keys() - pods.keys():
            self._end(name)
        for name in self._running.keys() & pods.keys():
            code = self._running[name].poll()
            if code is not None and name not in self._ended:
                self._ended.add(name)
                await self._say_ended(session, name, code)
        for name in pods.keys() - self._running.keys():
            self.pods.append(pods[name])
            self._running[name] = await asyncio.to_thread(self._start, pods[name])
            await self._say_running(session, name)

    def _start(self, pod: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        for container in pod["spec"].get("initContainers") or ():
            subprocess.run(**self._process(container), check=True)
        container = pod["spec"]["containers"][0]
        with self._log_of(pod["metadata"]["name"]).open("w") as log:
            return subprocess.Popen(**self._process(container), stdout=log, stderr=log)

    def _log_of(self, name: str) -> Path:
        return self._home.with_name(f"{name}.log")

    def _process(self, container: Mapping[str, Any]) -> dict[str, Any]:
        given = {one["name"]: one.get("value") or "" for one in container["env"]}
        env = {name: expand(value, given) for name, value in given.items()}
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        path = os.defpath
        if container["image"] != WITHOUT_SERVER:
            path = f"{self._programs}{os.pathsep}{path}"
        # Wherever a pod has the home mounted, it is this folder.
        return {
            "args": [expand(word, env) for word in words],
            "env": {**env, "PATH": path, "HOME": str(self._home)},
            "cwd": "/",
            "start_new_session": True,
        }

    async def _say_running(self, session: aiohttp.ClientSession, name: str) -> None:
        await self._say(session, name, "Running", {"running": {}})

    async def _say_ended(self, session: aiohttp.ClientSession, name: str, code: int) -> None:
        # As with terminationMessagePolicy: FallbackToLogsOnError.
        said = self._log_of(name).read_text()[-2048:]
        ended = {"terminated": {"exitCode": code, "reason": "Error", "message": said}}
        await self._say(session, name, "Failed", ended)

    async def _say(
        self, session: aiohttp.ClientSession, name: str, phase: str, state: dict[str, Any]
    ) -> None:
        container = {
            "name": "notebook",
            "image": "as-asked",
            "imageID": "as-asked",
            "ready": phase == "Running",
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "podIP": "127.0.0.1", "containerStatuses": [container]}
        body = {"metadata": {"uid": f"uid-{name}", "namespace": "default"}, "status": status}
        url = f"/api/v1/namespaces/default/pods/{name}"
        async with session.patch(url, json=body) as response:
            response.raise_for_status()

    def _end(self, name: str) -> None:
        process = self._running.pop(name)
        self._ended.discard(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _programs(folder: Path, server: str) -> Iterator[Path]:
    folder.mkdir()
    program = folder / "jupyterhub-singleuser"
    program.write_text(f'#!/bin/sh\nexec {server} "$@"\n')
    program.chmod(0o755)
    yield folder


@contextlib.asynccontextmanager
async def open_cluster(folder: Path, *, server: str) -> AsyncIterator[Cluster]:
    """Run a cluster whose images all have the one `server` as their jupyterhub-singleuser."""
    home = folder / "home"
    home.mkdir()
    with _programs(folder / "bin", server) as programs:
        async with kmock.KubernetesEmulator() as api, kmock.Server(api) as running:
            for plural in _PLURALS:
                api.resources[f"v1/{plural}"] = kmock.ResourceInfo(namespaced=True)
            cluster = Cluster(api, str(running.url).rstrip("/"), programs=programs, home=home)
            node = asyncio.create_task(cluster.run())
            try:
                yield cluster
            finally:
                node.cancel()
                await asyncio.gather(node, return_exceptions=True)
