"""A namespace with a small hub and the chart beside it; a person of that hub, logged in."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from jupyterhub_binder.client.client import BinderClient
from jupyterhub_binder.demo.person import Person
from tests.conftest import requires
from tests.kit.cluster import CHART, Cluster, fill
from tests.kit.cluster_images import Images, build_images, find_docker, find_images

RELEASE = "binder"
REPOSITORY = "http://git/answer"
DEPLOYMENT = "binder"
WAIT_SECONDS = 180


@pytest.fixture(scope="session")
def images() -> Images:
    """Return the images of the pods."""
    if (named := find_images()) is not None:
        return named
    docker = find_docker()
    requires(docker, "images: a local Docker that serves the node, or their names (tests/cluster)")
    assert docker is not None
    return build_images(docker)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Make a namespace; remove it, and all that is in it, at the end."""
    made = Cluster(f"binder-test-{secrets.token_hex(3)}")
    made.run("create", "namespace", made.namespace)
    yield made
    made.run("delete", "namespace", made.namespace, "--timeout=180s", seconds=200)


@dataclass
class Site:
    """The hub, and the chart's release beside it."""

    cluster: Cluster
    images: Images
    password: str
    values: dict[str, Any]
    before: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    """The objects of the namespace and of the cluster, before the chart was installed."""

    async def install(self, **more: Any) -> None:
        """Install the chart, or upgrade it, and wait until it serves."""
        values = merge(self.values, more)
        await asyncio.to_thread(self._helm, "install", values)
        await asyncio.to_thread(self.cluster.wait_for, DEPLOYMENT)

    async def uninstall(self) -> None:
        """Take the chart's release away."""
        await asyncio.to_thread(self._helm, "uninstall", None)

    def _helm(self, what: str, values: dict[str, Any] | None) -> None:
        import helm_python

        with helm_python.Config(namespace=self.cluster.namespace) as helm:
            if what == "uninstall":
                helm.uninstall(RELEASE, ignore_not_found=True, timeout=WAIT_SECONDS)
            elif any(item["name"] == RELEASE for item in helm.list()):
                helm.upgrade(str(CHART), RELEASE, values)
            else:
                helm.install(str(CHART), RELEASE, values)


def merge(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Put values into values, as Helm does."""
    merged = dict(values)
    for key, value in more.items():
        before = merged.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = merge(before, value) if both else value
    return merged


@pytest.fixture(scope="module")
def chart_values() -> dict[str, Any]:
    """Return what a module adds to the chart's values."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    cluster: Cluster, images: Images, chart_values: dict[str, Any]
) -> AsyncIterator[Site]:
    """Put up the hub, then the chart."""
    password = secrets.token_urlsafe(24)
    name, _, tag = images.service.rpartition(":")
    words = {
        "HUB_IMAGE": images.hub,
        "SINGLEUSER_IMAGE": images.singleuser,
        "SERVICE_NAME": name,
        "SERVICE_TAG": tag,
        "SERVICE_URL": f"http://{DEPLOYMENT}:10101",
        "PASSWORD": password,
    }
    await asyncio.to_thread(cluster.apply, fill("hub.yaml", words))
    await asyncio.to_thread(cluster.wait_for, "git")
    values = merge(fill("values.yaml", words)[0], chart_values)
    site = Site(cluster, images, password, values)
    site.before = (cluster.list_objects(), cluster.list_cluster_objects())
    try:
        await site.install()
        await asyncio.to_thread(cluster.wait_for, "hub")
        yield site
    finally:
        await site.uninstall()


@dataclass
class Visitor:
    """A person at the hub, as their browser and their scripts are."""

    person: Person
    client: BinderClient

    async def stop_server(self) -> None:
        """Stop the server, and wait until it is gone."""
        await self.person.stop_server()
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.person.server_is_running():
                await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    """Log a person in, through the hub's proxy."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(site.cluster.forward("proxy-public", 80))
        await _until_routed(f"{url}services/{RELEASE}/versions")
        person = await stack.enter_async_context(Person(url, "ada", site.password))
        token = await person.make_token("test")
        client = await stack.enter_async_context(BinderClient(url, token, retry_seconds=0.2))
        yield Visitor(person, client)


async def _until_routed(url: str) -> None:
    """Wait until the hub's proxy leads to the service."""
    async with asyncio.timeout(WAIT_SECONDS), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.2)
