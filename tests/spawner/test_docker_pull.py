"""Which images DockerSpawner pulls, in a real hub without an engine: never a stranger's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from docker.errors import NotFound
from dockerspawner import DockerSpawner
from jupyterhub.tests.mocking import MockHub

from jupyterhub_binder.spawner import StartRefused
from jupyterhub_binder.spawner.docker import names_registry
from tests.kit.real_hub import FakeService, Person, hub_config, start_hub, stop_hub

LOCAL = "jupyterhub-binder/abc:1"
PUSHED = "registry.example.org/binder/abc:1"
HUBS_OWN = "jupyter/base:1"
POLICIES = ["always", "ifnotpresent", "never", "skip"]


class NoEngine(DockerSpawner):
    """Has images and no containers, and keeps what was pulled."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.images: set[str] = set()
        self.pulled: list[str] = []

    async def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "pull":
            self.pulled.append(":".join(args))
        elif args[0] not in self.images:
            raise NotFound("No such image")

    async def get_object(self) -> None:
        """There is none."""

    async def create_object(self) -> Any:
        raise StartRefused("It would start now.", reason="test")


class Started:
    """Notes what a container would be made of."""

    def __init__(self, spawner: Any) -> None:
        self.spawner = spawner
        self.image, self.command, self.mounts, self.env = "", [], [], {}

    async def __call__(self) -> Any:
        self.image = self.spawner.image
        self.command = await self.spawner.get_command()
        self.mounts = self.spawner.mount_binds
        self.env = self.spawner.get_env()
        raise StartRefused("It would start now.", reason="test")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    service: FakeService, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MockHub]:
    folder: Path = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        c = hub_config(folder, folder, url=service.url, api_token="t" * 32, spawner=NoEngine)
        c.DockerSpawner.image = HUBS_OWN
        app = await start_hub(c)
        service.hub_api = app.hub.api_url.rstrip("/")
        yield app
        await stop_hub(app)


async def start(person: Person, policy: str, options: dict[str, str]) -> str:
    """Start a server as far as there would be a container; return what the person is told."""
    person.spawner.pull_policy = policy
    status, answer = await person.spawn(options)
    assert status == 400
    return answer["message"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_missing_image_that_was_built_here_is_refused_and_never_pulled(
    fresh: FakeService, person: Person, policy: str
) -> None:
    said = await start(person, policy, {"environment": fresh.add("one", image=LOCAL)})
    assert "The image of one no longer exists. Build it again" in said
    assert person.spawner.pulled == []


@pytest.mark.parametrize("policy", POLICIES)
async def test_an_image_that_was_built_here_starts_and_is_never_pulled(
    fresh: FakeService, person: Person, policy: str
) -> None:
    person.spawner.images = {LOCAL}
    said = await start(person, policy, {"environment": fresh.add("one", image=LOCAL)})
    assert "It would start now" in said
    assert person.spawner.pulled == []


@pytest.mark.parametrize(
    ("policy", "there", "pulled"),
    [("always", True, True), ("ifnotpresent", True, False), ("ifnotpresent", False, True)],
)
async def test_an_image_that_names_a_registry_obeys_the_admins_policy(
    fresh: FakeService, person: Person, policy: str, there: bool, pulled: bool
) -> None:
    person.spawner.images = {PUSHED} if there else set()
    said = await start(person, policy, {"environment": fresh.add("one", image=PUSHED)})
    assert "It would start now" in said
    assert person.spawner.pulled == ([PUSHED] if pulled else [])


async def test_a_folder_is_mounted_read_only_into_an_image_for_all(
    fresh: FakeService, person: Person, tmp_path: Path
) -> None:
    spawner = person.spawner
    spawner.environments_root = "/srv/environments"
    spawner.binder_environments_host_root = "/host/environments"
    spawner.binder_environments_image = "hub/folders:1"
    spawner.create_object = started = Started(spawner)
    kept = fresh.add("one", image="venv:abc", content_key="def")
    await start(person, "ifnotpresent", {"environment": kept})
    assert spawner.pulled == ["hub/folders:1"]
    assert started.image == "hub/folders:1"
    assert started.mounts == [
        {
            "Source": f"/host/environments/{key}",
            "Target": f"/srv/environments/{key}",
            "Type": "bind",
            "ReadOnly": True,
        }
        for key in ("abc", "def")
    ]
    assert started.command[0] == "/srv/environments/abc/bin/python"
    assert started.command[-1] == "/srv/environments/abc/bin/jupyterhub-singleuser"
    assert started.env["PATH"].startswith("/srv/environments/abc/bin:/usr/local/sbin:")


async def test_the_hubs_own_images_are_pulled_as_ever(fresh: FakeService, person: Person) -> None:
    await start(person, "ifnotpresent", {"environment": ""})
    assert person.spawner.pulled == [HUBS_OWN]


async def test_another_image_of_an_environments_start_is_pulled_as_ever(
    fresh: FakeService, person: Person
) -> None:
    """With internal SSL, dockerspawner brings certificates with an image of its own."""
    spawner = person.spawner
    spawner.images = {LOCAL}
    await start(person, "ifnotpresent", {"environment": fresh.add("one", image=LOCAL)})
    await spawner.pull_image(spawner.move_certs_image)
    assert spawner.pulled == [spawner.move_certs_image]


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ("jupyterhub-binder/abc:1", False),
        ("abc:1", False),
        ("abc.def", False),
        ("sha256:0123456789", False),
        ("org/sub.path/abc:1", False),
        ("docker.io/org/abc:1", True),
        ("registry:5000/abc", True),
        ("localhost/abc:1", True),
    ],
)
def test_a_registry_is_what_docker_takes_for_one(image: str, named: bool) -> None:
    assert names_registry(image) is named
