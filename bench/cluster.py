"""From a pasted link to JupyterLab on a cluster, by phase: folders, and images of a BinderHub.

Both on the cluster of KUBECONFIG, one after the other, each in a namespace of its own, with the hub of
`tests/cluster`. Every repository needs numpy, pandas, matplotlib and a package of its own. For images, a
Dockerfile installs the same with pip, the server in a layer that all share, as repo2docker's build packs
do. There is no registry between builder and node: real clusters also push and pull.

Set BINDER_TEST_CLUSTER=1, and name BinderHub's images as CONTRIBUTING.md says for `make test-cluster`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.figures import show
from jupyterhub_binder.client.follow import follow_build
from tests.kit.cluster import fill, find_cluster
from tests.kit.cluster_images import (
    JUPYTERHUB,
    Images,
    build_images,
    find_binderhub,
    find_docker,
    find_images,
)
from tests.kit.cluster_site import (
    DEPLOYMENT,
    WAIT_SECONDS,
    Log,
    Site,
    Visitor,
    open_namespace,
    open_site,
    open_visitor,
)

PACKAGES = "numpy\npandas\nmatplotlib\n"
OWN = ("tabulate", "toolz", "networkx", "seaborn")
"""What one repository has and the others have not; the first one's build finds nothing cached."""
SERVER = (f"jupyterhub{JUPYTERHUB}", "jupyterlab>=4,<5")
LAUNCHES = 3

FOLDERS = {
    "builder": {"type": "folders", "folders": {"persistence": {"size": "10Gi"}}},
    "config": {
        "JupyterHubBinder": {"backend": "venv"},
        "VenvBackend": {"base_packages": list(SERVER)},
    },
}

DOCKERFILE = """
FROM {image}
USER root
RUN : {run} && python3 -m venv /opt/image && /opt/image/bin/pip install --no-cache-dir {server}
RUN /opt/image/bin/pip install --no-cache-dir {packages}
ENV PATH=/opt/image/bin:$PATH
COPY . /srv/repo
USER 1000
"""

PHASES = (
    (r"Creating an environment", "resolve"),
    (r"Installing them", "install"),
    (r"Installed \d+ packages", "compile"),
    (r"Testing that", "smoke test"),
)
"""What a line of a folder's build begins. BinderHub does not send the whole log of every build, so an
image is measured as one phase."""


