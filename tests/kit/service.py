"""A running service in this process, with a small hub beside it and a real git server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from traitlets.config import Config

from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.api_client import Api
from tests.kit.databases import Databases
from tests.kit.fake_hub import OWN_TOKEN, FakeHub, running_hub
from tests.kit.git_server import GitRepo, GitServer

Person = Callable[[str | None], Api]

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
"""What a browser sends when a person opens a page."""


@pytest.fixture(scope="module")
def git_repo(tmp_path_factory: pytest.TempPathFactory):
    """A repository that a real git server serves."""
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server.make_repo("org/repo", {"requirements.txt": "numpy==2.3.1\n"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[FakeHub]:
    """The hub of the module's tests."""
    async with running_hub() as hub:
        yield hub


def service_config(hub: FakeHub, state_dir: Path) -> Config:
    """Return the configuration of a service for tests."""
    config = Config()
    config.JupyterHubBinder.backend = "fake"
    config.JupyterHubBinder.state_dir = str(state_dir)
    config.JupyterHubBinder.database_url = Databases.url_for(state_dir)
    config.JupyterHubBinder.ip = "127.0.0.1"
    config.JupyterHubBinder.port = 0
    config.HubOAuth.api_url = hub.api_url
    config.HubOAuth.hub_host = hub.url
    config.HubOAuth.api_token = OWN_TOKEN
    config.HubOAuth.oauth_client_id = "service-binder"
    config.HubClient.api_url = hub.api_url
    config.HubClient.api_token = OWN_TOKEN
    config.Git.protocols = ["https", "http"]
    config.Git.private_hosts = ["127.0.0.1"]
    config.Git.allowed_hosts = ["127.0.0.1"]  # no test asks the world
    config.DOIProvider.resolver_url = "http://127.0.0.1:1"
    config.Builds.max_active_per_user = 200
    config.Builds.max_running = 50
    config.Builds.max_running_per_user = 50
    config.Environments.max_per_user = 1000
    return config


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    hub: FakeHub, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[JupyterHubBinder]:
    """The running service."""
    app = JupyterHubBinder(config=service_config(hub, tmp_path_factory.mktemp("state")))
    await app.start_service()
    yield app
    await app.stop_service()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without cookies."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture(scope="module")
def service_url(service: JupyterHubBinder) -> str:
    """Where the service answers, with a slash at the end."""
    return f"http://127.0.0.1:{service.port}{service.base_url}"


@pytest.fixture(scope="module")
def person(session: aiohttp.ClientSession, service_url: str) -> Person:
    """Return the API as somebody of the hub sees it, or nobody."""
    return lambda name: Api(session, service_url, name and f"{name}-token")


@pytest.fixture(scope="module")
def ada(person: Person) -> Api:
    """A person who may build."""
    return person("ada")


@pytest.fixture
def new_environment(ada: Api, git_repo: GitRepo):
    """Return a coroutine function that makes an environment of ada's."""

    async def make(**fields: Any) -> dict[str, Any]:
        answer = await ada("POST", "api/v1/environments", {"url": git_repo.url, **fields})
        assert answer.status == 201, answer.text
        return answer.json

    return make


async def wait_for_build(api: Api, build_id: str) -> dict[str, Any]:
    """Follow a build to its end; return it."""
    async with asyncio.timeout(60), api.events(f"api/v1/builds/{build_id}/events") as events:
        async for event in events:
            if event.event == "end":
                return event.json()
    raise AssertionError("the stream ended without an end")


@pytest_asyncio.fixture(loop_scope="module")
async def bobs_browser(
    hub: FakeHub, service: JupyterHubBinder, service_url: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser in which bob has logged in."""
    hub.visitor = "bob"
    hub.service_origin = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(service_url, headers=NAVIGATE) as response:
            assert response.status == 200
        yield session
