"""A Kubernetes API in this process, with a node that runs pods for builds in bubblewrap.

It knows the routes that `BuildPods` uses: create, list, read, watch, log and delete. A pod's image is
this machine's own programs; of the volume it has the mounts of its manifest, and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

import jupyterhub_binder
from jupyterhub_binder.backends.venv.pods.manifest import CONTAINER
from jupyterhub_binder.backends.venv.sandbox import Mount, Sandbox
from tests.kit.kubelet import expand

NAMESPACE = "hub"
_IMAGE = {Path(jupyterhub_binder.__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix)}


@dataclass
class RunningPod:
    """A pod of the node."""

    manifest: dict[str, Any]
    status: dict[str, Any] = field(default_factory=lambda: {"phase": "Pending"})
    log: list[bytes] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, phase: str, state: Mapping[str, Any], **more: str) -> None:
        """Change the status."""
        containers = [{"name": CONTAINER, "state": dict(state)}]
        self.status = {"phase": phase, "containerStatuses": containers, **more}
        self.tell()

    def tell(self) -> None:
        """Wake whoever watches or reads the log."""
        self.changed.set()
        self.changed = asyncio.Event()

    def shown(self) -> dict[str, Any]:
        """Return the object as the API gives it."""
        metadata = {**self.manifest["metadata"], "resourceVersion": "1"}
        return {**self.manifest, "metadata": metadata, "status": self.status}


class BuildNode:
    """The API and its node."""

    def __init__(self, volume: Path) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        """The manifests of all pods, in order."""
        self.pods: dict[str, RunningPod] = {}
        self.waiting_reason = ""
        """If set, pods wait for this reason and never start."""
        self.ends_as = ""
        """If set, the reason with which containers end."""
        self.log_breaks_after = 0
        """If set, the number of log lines after which a connection breaks, once a pod."""
        self._broken: set[str] = set()
        self._volume = volume
        self._tasks: set[asyncio.Task[None]] = set()

    # --- The API ---

    async def create(self, request: web.Request) -> web.Response:
        manifest = await request.json()
        name = manifest["metadata"]["name"]
        self.asked.append(manifest)
        self.pods[name] = pod = RunningPod(manifest)
        task = asyncio.create_task(self._run(pod))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return web.json_response(pod.shown(), status=201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        wanted = dict(part.split("=") for part in request.query["labelSelector"].split(","))
        found = [
            pod.shown()
            for pod in self.pods.values()
            if wanted.items() <= pod.manifest["metadata"]["labels"].items()
        ]
        return web.json_response({"items": found})

    async def read(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request.match_info["name"]).shown())

    async def delete(self, request: web.Request) -> web.Response:
        pod = self._find(request.match_info["name"])
        await _kill(pod)
        del self.pods[pod.manifest["metadata"]["name"]]
        pod.over = True
        pod.tell()
        return web.json_response({})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        name = request.query["fieldSelector"].partition("=")[2]
        response = web.StreamResponse()
        await response.prepare(request)
        pod, said = self.pods.get(name), None
        while pod is not None:
            changed = pod.changed
            if name not in self.pods:
                with contextlib.suppress(ConnectionResetError):
                    await response.write(_event("DELETED", pod))
                break
            if pod.status != said:
                said = pod.status
                await response.write(_event("MODIFIED", pod))
            await changed.wait()
        return response

    async def log(self, request: web.Request) -> web.StreamResponse:
        pod = self._find(request.match_info["name"])
        name = request.match_info["name"]
        if pod.status["phase"] == "Pending":
            return web.json_response({"message": "container is waiting to start"}, status=400)
        since = request.query.get("sinceTime", "").rstrip("Z").encode()
        response = web.StreamResponse()
        await response.prepare(request)
        at = 0
        while True:
            changed = pod.changed
            for line in pod.log[at:]:
                at += 1
                if line[: len(since)] >= since:
                    await response.write(line)
                if at == self.log_breaks_after and name not in self._broken:
                    self._broken.add(name)
                    await response.write(line[: len(line) // 2])
                    assert request.transport is not None
                    request.transport.abort()
                    return response
            if pod.over:
                return response
            await changed.wait()

    def _find(self, name: str) -> RunningPod:
        if name not in self.pods:
            text = json.dumps({"message": f"pods {name} not found"})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return self.pods[name]

    # --- The node ---

    async def _run(self, pod: RunningPod) -> None:
        if self.waiting_reason:
            pod.say("Pending", {"waiting": {"reason": self.waiting_reason}})
            return
        command = self._command(pod.manifest)
        pod.process = process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.defpath},
            start_new_session=True,
        )
        pod.say("Running", {"running": {}})
        assert process.stdout is not None
        async for line in process.stdout:
            pod.log.append(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() + line)
            pod.tell()
        code = await process.wait()
        pod.over = True
        ended = {"exitCode": 137 if self.ends_as else code if code >= 0 else 128 - code}
        reason = self.ends_as or ("Error" if code else "Completed")
        phase = "Failed" if ended["exitCode"] else "Succeeded"
        pod.say(phase, {"terminated": {**ended, "reason": reason}})

    def _command(self, manifest: Mapping[str, Any]) -> list[str]:
        (container,) = manifest["spec"]["containers"]
        env = {one["name"]: expand(one["value"], {}) for one in container["env"]}
        mounts = [
            Mount(
                self._volume / one["subPath"],
                Path(one["mountPath"]),
                writable=not one.get("readOnly"),
            )
            for one in container["volumeMounts"]
        ]
        # Last: these tests may themselves be below /tmp, which is one of the pod's.
        mounts += [Mount.same(path) for path in sorted(_IMAGE)]
        return Sandbox(Path(shutil.which("bwrap") or "bwrap"), ()).command(
            [expand(word, env) for word in container["command"]],
            home=self._volume.with_name(f"node-{manifest['metadata']['name']}"),
            mounts=mounts,
            env=env,
            cwd=Path(container["workingDir"]),
        )

    async def stop(self) -> None:
        """End what runs."""
        for pod in self.pods.values():
            await _kill(pod)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _event(kind: str, pod: RunningPod) -> bytes:
    return json.dumps({"type": kind, "object": pod.shown()}).encode() + b"\n"


async def _kill(pod: RunningPod) -> None:
    if pod.process is not None and pod.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pod.process.pid, signal.SIGKILL)
        await pod.process.wait()


@contextlib.asynccontextmanager
async def open_build_node(volume: Path) -> AsyncIterator[BuildNode]:
    """Serve on a port of 127.0.0.1."""
    node = BuildNode(volume)
    app = web.Application()
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    app.router.add_post(pods, node.create)
    app.router.add_get(pods, node.list)
    app.router.add_get(f"{pods}/{{name}}", node.read)
    app.router.add_get(f"{pods}/{{name}}/log", node.log)
    app.router.add_delete(f"{pods}/{{name}}", node.delete)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield node
    finally:
        await node.stop()
        await runner.cleanup()
