"""DockerSpawner on a real engine: a real image, a real proxy, a home in a volume."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
import pytest_asyncio
from dockerspawner import DockerSpawner
from jupyterhub import orm
from jupyterhub.tests.mocking import MockHub
from jupyterhub.utils import random_port
from traitlets import default
from traitlets.config import Config

from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.hubconfig import configure
from jupyterhub_binder.utils.names import new_id
from tests.kit.engine import Engine
from tests.kit.jobs import collect, image_of, job_of
from tests.kit.real_hub import FakeService, Person, start_hub, stop_hub

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

NAMES = f"binder-spawner-{new_id()}"
"""What containers and volumes of this run begin with."""


class HostDocker(DockerSpawner):
    """Containers in the machine's own network, where a hub on 127.0.0.1 is in reach."""

    ports: ClassVar[dict[str, int]] = {}
    """By person: a container that starts again listens where it did before."""

    @default("port")
    def _free_port(self) -> int:
        return self.ports.setdefault(self.user.name, random_port())

    async def get_ip_and_port(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


# --- Images, a hub, people ------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image that repo2docker made, with a `start` script of the repository's own."""
    folder = tmp_path_factory.mktemp("backend")
    backend = Repo2DockerBackend(
        work_dir=str(folder / "work"),
        image_prefix=f"{NAMES}/",
        buildpack="debian",
        base_image=docker_engine.base_image,
    )
    await backend.start()
    files = {
        "requirements.txt": "six==1.17.0\n",
        "index.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        "start": '#!/bin/bash\nexport FROM_START=yes\nexec "$@"\n',
    }
    try:
        return image_of(await collect(backend, job_of(folder / "checkout", files))).name
    finally:
        await backend.stop()


@pytest.fixture(scope="module")
def other(docker_engine: Engine, built: str) -> str:
    """Return another environment's image."""
    container = f"{NAMES}-other"
    script = "echo other > /srv/repo/which.txt"
    docker_engine.run("run", "--name", container, built, "bash", "-c", script)
    image = f"{NAMES}/other:1"
    docker_engine.run("commit", container, image)
    docker_engine.run("rm", container)
    return image


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    docker_engine: Engine,
    built: str,
    service: FakeService,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[MockHub]:
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        app = await start_hub(docker_config(folder, built, service.url, "t" * 32))
        service.hub_api = app.hub.api_url.rstrip("/")
        yield app
        await stop_hub(app)
        await app.proxy.stop()
    for container in docker_engine.list("ps", "-aq", f"--filter=name={NAMES}"):
        docker_engine.run("rm", "-f", container)


def docker_config(folder: Path, image: str, service_url: str, token: str) -> Config:
    """Return a hub's configuration whose servers are containers behind a real proxy."""
    c = Config()
    c.JupyterHub.bind_url = f"http://127.0.0.1:{random_port()}/"
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 120, "slow_stop_timeout": 60}
    c.JupyterHub.proxy_class = "traefik_file"
    c.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{random_port()}"
    c.TraefikProxy.traefik_api_username = "hub"
    c.TraefikProxy.traefik_api_password = secrets.token_hex(8)
    c.TraefikFileProviderProxy.static_config_file = str(folder / "traefik.toml")
    c.TraefikFileProviderProxy.dynamic_config_file = str(folder / "rules.toml")
    c.JupyterHub.spawner_class = HostDocker
    c.DockerSpawner.image = image
    c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
    c.DockerSpawner.pull_policy = "never"
    c.DockerSpawner.network_name = "host"
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.ip = "127.0.0.1"
    c.DockerSpawner.prefix = NAMES
    c.DockerSpawner.volumes = {f"{NAMES}-{{username}}": "/home/jovyan"}
    c.Spawner.http_timeout = 120
    c.Spawner.start_timeout = 120
    configure(c, url=service_url, api_token=token)
    return c


