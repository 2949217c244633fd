"""The pages of a hub with several backends, of which one can't start at first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends import auto
from tests.kit.api_client import Api
from tests.kit.backends import auto_config
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo, GitServer
from tests.kit.service import service_config, wait_for_build
from tests.kit.waiting import until_it_comes

PYTHON = {"requirements.txt": "numpy==2.3.1\n"}
APT = {**PYTHON, "apt.txt": "gdal-bin\n"}


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GitRepo, GitRepo]]:
    """Return a repository for a folder, and one for an image."""
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server.make_repo("org/python", PYTHON), server.make_repo("org/apt", APT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    hub: FakeHub, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[JupyterHubBinder]:
    folder = tmp_path_factory.mktemp("state")
    config = service_config(hub, folder)
    config.merge(auto_config(folder))
    config.JupyterHubBinder.backend = "auto"
    config.ImageFake.down = "There is no engine."
    app = JupyterHubBinder(config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto, "_FIRST_RETRY_SECONDS", 0.02)
        await app.start_service()
        yield app
        await app.stop_service()


async def page(person: Api, path: str) -> str:
    async with person.session.get(person.url + path, headers=person.headers) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_pages_say_what_cannot_be_made_now_and_how_the_rest_is_made(
    ada: Api, person, repos: tuple[GitRepo, GitRepo], service: JupyterHubBinder
) -> None:
    python, apt = repos
    folder = (await ada("POST", "api/v1/environments", {"url": python.url})).json
    assert (await wait_for_build(ada, folder["latest"]["id"]))["state"] == "built"
    link = f"new?url={apt.url}"
    assert "It can&#39;t be made now: the backend images could not start." in await page(ada, link)
    health = (await ada("GET", "health")).json
    assert [each["ok"] for each in health["checks"] if "backend" in each["service"]] == [
        *(True, True, False),
    ]
    tab = await page(person("root"), "admin/backends")
    assert "Partly working" in tab
    assert "It could not start, and is tried again: There is no engine." in tab

    failed = (await ada("POST", "api/v1/environments", {"url": apt.url})).json
    told = await wait_for_build(ada, failed["latest"]["id"])
    assert told["reason"]["code"] == "backend_unavailable"

    _, images = service.parts.backend.makers
    images.down = ""

    async def can() -> bool:
        return "apt.txt: made as a container image, usually in minutes" in await page(ada, link)

    await until_it_comes(can)
    again = await ada("POST", f"api/v1/environments/{failed['id']}/builds", {"force": True})
    build = again.json["latest"]["id"]
    assert (await wait_for_build(ada, build))["state"] == "built"
    assert "made as a container image" in await page(ada, f"builds/{build}")
    assert "made as a folder" in await page(ada, f"environments/{folder['id']}")
