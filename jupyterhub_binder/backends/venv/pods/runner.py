"""Runs steps in pods: `BuildPods` has the options and starts one pod for each step.

A pod ends with its step. Those that a killed service left are removed at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
from traitlets import Bool, Dict, Enum, Int, List, Unicode, default
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.pods.api import (
    KubernetesApi,
    KubernetesError,
    Pod,
    find_api,
    find_namespace,
)
from jupyterhub_binder.backends.venv.pods.log import PodLog
from jupyterhub_binder.backends.venv.pods.manifest import (
    STEP_LABELS,
    Network,
    PodSettings,
    PodState,
    make_name,
    make_pod,
    read_state,
)
from jupyterhub_binder.backends.venv.sandbox import Mount
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.retry import Backoff
from jupyterhub_binder.utils.subprocess import ProcessFailed

_HOME = "/home/builder"
_LIMIT = Path(inside.__file__).with_name("limit.py")
_PATIENCE_SECONDS = 60
_GONE_SECONDS = 60
_LOG_SECONDS = 2.0
"""How long after the log's end a pod's end may become known."""

Lines = AsyncGenerator[str, None]


class BuildPods(LoggingConfigurable):
    """Pods for the steps of builds that run a repository's code."""

    image = Unicode(
        help="""
        The image of pods for builds: the service's own, because it has uv and the same interpreters
        at the same paths. The chart sets it. Default: none, which is refused.
        """,
    ).tag(config=True)

    image_pull_policy = Enum(
        ["Always", "IfNotPresent", "Never"],
        "IfNotPresent",
        help="When a node pulls the image. Default: `IfNotPresent`.",
    ).tag(config=True)

    image_pull_secrets = List(
        Unicode(),
        help="Names of the secrets to pull the image with. Default: none.",
    ).tag(config=True)

    claim = Unicode(
        help="""
        The PersistentVolumeClaim that is mounted at `VenvBackend.environments_root` in the
        service's pod. Each pod for a build mounts its own folders of it, nothing else. If pods can
        run on several nodes, all of these must be able to mount it (`ReadWriteMany`). Default:
        none, which is refused.
        """,
    ).tag(config=True)

    api_url = Unicode(
        help="The URL of Kubernetes' API. Default: the one of the cluster that the service runs in."
    ).tag(config=True)

    namespace = Unicode(
        help="The namespace of the pods and of `claim`. Default: the namespace of the service."
    ).tag(config=True)

    labels = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""
        Labels of the pods. They must tell the pods of this service from all others in the
        namespace, because a starting service removes all pods that have them. Each pod also gets
        `jupyterhub-binder/network`, `none` or `https`: a NetworkPolicy must select by it, since
        Kubernetes lets pods without a policy connect to everything. Default:
        `{"app.kubernetes.io/component": "build"}`.
        """,
    ).tag(config=True)

    resources = Dict(
        help="""
        Resource requests and limits of each pod, in Kubernetes' format. Default: requests of 100m
        CPU and 256Mi memory, limits of 2 CPUs and 4Gi memory.
        """,
    ).tag(config=True)

    max_processes = Int(
        4096,
        min=0,
        help="""
        Maximum number of processes and threads of a pod's user. Without user namespaces, all
        processes of this user on the node count. Also set `podPidsLimit` in the kubelet's
        configuration, which limits each pod separately. Default: 4096. 0: no limit.
        """,
    ).tag(config=True)

    max_seconds = Int(
        3600,
        min=1,
        help="""
        Time limit of each pod, in seconds. It also ends pods while the service is down. Default:
        3600.
        """,
    ).tag(config=True)

    start_seconds = Int(
        300,
        min=1,
        help="""
        How long a pod may take to start, in seconds, for example while the cluster adds a
        node. Default: 300.
        """,
    ).tag(config=True)

    user_namespaces = Bool(
        True,
        help="""
        Give pods a user namespace of their own (`hostUsers: false`), so that their user has no
        rights on the node. Kubernetes before 1.30 ignores it. Turn it off if pods do not start
        because the nodes' kernel, container runtime or file system can't do it. Default: True.
        """,
    ).tag(config=True)

    runtime_class = Unicode(
        help="""
        The RuntimeClass of pods, for example one for gVisor or Kata Containers. Default: the
        cluster's default.
        """,
    ).tag(config=True)

    node_selector = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="Labels that a node must have to run the pods. Default: none.",
    ).tag(config=True)

    tolerations = List(
        Dict(), help="Node taints that the pods tolerate, in Kubernetes' format. Default: none."
    ).tag(config=True)

    affinity = Dict(
        help="Which nodes the pods prefer, in Kubernetes' format. Default: no preference."
    ).tag(config=True)

    @default("labels")
    def _default_labels(self) -> dict[str, str]:
        return {"app.kubernetes.io/component": "build"}

    @default("resources")
    def _default_resources(self) -> dict[str, dict[str, str]]:
        return {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": "2", "memory": "4Gi"},
        }

    @default("api_url")
    def _default_api_url(self) -> str:
        return find_api()

    @default("namespace")
    def _default_namespace(self) -> str:
        return find_namespace()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings: PodSettings | None = None
        self._api: KubernetesApi | None = None
        self._tasks = TaskSet(self.log)

    async def start(self, root: Path, session: aiohttp.ClientSession) -> None:
        """Remove the pods of an earlier service. Raises ConfigurationError."""
        self._settings = self._make_settings(root)
        self._api = KubernetesApi(session, self.api_url, self.namespace)
        try:
            left = await self._api.list_pods(self._own_labels())
        except KubernetesError as error:
            raise ConfigurationError(
                f"VenvBackend.where is 'kubernetes', but the pods of namespace {self.namespace} "
                f"can't be listed ({error}). The service's account needs a role for pods."
            ) from error
        for pod in left:
            name = pod["metadata"]["name"]
            self.log.info("The pod of an earlier build is being removed: %s", name)
            await self._remove(name)

    async def stop(self) -> None:
        """Release everything. Idempotent."""
        await self._tasks.close()

    async def health(self) -> str | None:
        """Return None if pods can be listed, else what to do."""
        if self._api is None:
            return "The service has not started."
        try:
            await self._api.list_pods(self._own_labels())
        except KubernetesError as error:
            self.log.warning("Kubernetes does not answer: %s", error)
            return "Kubernetes does not answer, so builds can't run a repository's own code."
        return None

    def _own_labels(self) -> dict[str, str]:
        return {**self.labels, **STEP_LABELS}

    def _make_settings(self, root: Path) -> PodSettings:
        for name in ("image", "claim", "namespace"):
            if not getattr(self, name):
                raise ConfigurationError(f"VenvBackend.where: 'kubernetes' needs BuildPods.{name}.")
        uid, gid = own_ids()
        if uid == 0:
            raise ConfigurationError(
                "VenvBackend.where: pods for builds have the service's user id, so the service "
                "must not run as root. Set runAsUser in its pod's security context."
            )
        wanted = {
            "nodeSelector": dict(self.node_selector),
            "tolerations": list(self.tolerations),
            "affinity": dict(self.affinity),
        }
        return PodSettings(
            image=self.image,
            claim=self.claim,
            root=root,
            uid=uid,
            gid=gid,
            pull_policy=self.image_pull_policy,
            pull_secrets=tuple(self.image_pull_secrets),
            labels=dict(self.labels),
            resources=dict(self.resources),
            max_seconds=self.max_seconds,
            user_namespaces=self.user_namespaces,
            runtime_class=self.runtime_class,
            placing={name: value for name, value in wanted.items() if value},
        )

    async def stream(
        self,
        args: Sequence[str | Path],
        *,
        python: Path,
        workspace: str,
        home: Path,
        mounts: Sequence[Mount],
        env: Mapping[str, str],
        cwd: Path,
        network: bool,
        max_file_bytes: int,
        started: Callable[[Callable[[], object]], None],
    ) -> Lines:
        """Run a command in a pod of its own; yield its lines. Raises ProcessFailed, BuildFailed.

        It sees what the sandbox would: `mounts` on the volume, `home` for temporary files, and of
        the image everything, read-only. `started` gets a function that ends it early.
        """
        assert self._settings is not None
        name = make_name(workspace)
        limits = [str(self.max_processes), str(max_file_bytes)]
        manifest = make_pod(
            self._settings,
            name,
            [*map(str, (python, "-I", "-S", _LIMIT)), *limits, *map(str, args)],
            mounts=[*await asyncio.to_thread(_scratch, home), *_on_volume(mounts, self._settings)],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **env}
            | {"HOME": _HOME, "TMPDIR": "/tmp"},  # noqa: S108
            cwd=cwd,
            network=Network.HTTPS if network else Network.NONE,
        )
        ended = False
        try:
            await self._create(manifest)
            started(lambda: self._tasks.spawn(self._remove(name), name=f"remove {name}"))
            async with aclosing(self._follow(name)) as lines:
                async for line in lines:
                    yield line
            state = await self._await_end(name)
            ended = True
        finally:
            await _surely(self._remove(name, wait=not ended))
        if state.exit_code:
            raise self._failure(str(args[0]), state)

    # --- One pod, from its creation to its removal ---

    async def _create(self, manifest: Mapping[str, Any]) -> None:
        backoff = Backoff(0.5, max_seconds=10, patience_seconds=_PATIENCE_SECONDS)
        while True:
            try:
                await self._kubernetes.create_pod(manifest)
                return
            except KubernetesError as error:
                if error.http_status == 409:  # an earlier try arrived
                    return
                lasting = 400 <= error.http_status < 500 and error.http_status != 429
                if lasting or not await backoff.wait():
                    self.log.error("A pod for a build can't be created: %s", error)
                    raise self._no_pod(Message("Kubernetes refused it")) from error

    async def _follow(self, name: str) -> Lines:
        """Yield the lines of a pod's log, once each, until it ends."""
        state = await self._await_start(name)
        log = PodLog()
        backoff = Backoff(0.2, max_seconds=5, patience_seconds=_PATIENCE_SECONDS)
        while True:
            log.begin()
            try:
                async with aclosing(self._kubernetes.read_log(name, since=log.since)) as chunks:
                    async for data in chunks:
                        backoff.reset()
                        for line in log.feed(data):
                            yield line
            except KubernetesError as error:
                self.log.warning("The log of pod %s broke off: %s", name, error)
                if error.http_status != 404 and await backoff.wait():
                    continue
            if state.ended:
                break
            # What was written between the log's end and the pod's is read once more.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOG_SECONDS):
                    state = await self._await_end(name)
        for line in log.end():
            yield line

    async def _await_start(self, name: str) -> PodState:
        begun = time.monotonic()
        state = PodState()
        try:
            async with asyncio.timeout(self.start_seconds), aclosing(self._states(name)) as states:
                async for state in states:
                    if state.started or state.ended:
                        return state
                    if state.hopeless:
                        break
                else:
                    raise _gone(name)
        except TimeoutError:
            pass
        self.log.error(
            "Pod %s did not start in %.0f s: %s", name, time.monotonic() - begun, state.reason
        )
        raise self._no_pod(Message.verbatim(state.reason or "no answer"))

    async def _await_end(self, name: str) -> PodState:
        async with aclosing(self._states(name)) as states:
            async for state in states:
                if state.ended:
                    return state
        raise _gone(name)

    async def _states(self, name: str) -> AsyncGenerator[PodState, None]:
        """Yield a pod's state at each change, across broken watches, until it is gone."""
        backoff = Backoff(0.2, max_seconds=5, patience_seconds=_PATIENCE_SECONDS)
        while True:
            pod: Pod | None
            try:
                async with aclosing(self._kubernetes.watch_pod(name)) as changes:
                    async for pod in changes:
                        backoff.reset()
                        if pod is None:
                            return
                        yield read_state(pod)
            except KubernetesError as error:
                self.log.warning("Pod %s can't be watched: %s", name, error)
            if not await backoff.wait():
                raise BuildFailed(
                    "The hub lost contact with this build because Kubernetes does not respond. Build "
                    "again later.",
                    code="kubernetes_unavailable",
                )

    async def _remove(self, name: str, *, wait: bool = True) -> None:
        """Delete a pod; by default wait until its processes have ended. Idempotent."""
        try:
            await self._kubernetes.delete_pod(name, grace_seconds=1 if wait else 0)
            if wait:
                await self._await_removal(name)
        except (KubernetesError, BuildFailed) as error:
            self.log.warning("Pod %s can't be removed: %s", name, error)
        except TimeoutError:
            self.log.warning("Pod %s has not ended %s s after its removal", name, _GONE_SECONDS)

    async def _await_removal(self, name: str) -> None:
        async with asyncio.timeout(_GONE_SECONDS), aclosing(self._states(name)) as states:
            async for _ in states:
                pass

    @property
    def _kubernetes(self) -> KubernetesApi:
        assert self._api is not None
        return self._api

    # --- Failures ---

    def _failure(self, program: str, state: PodState) -> ProcessFailed | BuildFailed:
        if state.reason == "OOMKilled":
            return BuildFailed(
                "The build needed more memory than this hub's limit for a build: %(limit)s. Use smaller "
                "packages or data, or ask an administrator for more.",
                limit=str(self.resources.get("limits", {}).get("memory", "?")),
                code="killed",
            )
        if state.reason == "DeadlineExceeded":
            return BuildFailed(
                "A step of the build took longer than %(seconds)s seconds, the limit of this hub.",
                seconds=self.max_seconds,
                code="timeout",
            )
        if state.hopeless or state.reason in ("Evicted", "Preempted", "NodeLost", "Shutdown"):
            return self._no_pod(Message.verbatim(state.reason))
        code = state.exit_code
        name = Path(program).name
        return ProcessFailed(
            f"{name} ended with exit status {code}", returncode=128 - code if code > 128 else code
        )

    def _no_pod(self, why: Message) -> BuildFailed:
        return BuildFailed(
            "The hub could not run this build in a pod: %(why)s. Build again later. If that fails "
            "too, tell your administrator.",
            why=why,
            code="no_pod",
        )


def _gone(name: str) -> ProcessFailed:
    return ProcessFailed(f"pod {name} is gone", returncode=-9)


def own_ids() -> tuple[int, int]:
    """Return the service's user and group, which pods have too: it removes what they write."""
    return os.geteuid(), os.getegid()


def _scratch(home: Path) -> list[Mount]:
    """Return the mounts of temporary files; create their folders, else the node's root would."""
    mounts = [Mount(home / "tmp", Path("/tmp"), writable=True)]  # noqa: S108
    mounts.append(Mount(home / "home", Path(_HOME), writable=True))
    for one in mounts:
        one.source.mkdir(parents=True, exist_ok=True)
    users = home / "passwd"
    uid, gid = own_ids()
    users.write_text(f"builder:x:{uid}:{gid}:builder:{_HOME}:/bin/sh\n")
    return [*mounts, Mount(users, Path("/etc/passwd"))]


def _on_volume(mounts: Sequence[Mount], settings: PodSettings) -> list[Mount]:
    """Return the mounts of the volume; the others are the same in the image."""
    found = [one for one in mounts if one.source.is_relative_to(settings.root)]
    assert all(one.source == one.target for one in mounts if one not in found)
    return found


async def _surely(work: Any) -> None:
    """Do it, also while being cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
