"""Repository code in pods: what is asked of Kubernetes, and what becomes of what it answers.

A node of the tests' own runs the pods in bubblewrap, with the mounts of their manifests.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from traitlets.config import Config

from jupyterhub_binder.backends.venv import inside
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.backends.venv.pods import runner
from jupyterhub_binder.backends.venv.pods.log import PodLog
from jupyterhub_binder.backends.venv.pods.manifest import PodState, read_state
from jupyterhub_binder.backends.venv.sandbox import Mount
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.utils.http import open_session
from jupyterhub_binder.utils.subprocess import ProcessFailed
from tests.kit.build_node import NAMESPACE, BuildNode, open_build_node
from tests.kit.conda import CondaChannel
from tests.kit.jobs import collect, collect_into, image_of, job_of, lines
from tests.kit.waiting import until

LIMIT = Path(inside.__file__).with_name("limit.py")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[BuildNode]:
    async with open_build_node(tmp_path / "environments") as running:
        yield running


@pytest.fixture
async def backend(
    node: BuildNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VenvBackend]:
    monkeypatch.setattr(runner, "own_ids", lambda: (1000, 1000))
    async with open_session() as session:
        pods = {
            "api_url": node.url,
            "namespace": NAMESPACE,
            "image": "registry.example.org/jupyterhub-binder:1",
            "claim": "environments",
            "start_seconds": 5,
        }
        made = VenvBackend(
            config=Config({"BuildPods": pods}),
            where="kubernetes",
            environments_root=str(tmp_path / "environments"),
            base_packages=[],
            smoke_test=["python", "-c", "print('starts')"],
        )
        made.session = session
        await made.start()
        yield made
        await made.stop()


async def run(
    backend: VenvBackend, *args: str | Path, env: dict[str, str] | None = None, stop: Any = None
) -> list[str]:
    """Run a command in a pod of a made-up build."""
    assert backend._pods is not None
    root = Path(backend.environments_root)
    workspace = root / ".building" / "abc-1"
    (workspace / "environment").mkdir(parents=True, exist_ok=True)
    said = backend._pods.stream(
        args,
        python=Path(sys.executable),
        workspace=workspace.name,
        home=workspace / "home",
        mounts=[Mount(workspace / "environment", root / "abc", writable=True)],
        env=env or {},
        cwd=root / "abc",
        network=False,
        max_file_bytes=2**20,
        started=stop or (lambda _: None),
    )
    return [line async for line in said]


@pytest.mark.sandbox
async def test_conda_packages_are_unpacked_in_a_pod_without_network(backend, node, tmp_path):
    channel = CondaChannel(tmp_path / "channel")
    channel.add_python()
    channel.add("words", files={"share/words": "one"}, depends=["__archspec 1 x86_64"])
    backend._conda.channels = {"tests": channel.url}
    backend._conda.base_packages = []
    files = {"environment.yml": "channels: [tests]\ndependencies: [words]\n"}
    outputs = await collect(backend, job_of(tmp_path / "checkout", files))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
    assert (made / "share/words").read_text() == "one"
    link = node.asked[0]["spec"]["containers"][0]
    assert any(word.endswith("conda/inside/link.py") for word in link["command"])
    mounted = {
        each["subPath"].rpartition("/")[2]: each["readOnly"] for each in link["volumeMounts"]
    }
    assert (mounted["environment"], mounted["archives"]) == (False, True)
    assert {pod["metadata"]["labels"]["jupyterhub-binder/network"] for pod in node.asked} == {
        "none"
    }


@pytest.mark.sandbox
async def test_a_build_runs_its_repositorys_code_in_pods_of_its_own(backend, node, tmp_path):
    script = "#!/bin/sh\nset -e\necho made > made.txt\nls $VIRTUAL_ENV/.. > seen.txt\nid -un\n"
    outputs = await collect(backend, job_of(tmp_path / "checkout", {"postBuild": script}))
    made = Path(backend.environments_root) / image_of(outputs).name.removeprefix("venv:")
    assert (made / "repo/made.txt").read_text() == "made\n"
    # Nothing else of the volume is there.
    seen = set((made / "repo/seen.txt").read_text().split())
    assert seen == {made.name}
    assert "starts" in lines(outputs)
    assert not node.pods

    [post, *_, smoke] = node.asked
    for pod in node.asked:
        mounted = {each["subPath"] for each in pod["spec"]["containers"][0]["volumeMounts"]}
        workspace = f".building/{made.name}-"
        assert all(path.startswith(workspace) for path in mounted), mounted
        assert pod["metadata"]["labels"]["jupyterhub-binder/network"] == "none"
    writable = {
        pod["metadata"]["name"]: [
            each["mountPath"]
            for each in pod["spec"]["containers"][0]["volumeMounts"]
            if not each["readOnly"]
        ]
        for pod in (post, smoke)
    }
    assert str(made) in writable[post["metadata"]["name"]]
    assert str(made) not in writable[smoke["metadata"]["name"]]


@pytest.mark.sandbox
async def test_a_pod_may_do_nothing_to_its_node_and_its_cluster(backend, node):
    said = await run(backend, "/bin/sh", "-c", "echo $HOME '$(HOME)' $EXTRA", env={"EXTRA": "$(A)"})
    assert said == ["/home/builder $(HOME) $(A)"]
    [pod] = node.asked
    versions = kubernetes_validate.utils.all_versions()
    kubernetes_validate.validate(pod, versions[-1], strict=True)
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["hostUsers"] is False
    assert spec["activeDeadlineSeconds"] == 3600
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert [list(volume) for volume in spec["volumes"]] == [["name", "persistentVolumeClaim"]]


@pytest.mark.sandbox
async def test_the_exit_status_of_a_pod_is_that_of_the_step(backend, node):
    with pytest.raises(ProcessFailed) as failed:
        await run(backend, "/bin/sh", "-c", "exit 3")
    assert failed.value.returncode == 3
    assert not node.pods


@pytest.mark.sandbox
async def test_a_log_that_breaks_off_goes_on_with_its_next_line(backend, node):
    node.log_breaks_after = 3
    said = await run(backend, "/bin/sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done")
    assert said == [f"line {i}" for i in range(1, 6)]


@pytest.mark.sandbox
async def test_a_cancelled_build_leaves_no_pod(backend, node, tmp_path):
    outputs: list[Any] = []
    job = job_of(tmp_path / "checkout", {"postBuild": "#!/bin/sh\necho begun\nexec sleep 1000\n"})
    task = asyncio.create_task(collect_into(outputs, backend, job))
    await until(lambda: "begun" in lines(outputs))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not node.pods
    assert not list((Path(backend.environments_root) / ".building").iterdir())


@pytest.mark.sandbox
async def test_a_step_can_be_ended_early(backend, node):
    with pytest.raises(ProcessFailed):
        await run(backend, "sleep", "1000", stop=lambda end: end())
    assert not node.pods


async def test_a_pod_that_cannot_start_ends_the_build_with_the_reason(backend, node):
    node.waiting_reason = "ErrImageNeverPull"
    with pytest.raises(BuildFailed, match="ErrImageNeverPull"):
        await run(backend, "true")
    assert not node.pods


@pytest.mark.sandbox
async def test_a_step_without_enough_memory_says_how_much_it_may_have(backend, node):
    node.ends_as = "OOMKilled"
    with pytest.raises(BuildFailed, match="more memory than this hub's limit for a build: 4Gi"):
        await run(backend, "true")


@pytest.mark.sandbox
async def test_a_starting_service_ends_the_pods_of_the_last_one(backend, node):
    task = asyncio.create_task(run(backend, "sleep", "1000"))
    await until(lambda: any(pod.process for pod in node.pods.values()))
    await backend.start()
    assert not node.pods
    with pytest.raises(ProcessFailed):
        await task


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"VenvBackend": {"build_hosts": ["files.example.org"]}}, "NetworkPolicy"),
        ({"BuildPods": {"claim": ""}}, "BuildPods.claim"),
        ({"BuildPods": {"api_url": "http://127.0.0.1:9"}}, "can't be listed"),
    ],
)
async def test_what_pods_cannot_do_is_said_at_the_start(backend, options, said):
    backend.config.BuildPods.update(options.get("BuildPods", {}))
    for name, value in options.get("VenvBackend", {}).items():
        setattr(backend, name, value)
    with pytest.raises(ConfigurationError, match=said):
        await backend.start()


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Pending"}, PodState()),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: no memory"}
                ],
            },
            PodState(reason="0/1 nodes: no memory"),
        ),
        (
            {"phase": "Failed", "reason": "Evicted"},
            PodState(ended=True, exit_code=1, reason="Evicted"),
        ),
        (
            {
                "phase": "Failed",
                "reason": "DeadlineExceeded",
                "containerStatuses": [
                    {"state": {"terminated": {"exitCode": 137, "reason": "Error"}}}
                ],
            },
            PodState(started=True, ended=True, exit_code=137, reason="DeadlineExceeded"),
        ),
    ],
)
def test_a_status_says_how_a_step_stands(status, state):
    assert read_state({"status": status}) == state


def test_times_of_a_log_count_with_all_their_digits():
    log = PodLog()
    assert log.feed(b"2026-01-01T00:00:00.1Z a\n2026-01-01T00:00:00.12Z b\n2026") == ["a", "b"]
    log.begin()
    again = b"2026-01-01T00:00:00.12Z b\n2026-01-01T00:00:00.1200001Z c"
    assert log.feed(again) + log.end() == ["c"]
    assert log.since == "2026-01-01T00:00:00Z"


def test_limits_hold_for_the_command():
    script = "import resource as r; print(r.getrlimit(r.RLIMIT_NPROC), r.getrlimit(r.RLIMIT_FSIZE))"
    command = [sys.executable, "-I", LIMIT, "777", "0", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(777, 777) (-1, ")
