"""Environments as folders on a real cluster: built by pods, mounted by servers, no registry.

The order matters: the first build fills uv's cache, the last test removes what nobody uses.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jupyterhub_binder.hubconfig import CHART_ROOT
from tests.kit.cluster_images import JUPYTERHUB
from tests.kit.cluster_site import WAIT_SECONDS, Log, Site, Visitor

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
    "root": writes("/opt/jupyter/here"),
    "uid": os.getuid(),
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


async def build_and_launch(visitor: Visitor, name: str) -> None:
    """Build a repository of the cluster's git host, and start a server from it."""
    environment, _ = await visitor.build(f"http://git/{name}", name=name)
    await visitor.launch(environment)


async def folders(site: Site) -> set[str]:
    """Return the environments on the volume."""
    return set((await site.run_in_service("ls", str(CHART_ROOT))).split())


async def test_a_first_build_and_a_launch_from_its_folder(site: Site, visitor: Visitor):
    await build_and_launch(visitor, "packages")
    seen = json.loads(await visitor.person.run_cell(CELL))
    assert seen["prefix"].startswith(f"{CHART_ROOT}/")
    assert seen["packages"].startswith(seen["prefix"])
    assert "Read-only" in seen["writes"]
    assert seen["others"] != "yes"
    assert "Read-only" in seen["root"]
    assert seen["uid"] == 1000
    pods = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == [site.images.singleuser]
    await visitor.stop_server()


async def test_a_second_environment_comes_from_the_cache(site: Site, visitor: Visitor):
    await build_and_launch(visitor, "again")
    await visitor.stop_server()


async def test_a_post_build_runs_in_a_pod_that_is_gone_afterwards(site: Site, visitor: Visitor):
    await build_and_launch(visitor, "script")
    assert await visitor.person.read_file("script/made.txt") == "made by 1000\n"
    assert not site.cluster.get("pods", "--selector=app.kubernetes.io/component=build")["items"]
    await visitor.stop_server()


async def test_an_attack_from_a_build_reaches_nothing(site: Site, visitor: Visitor):
    await build_and_launch(visitor, "attack")
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
    environment = await visitor.create("http://git/restart", name="restart")
    log = Log()
    following = asyncio.create_task(visitor.await_build(environment, log))
    started = await visitor.client.launch(environment["id"], {})
    async with asyncio.timeout(WAIT_SECONDS):
        await log.reached.wait()
    await site.restart_service()
    async with asyncio.timeout(WAIT_SECONDS):
        await following
        await visitor.await_launch(started)
    assert not site.cluster.get("pods", "--selector=app.kubernetes.io/component=build")["items"]


async def test_clean_up_removes_the_folders_that_no_server_uses(site: Site, visitor: Visitor):
    """The server of the last test runs in one of them."""
    before = await folders(site)
    assert len(before) > 1
    cleanup = {"budget_bytes": 1, "unused_days": 0, "interval_seconds": 5}
    await site.install(config={"Cleanup": cleanup})
    async with asyncio.timeout(WAIT_SECONDS):
        while len(left := await folders(site)) > 1:
            await asyncio.sleep(1)
    pods = site.cluster.get("pods", "--selector=component=singleuser-server")["items"]
    mounts = pods[0]["spec"]["containers"][0]["volumeMounts"]
    assert left == {mount["subPath"] for mount in mounts if "subPath" in mount} & before
    seen = await visitor.person.run_cell("import jupyterlab; print('there')")
    assert seen.strip() == "there"