class DockerPerson(Person):
    """A person, as their browser sees servers: through the hub's proxy."""

    def __init__(self, hub: MockHub, name: str, engine: Engine) -> None:
        super().__init__(hub, name)
        self.engine = engine
        self.token = self.user.new_api_token(scopes=["self", "access:servers!user"])

    async def through_proxy(self, path: str, method: str = "GET", **options: Any) -> Any:
        """Return the answer of the person's server, read as JSON where it is that."""
        url = f"{self.hub.bind_url.rstrip('/')}/user/{self.name}/{path}"
        headers = {"Authorization": f"token {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, **options) as response,
        ):
            response.raise_for_status()
            is_json = "json" in response.headers["Content-Type"]
            return await (response.json() if is_json else response.text())

    async def contents(self, path: str) -> Any:
        """Return a file's text, or a folder's names, as JupyterLab gets them."""
        model = await self.through_proxy(f"api/contents/{path}")
        content = model["content"]
        return [one["name"] for one in content] if model["type"] == "directory" else content

    async def write(self, path: str, text: str) -> None:
        model = {"type": "file", "format": "text", "content": text}
        await self.through_proxy(f"api/contents/{path}", "PUT", json=model)

    @property
    def container(self) -> str:
        return self.spawner.object_id

    def inspect(self, template: str) -> str:
        return self.engine.run("inspect", f"--format={template}", self.container).strip()

    def env(self) -> dict[str, str]:
        """Return the variables of the server's process, as the image's entrypoint left them."""
        script = (
            "for p in /proc/[0-9]*; do if tr '\\0' ' ' < $p/cmdline 2>/dev/null | "
            "grep -q 'bin/jupyterhub-singleuser'; then cat $p/environ; echo; fi; done"
        )
        said = self.engine.run("exec", self.container, "sh", "-c", script)
        pairs = (item.partition("=") for item in said.replace("\n", "\0").split("\0"))
        return {name: value for name, _, value in pairs if name}


@pytest.fixture
async def person(hub: MockHub, docker_engine: Engine) -> AsyncIterator[DockerPerson]:
    someone = DockerPerson(hub, f"person-{new_id()}", docker_engine)
    yield someone
    if someone.spawner.active:
        await someone.user.stop("")


# --- The tests ------------------------------------------------------------------------------------------


async def test_lab_answers_through_the_proxy_with_the_files_in_a_home_that_outlives_the_image(
    fresh: FakeService, person: DockerPerson, built: str, other: str
) -> None:
    first = fresh.add(
        "one",
        image=built,
        path="index.ipynb",
        ref_url="https://example.org/one/tree/abc",
        request="v2/gh/one/one/main",
        persistent_request="v2/gh/one/one/abc",
        client_ip="203.0.113.7",
    )
    status, answer = await person.spawn({"environment": first})
    assert status == 201, answer
    assert person.inspect("{{.Config.Image}}") == built
    assert "JupyterLab" in await person.through_proxy("lab")
    assert await person.contents("") == ["repo"]
    assert "index.ipynb" in await person.contents("repo")
    env = person.env()
    assert env["FROM_START"] == "yes"
    assert env["HOME"] == "/home/jovyan"
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo/index.ipynb"
    assert env["BINDER_REPO_URL"] == "https://example.org/one"
    assert env["BINDER_REF_URL"] == "https://example.org/one/tree/abc"
    assert env["BINDER_REQUEST"] == "v2/gh/one/one/main"
    assert env["BINDER_PERSISTENT_REQUEST"] == "v2/gh/one/one/abc"
    assert env["BINDER_LAUNCH_HOST"].endswith("/services/binder/")
    assert env["BINDER_CLIENT_IP"] == "203.0.113.7"
    await person.write("repo/mine.txt", "kept")
    await person.stop()

    second = fresh.add("two", image=other, directory="two")
    status, answer = await person.spawn({"environment": second})
    assert status == 201, answer
    assert person.inspect("{{.Config.Image}}") == other
    assert sorted(await person.contents("")) == ["repo", "two"]
    assert await person.contents("repo/mine.txt") == "kept"
    assert await person.contents("two/which.txt") == "other\n"


async def test_an_old_container_starts_again_only_for_what_it_was_made_for(
    fresh: FakeService, person: DockerPerson, built: str, other: str, docker_engine: Engine
) -> None:
    async def start(options: dict[str, Any] | None = None) -> None:
        status, answer = await person.spawn(options)
        assert status == 201, answer

    assert not person.spawner.remove
    one = fresh.add("one", image=built)
    await start({"environment": one})
    container = person.container
    await person.stop()
    await start()
    assert person.container == container, "the same environment keeps its container"
    await person.stop()

    await start({"environment": fresh.add("two", image=other)})
    assert person.container != container
    assert person.inspect("{{.Config.Image}}") == other
    container = person.container
    await person.stop()

    await start({"environment": ""})
    assert person.container != container, "the hub's own software is not an environment's"
    assert person.inspect("{{.Config.Image}}") == built
    assert "BINDER_REPO_URL" not in person.env()
    await person.stop()

    # The same name, another image: built again meanwhile.
    moving = f"{NAMES}/moving:1"
    docker_engine.run("tag", built, moving)
    moved = fresh.add("moving", image=moving)
    await start({"environment": moved})
    container = person.container
    await person.stop()
    docker_engine.run("tag", other, moving)
    await start({"environment": moved})
    assert person.container != container
    assert (
        person.inspect("{{.Image}}")
        == docker_engine.run("image", "inspect", "--format={{.Id}}", other).strip()
    )


