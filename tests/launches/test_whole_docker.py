"""Everything at once: the real service, repo2docker, DockerSpawner and a proxy, asked over REST."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from jupyterhub.tests.mocking import MockHub
from jupyterhub.utils import random_port

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.utils.names import new_id
from tests.kit.engine import Engine
from tests.kit.git_server import GitServer
from tests.kit.real_hub import start_hub, stop_hub
from tests.launches.test_launches import TOKEN, service_config
from tests.spawner.test_docker_spawner import NAMES, DockerPerson, docker_config

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(1200)]

START = '#!/bin/bash\nexport FROM_START=yes\nexec "$@"\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[JupyterHubBinder]:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        url = f"http://127.0.0.1:{random_port()}"
        hub = await start_hub(docker_config(folder, docker_engine.base_image, url, TOKEN))
        port = int(url.rpartition(":")[2])
        c = service_config(hub.hub.api_url.rstrip("/"), port, folder / "state")
        c.JupyterHubBinder.backend = "repo2docker"
        c.Repo2DockerBackend.work_dir = str(folder / "work")
        c.Repo2DockerBackend.image_prefix = f"{NAMES}-whole/"
        c.Repo2DockerBackend.buildpack = "debian"
        c.Repo2DockerBackend.base_image = docker_engine.base_image
        app = JupyterHubBinder(config=c)
        await app.start_service()
        app.test_hub = hub  # type: ignore[attr-defined]
        yield app
        await app.stop_service()
        await stop_hub(hub)
        await hub.proxy.stop()
    for container in docker_engine.list("ps", "-aq", f"--filter=name={NAMES}"):
        docker_engine.run("rm", "-f", container)


@pytest.fixture(scope="module")
def git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


class Ada(DockerPerson):
    """A person who asks the service, as a program does."""

    def __init__(self, app: JupyterHubBinder, hub: MockHub, engine: Engine) -> None:
        super().__init__(hub, f"ada-{new_id()}", engine)
        self.url = f"http://127.0.0.1:{app.port}/services/binder/api/v1/"
        self.key = self.user.new_api_token()

    async def tell(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.url + path, json=body) as response,
        ):
            assert response.status < 300, await response.text()
            return await response.json()

    async def launch(self, environment: dict[str, Any]) -> dict[str, Any]:
        """Launch an environment; return the launch when it has ended."""
        started = await self.tell("POST", f"environments/{environment['id']}/launches", {})
        async with asyncio.timeout(900):
            while not (now := await self.tell("GET", f"launches/{started['id']}"))["finished"]:
                await asyncio.sleep(0.2)
        return now

    async def current_image(self, environment: dict[str, Any]) -> str:
        spec = await self.tell("GET", f"environments/{environment['id']}/launch-spec")
        return spec["image"]


async def test_from_two_repositories_to_labs_in_one_home_and_back_when_an_image_is_gone(
    service: JupyterHubBinder, docker_engine: Engine, git: GitServer
) -> None:
    ada = Ada(service, service.test_hub, docker_engine)  # type: ignore[attr-defined]
    files = {"requirements.txt": "", "start": START, "index.ipynb": json.dumps({"cells": []})}
    one = await ada.tell("POST", "environments", {"url": git.make_repo("org/one", files).url})
    launch = await ada.launch(one)
    assert launch["state"] == "ready", launch
    assert "JupyterLab" in await ada.through_proxy("lab")
    assert "index.ipynb" in await ada.contents(one["directory"])
    env = ada.env()
    assert (env["FROM_START"], env["HOME"]) == ("yes", "/home/jovyan")
    first = await ada.current_image(one)
    assert ada.inspect("{{.Config.Image}}") == first
    await ada.write(f"{one['directory']}/mine.txt", "kept")
    await ada.stop()

    files = {"requirements.txt": "", "which.txt": "two"}
    two = await ada.tell("POST", "environments", {"url": git.make_repo("org/two", files).url})
    launch = await ada.launch(two)
    assert launch["state"] == "ready", launch
    assert ada.inspect("{{.Config.Image}}") == await ada.current_image(two) != first
    assert await ada.contents(f"{one['directory']}/mine.txt") == "kept"
    assert await ada.contents(f"{two['directory']}/which.txt") == "two"
    assert "FROM_START" not in ada.env()
    await ada.stop()

    container = ada.container
    docker_engine.run("image", "rm", first)
    options = {"environment": one["id"], "image": await ada.current_image(two)}
    status, answer = await ada.spawn(options)
    assert status in (201, 202), answer
    async with asyncio.timeout(900):
        while not ada.spawner.ready:
            assert ada.spawner.active
            await asyncio.sleep(0.2)
    assert ada.container != container, "an old container never starts with another image"
    assert ada.inspect("{{.Config.Image}}") == await ada.current_image(one)
    assert await ada.contents(f"{one['directory']}/mine.txt") == "kept"
    await ada.stop()
