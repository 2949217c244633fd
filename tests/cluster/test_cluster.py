"""The chart on a real cluster: from a repository's address to a cell in a pod, and away again.

The order matters: the first test installs, the last one looks at what an uninstall leaves.
"""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.conftest import requires
from tests.kit.chart import render
from tests.kit.cluster import fill
from tests.kit.cluster_images import BINDERHUB, find_binderhub
from tests.kit.cluster_site import DEPLOYMENT, RELEASE, WAIT_SECONDS, Log, Site, Visitor, merge
from tests.kit.restore_pod import make_restore_pod

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = "http://git/answer"
CELL = """
import json, os, pathlib, socket, sys
print(json.dumps({
    "host": socket.gethostname(),
    "uid": os.getuid(),
    "file": pathlib.Path("answer/answer.py").read_text(),
    "request": os.environ["BINDER_REQUEST"],
}))
"""


async def test_a_build_and_a_launch_end_with_a_cell_in_a_pod(site: Site, visitor: Visitor):
    environment, _ = await visitor.build(REPOSITORY, path="answer.py")
    await visitor.launch(environment)
    pods = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [site.images.singleuser]

    seen = json.loads(await visitor.person.run_cell(CELL))
    assert seen["host"] == pods[0]["metadata"]["name"]
    assert seen["uid"] == 1000
    assert seen["file"] == "answer = 42\n"
    assert seen["request"].startswith("v2/git/")


async def test_an_edit_survives_the_pod(visitor: Visitor):
    await visitor.person.write_file("answer/answer.py", "answer = 43\n")
    await visitor.stop_server()
    [environment] = await visitor.client.environments()
    await visitor.launch(environment)
    assert await visitor.person.read_file("answer/answer.py") == "answer = 43\n"
    await visitor.stop_server()


async def test_a_build_and_the_launch_that_waits_for_it_survive_the_services_restart(
    site: Site, visitor: Visitor
):
    fake = {"lines": 200, "lines_per_second": 20.0, "image": site.images.singleuser}
    environment = await visitor.create(REPOSITORY, name="slow", options={"fake": fake})
    log = Log()
    following = asyncio.create_task(visitor.await_build(environment, log))
    launch = await visitor.client.launch(environment["id"], {"server_name": "slow"})
    async with asyncio.timeout(60):
        await log.reached.wait()

    await site.restart_service()
    async with asyncio.timeout(WAIT_SECONDS):
        build = await following
        await visitor.await_launch(launch)
    assert build["id"] == environment["latest"]["id"]
    # Every line reached the watcher once and in order, those from before the restart too.
    assert [line["seq"] for line in log.lines] == list(range(1, build["lines"] + 1))
    assert sum(line["message"] == "Pushing image" for line in log.lines) == 1
    assert {e["name"] for e in await visitor.client.environments()} == {"answer", "slow"}
    # A server of another name has the same home, which the deletion of that server leaves alone.
    pod = site.cluster.run("get", "pods", "--selector=component=singleuser-server", "--output=name")
    home = site.cluster.run("exec", pod.strip(), "--", "cat", "/home/jovyan/answer/answer.py")
    assert home == "answer = 43\n"
    await visitor.person._hub_api("DELETE", "users/ada/servers/slow", {"remove": True})


async def test_an_upgrade_keeps_secrets_and_environments(site: Site, visitor: Visitor):
    before = site.cluster.get("secret", DEPLOYMENT)["data"]
    await site.install(podAnnotations={"test": "upgraded"})
    assert site.cluster.get("secret", DEPLOYMENT)["data"] == before
    assert len(await visitor.client.environments()) == 2