async def test_an_image_among_the_options_is_never_obeyed(
    hub: MockHub, fresh: FakeService, person: DockerPerson, built: str, other: str
) -> None:
    person.spawner.allowed_images = "*"
    options = {"environment": fresh.add("one", image=built), "image": other}
    status, answer = await person.spawn(options)
    assert status == 201, answer
    assert person.inspect("{{.Config.Image}}") == built
    stored = hub.db.query(orm.Spawner).filter_by(id=person.spawner.orm_spawner.id).one()
    assert "image" not in (person.spawner.user_options or {})
    assert stored.server is not None


async def test_an_image_that_is_gone_is_said_with_what_to_do(
    fresh: FakeService, person: DockerPerson
) -> None:
    gone = fresh.add("one", image=f"{NAMES}/gone:1")
    status, answer = await person.spawn({"environment": gone})
    assert status == 400
    assert "Build it again" in answer["message"]


async def test_an_image_that_no_server_can_start_from_is_said_at_once(
    docker_engine: Engine, fresh: FakeService, person: DockerPerson, built: str
) -> None:
    container, failing = f"{NAMES}-failing", f"{NAMES}/failing:1"
    docker_engine.run("create", "--name", container, built)
    script = 'ENTRYPOINT ["sh", "-c", "echo there is no licence. >&2; exit 3"]'
    docker_engine.run("commit", f"--change={script}", container, failing)
    docker_engine.run("rm", container)
    said = {
        docker_engine.base_image: "it has no jupyterhub-singleuser. Install",
        failing: "one: there is no licence.",
    }
    for image, words in said.items():
        status, answer = await person.spawn({"environment": fresh.add("one", image=image)})
        assert status == 400, answer
        assert words in answer["message"]
    status, answer = await person.spawn({"environment": fresh.add("two", image=built)})
    assert status == 201, answer


async def test_an_image_that_was_built_here_starts_without_a_pull_whatever_the_policy(
    fresh: FakeService, person: DockerPerson, other: str
) -> None:
    person.spawner.pull_policy = "always"
    status, answer = await person.spawn({"environment": fresh.add("one", image=other)})
    assert status == 201, answer


def make_folder(root: Path) -> str:
    """Make an environment that is a folder, with programs of the image that it starts in."""
    folder = root / new_id()
    for path, text in (
        ("bin/python", '#!/bin/sh\nexec python3 "$@"\n'),
        ("bin/jupyterhub-singleuser", '#!/bin/sh\nexec python3 -m jupyterhub.singleuser "$@"\n'),
        ("repo/which.txt", "folder\n"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o777)
    folder.chmod(0o777)
    return folder.name


async def test_a_folder_starts_in_a_container_that_cannot_write_to_it(
    fresh: FakeService, person: DockerPerson, built: str, tmp_path: Path
) -> None:
    person.spawner.environments_root = str(tmp_path)
    person.spawner.binder_environments_image = built
    key = make_folder(tmp_path)
    status, answer = await person.spawn({"environment": fresh.add("one", image=f"venv:{key}")})
    assert status == 201, answer
    assert "JupyterLab" in await person.through_proxy("lab")
    assert await person.contents("repo/which.txt") == "folder\n"
    attack = f"echo harm > {tmp_path / key}/bin/python; rm -rf {tmp_path / key}; true"
    person.engine.run("exec", person.container, "sh", "-c", attack)
    assert "exec python3" in (tmp_path / key / "bin/python").read_text()


async def test_a_folder_that_is_gone_is_said_and_not_made(
    fresh: FakeService, person: DockerPerson, tmp_path: Path
) -> None:
    person.spawner.environments_root = str(tmp_path)
    status, answer = await person.spawn({"environment": fresh.add("one", image="venv:abc")})
    assert status == 400
    assert "can't find its folder" in answer["message"]
    assert not list(tmp_path.iterdir())


async def test_names_with_the_image_in_them_find_their_container(
    hub: MockHub, fresh: FakeService, person: DockerPerson, other: str
) -> None:
    person.spawner.name_template = "{prefix}-{username}-{imagename}"
    await person.spawn({"environment": fresh.add("one", image=other)})
    assert "other-1" in person.inspect("{{.Name}}")
    assert await person.spawner.poll() is None
    await asyncio.wait_for(person.stop(), 60)
