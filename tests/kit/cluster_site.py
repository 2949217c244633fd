"""A small hub on a cluster with the chart beside it, and a person of that hub.

`tests/cluster` and `bench/cluster.py` use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from jupyterhub_binder.client.client import BinderClient
from jupyterhub_binder.client.follow import Reporter, follow_build, follow_launch
from jupyterhub_binder.demo.person import Person
from tests.kit.cluster import CHART, Cluster, fill
from tests.kit.cluster_images import Images

RELEASE = "binder"
DEPLOYMENT = "binder"
WAIT_SECONDS = 180


@contextlib.contextmanager
def open_namespace() -> Iterator[Cluster]:
    """Make a namespace; remove it, and all that is in it, at the end."""
    made = Cluster(f"binder-test-{secrets.token_hex(3)}")
    made.run("create", "namespace", made.namespace)
    try:
        yield made
    finally:
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

    async def restart_service(self) -> None:
        """Delete the service's pod, and don't wait for the next one."""
        await asyncio.to_thread(
            self.cluster.run,
            "delete", "pod", "--selector=app.kubernetes.io/component=service", "--wait=false",
        )  # fmt: skip

    async def run_in_service(self, *command: str) -> str:
        """Run a command in the service's container; return what it printed."""
        return await asyncio.to_thread(
            self.cluster.run, "exec", f"deployment/{DEPLOYMENT}", "--", *command
        )

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
        nested = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = merge(before, value) if nested else value  # pyright: ignore[reportArgumentType]
    return merged


@contextlib.asynccontextmanager
async def open_site(
    cluster: Cluster,
    images: Images,
    chart_values: dict[str, Any],
    repositories: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """Put up the hub, then the chart with values added; take the chart away at the end.

    `repositories` are added to those of the cluster's git host, in the form of `hub.yaml`.
    """
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
    documents = fill("hub.yaml", words)
    (served,) = [one for one in documents if one["kind"] == "ConfigMap"]
    served["data"] |= repositories or {}
    await asyncio.to_thread(cluster.apply, documents)
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


class Log(Reporter):
    """Keeps what was told of a build."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.reached = asyncio.Event()
        """Set when the build is well under way."""

    def line(self, event: dict[str, Any]) -> None:
        self.lines.append(event)
        if len(self.lines) >= 10:
            self.reached.set()


@dataclass
class Visitor:
    """A person at the hub, as their browser and their scripts are."""

    site: Site
    person: Person
    client: BinderClient

    async def create(self, url: str, **fields: Any) -> dict[str, Any]:
        """Create an environment, whose build begins."""
        return await self.client.create({"url": url, **fields})

    async def await_build(self, environment: dict[str, Any], log: Log) -> dict[str, Any]:
        """Follow an environment's build to its end, which must be good; return it."""
        build = await follow_build(self.client, environment["latest"]["id"], log)
        said = "\n".join(line["message"] for line in log.lines[-20:])
        assert build["state"] == "built", f"{build.get('reason')}\n{said}\n{self._explain()}"
        return build

    async def build(self, url: str, **fields: Any) -> tuple[dict[str, Any], Log]:
        """Create an environment and build it; return it, and the log."""
        environment, log = await self.create(url, **fields), Log()
        await self.await_build(environment, log)
        return environment, log

    async def await_launch(
        self, launch: dict[str, Any], reporter: Reporter | None = None
    ) -> dict[str, Any]:
        """Follow a launch until its server is ready."""
        launch = await follow_launch(self.client, launch, reporter or Reporter())
        assert launch["state"] == "ready", f"{launch}\n{self._explain()}"
        return launch

    async def launch(
        self, environment: dict[str, Any], reporter: Reporter | None = None
    ) -> dict[str, Any]:
        """Start a server from an environment."""
        started = await self.client.launch(environment["id"], {})
        return await self.await_launch(started, reporter)

    async def stop_server(self) -> None:
        """Stop the server, and wait until it is gone."""
        await self.person.stop_server()
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.person.server_is_running():
                await asyncio.sleep(0.2)

    def _explain(self) -> str:
        return self.site.cluster.explain()


@contextlib.asynccontextmanager
async def open_visitor(site: Site) -> AsyncIterator[Visitor]:
    """Log a person in, through the hub's proxy."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(site.cluster.forward("proxy-public", 80))
        await _until_routed(f"{url}services/{RELEASE}/versions")
        person = await stack.enter_async_context(Person(url, "ada", site.password))
        token = await person.make_token("test")
        client = await stack.enter_async_context(BinderClient(url, token, retry_seconds=0.2))
        yield Visitor(site, person, client)


async def _until_routed(url: str) -> None:
    """Wait until the hub's proxy leads to the service."""
    async with asyncio.timeout(WAIT_SECONDS), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as response:
                if response.status == 200:
                    return
            await asyncio.sleep(0.2)