@dataclass
class Taken:
    """What one paste or launch took, in seconds."""

    phases: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Return the whole."""
        return sum(self.phases.values())


async def measure() -> None:
    """Print the figures."""
    if not find_cluster():
        _skip("paste_to_lab_folders", "BINDER_TEST_CLUSTER=1 and KUBECONFIG, for a cluster to try")
        return
    images = find_images()
    if images is None:
        docker = find_docker()
        if docker is None:
            _skip("paste_to_lab_folders", "a local Docker that serves the node, or named images")
            return
        images = await asyncio.to_thread(build_images, docker)
    folders = {
        f"folder-{number}--requirements.txt": f"{PACKAGES}{own}\n" for number, own in enumerate(OWN)
    }
    async with _open(images, FOLDERS, folders) as (_, visitor):
        await _measure("folders", visitor, "folder")
    binderhub = find_binderhub()
    if binderhub is None:
        _skip("paste_to_lab_images", "BinderHub's images")
        return
    values = fill("binderhub.yaml", binderhub)[0]
    async with _open(images, values, _dockerfiles(images)) as (site, visitor):
        await asyncio.to_thread(site.cluster.wait_for, f"{DEPLOYMENT}-binderhub")
        await _measure("images", visitor, "image")


def _skip(figure: str, needed: str) -> None:
    print(json.dumps({"figure": figure, "skipped": f"needs {needed}"}), flush=True)


def _dockerfiles(images: Images) -> dict[str, str]:
    run = secrets.token_hex(8)  # layers of an earlier run don't count
    server = " ".join(f"'{each}'" for each in SERVER)
    return {
        f"image-{number}--Dockerfile": DOCKERFILE.format(
            image=images.singleuser,
            run=run,
            server=server,
            packages=f"{PACKAGES}{own}".replace("\n", " "),
        )
        for number, own in enumerate(OWN)
    }


@asynccontextmanager
async def _open(
    images: Images, values: dict[str, Any], repositories: dict[str, str]
) -> AsyncIterator[tuple[Site, Visitor]]:
    with open_namespace() as cluster:
        async with (
            open_site(cluster, images, values, repositories) as site,
            open_visitor(site) as visitor,
        ):
            yield site, visitor


async def _measure(kind: str, visitor: Visitor, prefix: str) -> None:
    pasted, environment = [], {}
    for number in range(len(OWN)):
        environment, taken = await _paste(visitor, f"{prefix}-{number}")
        pasted.append(taken)
        _say(f"{prefix}-{number} pasted", taken)
    built = []
    for _ in range(LAUNCHES):
        built.append(await _launch(visitor, environment))
        _say(f"{environment['name']} launched", built[-1])
    _show(f"paste_to_lab_{kind}_nothing_cached", "", pasted[:1])
    _show(f"paste_to_lab_{kind}_warm_cache", "<= 15", pasted[1:])
    _show(f"paste_to_lab_{kind}_built", "<= 8", built)


def _say(what: str, taken: Taken) -> None:
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in taken.phases.items())
    print(f"{what}: {taken.seconds:.1f} s ({parts})", file=sys.stderr, flush=True)


def _show(figure: str, goal: str, taken: Sequence[Taken]) -> None:
    names = list(dict.fromkeys(name for one in taken for name in one.phases))
    show(
        figure,
        statistics.median(one.seconds for one in taken),
        "s",
        goal=goal,
        phases={
            name: round(statistics.median(one.phases.get(name, 0) for one in taken), 1)
            for name in names
        },
        seconds=[round(one.seconds, 1) for one in taken],
        load=round(os.getloadavg()[0], 1),
    )


# --- A paste ---------------------------------------------------------------------------------------


async def _paste(visitor: Visitor, name: str) -> tuple[dict[str, Any], Taken]:
    """Build a repository and launch it; return the environment."""
    begun = time.time()
    environment = await visitor.create(f"http://git/{name}", name=name)
    log = Log()
    build = await follow_build(visitor.client, environment["latest"]["id"], log)
    ended = time.time()
    assert build["state"] == "built", f"{build.get('reason')}\n{log.lines[-20:]}"
    phases = _phases(log.lines, begun, ended) or {"fetch and build": ended - begun}
    return environment, Taken(phases | (await _launch(visitor, environment)).phases)


def _phases(lines: Sequence[dict[str, Any]], begun: float, ended: float) -> dict[str, float]:
    """Return the seconds between the lines that begin a phase, if there are any.

    The node's clock and the one here must agree.
    """
    marks = [(begun, "fetch")]
    for line in lines:
        name = next((name for text, name in PHASES if re.match(text, line["message"])), "")
        if name and name not in {known for _, known in marks}:
            marks.append((datetime.fromisoformat(line["time"]).timestamp(), name))
    if len(marks) == 1:
        return {}
    ends = [at for at, _ in marks[1:]] + [ended]
    return {name: end - at for (at, name), end in zip(marks, ends, strict=True)}


# --- A launch --------------------------------------------------------------------------------------


async def _launch(visitor: Visitor, environment: dict[str, Any]) -> Taken:
    """Start a server until JupyterLab answers; stop it."""
    async with _running_pod(visitor.site) as running:
        begun = time.time()
        await visitor.launch(environment)
        async with asyncio.timeout(WAIT_SECONDS):
            while await visitor.person.open_lab() != 200:
                await asyncio.sleep(0.05)
        answered = time.time()
        started = await asyncio.wait_for(running, 10)
    await visitor.stop_server()
    return Taken({"pod start": started - begun, "JupyterLab answers": answered - started})


@asynccontextmanager
async def _running_pod(site: Site) -> AsyncIterator[asyncio.Future[float]]:
    """Watch for a server's container; give the time at which it was seen to run."""
    process = await asyncio.create_subprocess_exec(
        "kubectl", f"--namespace={site.cluster.namespace}", "get", "pods", "--watch",
        "--selector=component=singleuser-server",
        '--output=jsonpath={.status.containerStatuses[0].state.running.startedAt}{"\\n"}',
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    seen: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            if line.strip() and not seen.done():
                seen.set_result(time.time())

    reading = asyncio.create_task(read(process.stdout))
    try:
        yield seen
    finally:
        process.terminate()
        await process.wait()
        await reading