async def test_a_backup_brings_back_what_was_deleted(site: Site, visitor: Visitor):
    """A Job of the CronJob's template: older clusters have no CronJob of this version."""
    cluster = site.cluster
    values = merge(site.values, {"backup": {"enabled": True, "persistence": {"size": "100Mi"}}})
    rendered = render(values, name=RELEASE, namespace=cluster.namespace)
    cronjob = rendered.one("CronJob", f"{DEPLOYMENT}-backup")
    job = {"apiVersion": "batch/v1", "kind": "Job", **cronjob["spec"]["jobTemplate"]}
    job["metadata"] = {**job["metadata"], "name": "backup-now"}
    claim = rendered.one("PersistentVolumeClaim", f"{DEPLOYMENT}-backup")
    policy = rendered.one("NetworkPolicy", f"{DEPLOYMENT}-backup")
    pod = make_restore_pod(cronjob)
    environments = await visitor.client.environments()
    try:
        await asyncio.to_thread(cluster.apply, [claim, policy, job])
        await asyncio.to_thread(cluster.wait_until, "job/backup-now", "Complete")
        written = re.search(r"Wrote (\S+), ", cluster.run("logs", "job/backup-now"))
        assert written
        for environment in environments:
            await visitor.client.delete(environment["id"])
        assert await visitor.client.environments() == []

        await asyncio.to_thread(cluster.run, "scale", f"deployment/{DEPLOYMENT}", "--replicas=0")
        await _until_service_is_gone(site)
        await asyncio.to_thread(cluster.apply, [pod])
        await asyncio.to_thread(cluster.wait_until, "pod/binder-restore", "Ready")
        restore = ("exec", "binder-restore", "--", "jupyterhub-binder", "db")
        config = "--config=/etc/jupyterhub-binder/config/jupyterhub_binder_config.py"
        assert "Restored" in cluster.run(*restore, "restore", config, written[1])
        cluster.run(*restore, "check", config)
    finally:
        made = [f"{one['kind']}/{one['metadata']['name']}" for one in (pod, job, policy, claim)]
        await asyncio.to_thread(cluster.run, "delete", "--ignore-not-found", *made)
        await asyncio.to_thread(cluster.run, "scale", f"deployment/{DEPLOYMENT}", "--replicas=1")
        await asyncio.to_thread(cluster.wait_for, DEPLOYMENT)
    names = {each["name"] for each in await visitor.client.environments()}
    assert names == {each["name"] for each in environments}


async def _until_service_is_gone(site: Site) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while site.cluster.get("pods", "--selector=app.kubernetes.io/component=service")["items"]:
            await asyncio.sleep(0.2)


async def test_the_service_runs_as_nobody_on_a_read_only_root(site: Site):
    assert (await site.run_in_service("id", "-u")).strip() == "1000"
    with pytest.raises(RuntimeError, match="Read-only"):
        await site.run_in_service("touch", "/opt/binder/here")
    with pytest.raises(RuntimeError):
        await site.run_in_service("ls", "/var/run/secrets/kubernetes.io")


async def test_binderhub_builds_the_image_of_a_pod(site: Site, visitor: Visitor):
    named = find_binderhub()
    requires(named, f"BinderHub's images: their names in {' and '.join(BINDERHUB)}")
    assert named is not None
    await site.install(**fill("binderhub.yaml", named)[0])
    await asyncio.to_thread(site.cluster.wait_for, f"{DEPLOYMENT}-binderhub")

    environment, _ = await visitor.build(REPOSITORY, name="image")
    await visitor.launch(environment)
    [pod] = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    image = pod["spec"]["containers"][0]["image"]
    assert image.startswith("binder/env-"), image
    # Its server came with the repository's own Dockerfile. The log need not tell: BinderHub loses
    # sight of the pod of a build that takes a moment.
    assert "answer = 43" in await visitor.person.read_file("answer/answer.py")
    await visitor.stop_server()


async def test_an_uninstall_leaves_no_trace(site: Site):
    await site.uninstall()

    def left() -> set[str]:
        namespaced, cluster_wide = site.before
        claims = {
            name
            for name in site.cluster.list_objects() - namespaced
            # What the hub made for people stays: homes are no business of the chart.
            if not name.startswith("persistentvolumeclaim/claim-")
        }
        homes = site.cluster.get("persistentvolumeclaims")["items"]
        volumes = {f"persistentvolume/{home['spec'].get('volumeName')}" for home in homes}
        return claims | (site.cluster.list_cluster_objects() - cluster_wide - volumes)

    async with asyncio.timeout(WAIT_SECONDS):
        while found := await asyncio.to_thread(left):
            print("still there:", *sorted(found))
            await asyncio.sleep(1)
