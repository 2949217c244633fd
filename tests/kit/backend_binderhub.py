"""The backends of BinderHub under the conformance suite: against a simulated one, and a real one.

A real one is given by BINDERHUB_URL. It must be in API-only mode; BINDERHUB_API_TOKEN is sent
where it is set. Its builds begin from BINDERHUB_BASE_IMAGE, and fetch repositories that this
machine serves at 127.0.0.1, unless BINDERHUB_REPOS is the address of a folder that holds git
repositories called good, failing, hanging and hostile.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.backends.binderhub.backend import BinderHubBackend
from jupyterhub_binder.backends.binderhub.base import RemoteBackend
from jupyterhub_binder.backends.binderhub.federation import FederationBackend
from jupyterhub_binder.model import BuildJob, Spec
from tests.kit import replay
from tests.kit.backends import NOISE, Kit
from tests.kit.engine import BASE_IMAGE
from tests.kit.git_server import GitServer
from tests.kit.jobs import make_job
from tests.kit.replay import HANG, ReplayServer, chunk, event, ready, said, stream


@functools.cache
def simulated() -> ReplayServer:
    """A BinderHub of bytes in a thread of its own, for as long as the tests run."""
    started = threading.Event()
    found: list[ReplayServer] = []

    async def serve() -> None:
        async with replay.replaying() as server:
            teach(server)
            found.append(server)
            started.set()
            await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    started.wait()
    return found[0]


def teach(server: ReplayServer) -> None:
    """Tell the server what becomes of the jobs below."""
    begin = [
        *said("Waiting for build to start...", phase="waiting"),
        event("Picked Git content provider.\n"),
        *said("Cloning", "HEAD is now at cccc", phase="fetching"),
    ]
    server.tell("/good/", stream(begin, said("Step 1", "Step 2"), ready("registry/good:c")))
    failed = event("ERROR: there is no nosuchthing", "failed"), event(phase="failed"), HANG
    server.tell("/failing/", stream(begin, said("Step 1"), list(failed)))
    server.tell("/hanging/", stream(begin, said("started"), HANG))
    noise = [
        event("\x1b[31mred\n\x1b[0m \0 \ud800\u202e\n" + "1%\r2%\r" * 50, "building"),
        event("x" * 1_000_000, "building"),
        chunk(b"data: \xff\xfe\n\n:comment\n\ndata: [1]\n\n"),
    ]
    server.tell("/hostile/", stream(begin, noise, ready("registry/hostile:c")))


class BinderHubKit(Kit):
    """One BinderHub, simulated."""

    tells_size = False
    backend: RemoteBackend

    def make(self) -> BuildBackend:
        return BinderHubBackend(url=simulated().url, images_dir=str(self.folder / "images"))

    def good(self) -> BuildJob:
        return make_job(repo="org/good")

    def failing(self) -> BuildJob:
        return make_job(repo="org/failing")

    def hanging(self) -> BuildJob:
        return make_job(repo="org/hanging")

    def hostile(self) -> BuildJob:
        return make_job(repo="org/hostile")

    def leftovers(self) -> list[str]:
        """Connections that are still held, and builds that are still counted."""
        connectors = {host.client._session.connector for host in self.backend.hosts}
        held = [each for one in connectors for each in getattr(one, "_acquired", ())]
        running = [status.name for status in self.backend.statuses() if status.running]
        beside = [str(path) for path in self.folder.glob("images/*.new")]
        return [*map(repr, held), *running, *beside]


class FederationKit(BinderHubKit):
    """Two of them, one of which is down."""

    def make(self) -> BuildBackend:
        members = [
            {"name": "down", "url": "http://127.0.0.1:9/", "weight": 1000},
            {"name": "up", "url": simulated().url},
        ]
        return FederationBackend(members=members, images_dir=str(self.folder / "images"))


HANGING = "RUN : {salt}; echo started; sleep 1000\n"
DOCKERFILES = {
    "good": "RUN : {salt}; echo one; echo two\n",
    "failing": "RUN : {salt}; echo about to fail; nosuchthing\n",
    "hanging": HANGING,
    "hostile": "COPY noise /noise\nRUN : {salt}; python3 /noise\n",
}


@functools.cache
def repositories(root: Path) -> GitServer:
    """A git server for as long as the tests run."""
    server = GitServer(root)
    server._thread.start()
    return server


class LiveBinderHubKit(BinderHubKit):
    """A real BinderHub, which makes real images."""

    marks: ClassVar[tuple[str, ...]] = ("binderhub",)

    def make(self) -> BuildBackend:
        return BinderHubBackend(
            url=os.environ["BINDERHUB_URL"], images_dir=str(self.folder / "images")
        )

    def _job(self, name: str) -> BuildJob:
        url, sha = self._repository(name)
        job = make_job(options={"url": url, "sha": sha})
        build = replace(job.build, spec=Spec("git", url), clone_url=url, resolved_ref=sha)
        return replace(job, build=build)

    def _repository(self, name: str) -> tuple[str, str]:
        """The address of a repository, and its newest commit; new ones for every test."""
        if root := os.environ.get("BINDERHUB_REPOS"):
            url = f"{root.rstrip('/')}/{name}"
            done = subprocess.run(
                ["git", "ls-remote", url, "HEAD"], capture_output=True, text=True, check=True
            )
            return url, done.stdout.split()[0]
        folder = self.folder.parent / "live"
        folder.mkdir(exist_ok=True)
        server = repositories(folder)
        base = os.environ.get("BINDERHUB_BASE_IMAGE", BASE_IMAGE)
        salt = f"{self.folder.name}-{name}"
        path = f"live/{salt}".lower()
        if not (folder / "work" / path).exists():
            dockerfile = f"FROM {base}\n{DOCKERFILES[name].format(salt=salt)}"
            server.make_repo(path, {"Dockerfile": dockerfile, "noise": NOISE})
        sha = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=folder / "work" / path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        return f"{server.url}/{path}.git", sha

    def good(self) -> BuildJob:
        return self._job("good")

    def failing(self) -> BuildJob:
        return self._job("failing")

    def hanging(self) -> BuildJob:
        return self._job("hanging")

    def hostile(self) -> BuildJob:
        return self._job("hostile")
