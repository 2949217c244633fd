"""The manifest of a pod that runs repository code, and what its status means. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.venv.sandbox import Mount

CONTAINER = "step"
NETWORK_LABEL = "jupyterhub-binder/network"
"""What a NetworkPolicy selects pods by: one of `Network`."""
STEP_LABELS: Mapping[str, str] = {"jupyterhub-binder/part": "build-step"}

_VOLUME = "environments"
_HOPELESS = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
        "StartError",
    }
)
"""Reasons for which a container waits until an administrator changes something."""


class Network(StrEnum):
    """Where a pod may connect to."""

    NONE = "none"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class PodSettings:
    """What all pods for builds have in common."""

    image: str
    claim: str
    root: Path
    """Where the claim's volume is mounted, here and in pods."""
    uid: int
    gid: int
    pull_policy: str = "IfNotPresent"
    pull_secrets: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    max_seconds: int = 3600
    user_namespaces: bool = True
    runtime_class: str = ""
    placing: Mapping[str, Any] = field(default_factory=dict)
    """nodeSelector, tolerations and affinity, as far as they are set."""


def make_pod(
    settings: PodSettings,
    name: str,
    command: Sequence[str],
    *,
    mounts: Sequence[Mount],
    env: Mapping[str, str],
    cwd: Path,
    network: Network,
) -> dict[str, Any]:
    """Return the manifest of one step's pod.

    The pod sees only its mounts of the volume, each by a `subPath`. It has no account, no
    capability, no privilege to gain and nothing of its image that it could change.
    """
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": [_escape(word) for word in command],
        "env": [{"name": each, "value": _escape(value)} for each, value in env.items()],
        "workingDir": str(cwd),
        "resources": dict(settings.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [_mount(one, settings.root) for one in mounts],
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": settings.max_seconds,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.uid,
            "runAsGroup": settings.gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "imagePullSecrets": [{"name": each} for each in settings.pull_secrets],
        "containers": [container],
        "volumes": [
            {"name": _VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}},
        ],
        **settings.placing,
    }
    if settings.user_namespaces:
        spec["hostUsers"] = False
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    labels = {**settings.labels, **STEP_LABELS, NETWORK_LABEL: network.value}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def make_name(workspace: str) -> str:
    """Return a pod's name, of its build's workspace."""
    plain = re.sub(r"[^a-z0-9]+", "-", workspace.lower()).strip("-")[:40].strip("-")
    return f"build-{plain}-{secrets.token_hex(4)}"


def _mount(mount: Mount, root: Path) -> dict[str, Any]:
    """Return a mount of the volume. Raises ValueError for what is not on it."""
    return {
        "name": _VOLUME,
        "mountPath": str(mount.target),
        "subPath": str(mount.source.relative_to(root)),
        "readOnly": not mount.writable,
    }


def _escape(text: str) -> str:
    """Prevent the expansion of ``$(NAME)``."""
    return text.replace("$", "$$")


@dataclass(frozen=True, slots=True)
class PodState:
    """What a pod's status says of its step."""

    started: bool = False
    ended: bool = False
    exit_code: int = 0
    """A shell's: 137 for a process that was killed."""
    reason: str = ""
    """Kubernetes' word for why it waits or ended; empty without one."""
    hopeless: bool = False
    """Whether it can't start until somebody changes something."""


def read_state(pod: Mapping[str, Any]) -> PodState:
    """Return the state of a step's pod."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    state = (containers[0].get("state") or {}) if containers else {}
    failed = status.get("phase") == "Failed"
    if over := state.get("terminated"):
        # The pod's own reason comes first: Evicted, DeadlineExceeded.
        reason = status.get("reason") or over.get("reason") or ""
        code = int(over.get("exitCode") or 0)
        return PodState(True, True, code or int(failed), reason, reason in _HOPELESS)
    if failed:
        return PodState(False, True, 1, status.get("reason") or "Failed")
    if state.get("running") is not None:
        return PodState(started=True)
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason") or _why_unscheduled(status)
    return PodState(reason=reason, hopeless=reason in _HOPELESS)


def _why_unscheduled(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("message") or condition.get("reason") or ""
    return ""
