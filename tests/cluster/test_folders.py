"""Environments as folders on a real cluster: built by pods, mounted by servers, no registry.

The order matters: the first build fills uv's cache, the last test removes what nobody uses.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from jupyterhub_binder.client.follow import Reporter, follow_build, follow_launch
from jupyterhub_binder.hubconfig import CHART_ROOT
from tests.cluster.conftest import DEPLOYMENT, WAIT_SECONDS, Site, Visitor
from tests.cluster.test_cluster import Log, said
from tests.kit.cluster_images import JUPYTERHUB

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

CELL = """
import json, os, sys, tabulate
def writes(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return "yes"
print(json.dumps({
    "prefix": sys.prefix,
    "packages": tabulate.__file__,
    "writes": writes(sys.prefix + "/here"),
    "others": writes(os.path.dirname(sys.prefix) + "/here"),
}))
"""


@pytest.fixture(scope="module")
def chart_values() -> dict[str, Any]:
    return {
        "builder": {"type": "folders", "folders": {"persistence": {"size": "2Gi"}}},
        "config": {
            "JupyterHubBinder": {"backend": "venv"},
            "VenvBackend": {"base_packages": [f"jupyterhub{JUPYTERHUB}", "jupyterlab>=4,<5"]},
        },
    }


async def build(visitor: Visitor, name: str) -> dict[str, Any]:
    """Build a repository of the cluster's git host; return the environment."""
    environment = await visitor.client.create({"url": f"http://git/{name}", "name": name})
    log, begun = Log(), time.monotonic()
    built = await follow_build(visitor.client, environment["latest"]["id"], log)
    assert built["state"] == "built", said(built, log)
    print(f"{name}: built in {time.monotonic() - begun:.1f} s")
    for line in log.lines:
        print("   ", line["time"][11:23], line["message"][:100])
    return environment


async def launch(site: Site, visitor: Visitor, environment: dict[str, Any]) -> None:
    begun = time.monotonic()
    started = await visitor.client.launch(environment["id"], {})
    started = await follow_launch(visitor.client, started, Reporter())
    assert started["state"] == "ready", f"{started}\n{site.cluster.explain()}"
    print(f"{environment['name']}: started in {time.monotonic() - begun:.1f} s")


def folders(site: Site) -> set[str]:
    """Return the environments on the volume."""
    return set(
        site.cluster.run("exec", f"deployment/{DEPLOYMENT}", "--", "ls", str(CHART_ROOT)).split()
    )


async def test_a_first_build_and_a_launch_from_its_folder(site: Site, visitor: Visitor):
    await launch(site, visitor, await build(visitor, "packages"))
    seen = json.loads(await visitor.person.run_cell(CELL))
    assert seen["prefix"].startswith(f"{CHART_ROOT}/")
    assert seen["packages"].startswith(seen["prefix"])
    assert "Read-only" in seen["writes"]
    assert seen["others"] != "yes"
    pods = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [site.images.singleuser]
    await visitor.stop_server()


async def test_a_second_environment_comes_from_the_cache(site: Site, visitor: Visitor):
    await launch(site, visitor, await build(visitor, "again"))
    await visitor.stop_server()


async def test_a_post_build_runs_in_a_pod_that_is_gone_afterwards(site: Site, visitor: Visitor):
    await launch(site, visitor, await build(visitor, "script"))
    assert await visitor.person.read_file("script/made.txt") == "made by 1000\n"
    assert not site.cluster.get("pods", "--selector=app.kubernetes.io/component=build")["items"]
    await visitor.stop_server()


async def test_an_attack_from_a_build_reaches_nothing(site: Site, visitor: Visitor):
    await launch(site, visitor, await build(visitor, "attack"))
    seen = json.loads(await visitor.person.read_file("attack/seen.json"))
    print(seen)
    await visitor.stop_server()
    assert seen["uid"] == 1000
    assert seen["token"] is False
    assert seen["folders"] == [".building", seen["own"]] or seen["folders"] == [seen["own"]]
    assert "Read-only" in seen["root"]
    assert seen["above"] is not True
    assert seen["pods"] != 200
    assert seen["capabilities"] == ["0000000000000000"]
    if seen["git"] is True:
        pytest.skip("the network of this cluster enforces no policies")
    assert seen["service"] is not True
    assert seen["metadata"] is not True
    assert not isinstance(seen["pods"], int)


async def test_a_launch_goes_on_while_the_service_restarts(site: Site, visitor: Visitor):
    environment = await visitor.client.create({"url": "http://git/restart", "name": "restart"})
    log = Log()
    following = asyncio.create_task(follow_build(visitor.client, environment["latest"]["id"], log))
    started = await visitor.client.launch(environment["id"], {})
    async with asyncio.timeout(WAIT_SECONDS):
        await log.reached.wait()
    await asyncio.to_thread(
        site.cluster.run,
        "delete", "pod", "--selector=app.kubernetes.io/component=service", "--wait=false",
    )  # fmt: skip
    async with asyncio.timeout(WAIT_SECONDS):
        built = await following
        started = await follow_launch(visitor.client, started, Reporter())
    assert built["state"] == "built", said(built, log)
    assert started["state"] == "ready", f"{started}\n{site.cluster.explain()}"
    assert not site.cluster.get("pods", "--selector=app.kubernetes.io/component=build")["items"]


async def test_clean_up_removes_the_folders_that_no_server_uses(site: Site, visitor: Visitor):
    """The server of the last test runs in one of them."""
    before = folders(site)
    assert len(before) > 1
    cleanup = {"budget_bytes": 1, "unused_days": 0, "interval_seconds": 5}
    await site.install(config={"Cleanup": cleanup})
    async with asyncio.timeout(WAIT_SECONDS):
        while len(left := await asyncio.to_thread(folders, site)) > 1:
            await asyncio.sleep(1)
    pods = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    mounts = pods[0]["spec"]["containers"][0]["volumeMounts"]
    assert left == {mount["subPath"] for mount in mounts if "subPath" in mount} & before
    seen = await visitor.person.run_cell("import jupyterlab; print('there')")
    assert seen.strip() == "there"
