"""A real hub in this process, without a proxy, and a small real service in the place of ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from jupyterhub import orm
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import SimpleLocalProcessSpawner, Spawner
from jupyterhub.tests.mocking import MockHub
from jupyterhub.tests.utils import add_user
from jupyterhub.utils import maybe_future, random_port
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from traitlets.config import Config

from jupyterhub_binder.hubconfig import configure
from jupyterhub_binder.utils.names import new_id
from tests.kit.waiting import until

MOCK_SERVER = [sys.executable, "-IS", str(Path(__file__).with_name("mock_server.py"))]


class NoProxy(Proxy):
    """Keeps routes and sends nobody anywhere: tests speak to hub and servers directly."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        return dict(self.routes)


class Hub(MockHub):
    """A hub whose end leaves the other tasks of the test's loop alone."""

    async def shutdown_cancel_tasks(self, sig: Any = None) -> None:
        pass


class LocalSpawner(SimpleLocalProcessSpawner):
    """Servers that start fast, and end at once."""

    interrupt_timeout = 1
    term_timeout = 1


# --- The service, as far as the hub sees it ---------------------------------------------------------


@dataclass
class FakeService:
    """Answers launch-spec, environments and a build's events as told to."""

    url: str
    hub_api: str = ""
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    builds: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    """The environments of which the hub said that a start begins."""
    builds_at_start: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What becomes of environments when a start of theirs begins."""
    server: HTTPServer | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    refuse: tuple[int, dict[str, Any] | str] | None = None
    posted: list[dict[str, Any]] = field(default_factory=list)
    """What the hub asked to build."""
    images: dict[str, str] = field(default_factory=dict)
    """What a repository becomes."""

    def add(self, name: str, *, image: str | None = None, **fields: Any) -> str:
        """Add an environment; return its id."""
        identity = new_id()
        self.environments[identity] = {
            "environment_id": identity,
            "environment_name": name,
            "state": "ready" if image else "unbuilt",
            "build_id": None,
            "image": image,
            "content": "copy",
            "directory": "repo",
            "path": "",
            "repo_url": f"https://example.org/{name}",
            "resolved_ref": "f" * 40,
            **fields,
        }
        return identity

    def tell(self, build: str, *events: tuple[str, dict[str, Any]]) -> None:
        """Add events to a build's stream."""
        self.builds.setdefault(build, []).extend(events)
        self.changed.set()
        self.changed = asyncio.Event()

    def lines(self, build: str, *messages: str) -> None:
        """Add lines to a build's log."""
        count = sum(name == "message" for name, _ in self.builds.get(build, []))
        numbered = enumerate(messages, count + 1)
        self.tell(
            build,
            *[
                ("message", {"seq": seq, "phase": "building", "message": text})
                for seq, text in numbered
            ],
        )

    async def start(self) -> None:
        routes = [
            (r".*/api/v1/environments/([^/]+)/launch-spec", _Spec, {"fake": self}),
            (r".*/api/v1/environments", _List, {"fake": self}),
            (r".*/api/v1/environments/([^/]+)", _One, {"fake": self}),
            (r".*/api/v1/builds/([^/]+)/events", _Events, {"fake": self}),
            (r".*", _Health),
        ]
        self.server = HTTPServer(Application(routes))
        port = int(self.url.rpartition(":")[2])
        self.server.listen(port, "127.0.0.1")

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            server.stop()
            await server.close_all_connections()


class _Health(RequestHandler):
    def get(self) -> None:
        self.finish("here")


class _Handler(RequestHandler):
    def initialize(self, fake: FakeService) -> None:
        self.fake = fake

    async def prepare(self) -> None:
        header = self.request.headers.get("Authorization", "")
        async with (
            aiohttp.ClientSession(headers={"Authorization": header}) as session,
            session.get(f"{self.fake.hub_api}/user", raise_for_status=True) as response,
        ):
            model = await response.json()
        self.fake.tokens.append(header.removeprefix("Bearer "))
        self.fake.requests.append((self.request.uri or "", model))
        if self.fake.refuse:
            status, body = self.fake.refuse
            self.set_status(status)
            self.finish(body)


class _Spec(_Handler):
    def post(self, identity: str) -> None:
        """Begin a build where there is nothing to start, as the service does."""
        self.fake.begun.append(identity)
        if identity in self.fake.builds_at_start:
            self.fake.environments[identity] |= self.fake.builds_at_start.pop(identity)
        self.get(identity)

    def get(self, identity: str) -> None:
        spec = self.fake.environments.get(identity)
        if spec is None:
            self.set_status(404)
            self.finish({"error": {"code": "not_found", "message": "None.", "detail": {}}})
            return
        self.finish(spec)


def _shown(spec: dict[str, Any]) -> dict[str, Any]:
    number = spec.get("current", spec.get("build_number") or 1)
    return {
        "id": spec["environment_id"],
        "name": spec["environment_name"],
        "label": spec["repo_url"],
        "state": spec["state"],
        "current": {"number": number} if spec["image"] else None,
    }


class _One(_Handler):
    def get(self, identity: str) -> None:
        self.finish(_shown(self.fake.environments[identity]))


class _List(_Handler):
    def post(self) -> None:
        body = json.loads(self.request.body)
        self.fake.posted.append(body)
        name = body["url"].rpartition("/")[2]
        identity = self.fake.add(name, image=self.fake.images[body["url"]])
        self.set_status(201)
        self.finish(_shown(self.fake.environments[identity]))

    def get(self) -> None:
        items = [_shown(spec) for spec in self.fake.environments.values()]
        limit = int(self.get_query_argument("limit"))
        self.finish({"items": items[:limit], "total": len(items), "offset": 0, "limit": limit})


class _Events(_Handler):
    async def get(self, build: str) -> None:
        after, position = int(self.get_argument("after", "0")), 0
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        while True:
            changed, events = self.fake.changed, self.fake.builds.get(build, [])
            for name, data in events[position:]:
                if name == "message" and data["seq"] <= after:
                    continue
                head = f"id: {data['seq']}" if name == "message" else f"event: {name}"
                self.write(f"{head}\ndata: {json.dumps(data)}\n\n")
                await self.flush()
                if name == "end":
                    return
            position = len(events)
            await changed.wait()


# --- Fixtures ----------------------------------------------------------------------------------------


def make_environment(root: Path, key: str) -> str:
    """Make what the venv backend leaves behind, as far as a spawner looks; return its image."""
    folder = root / key
    (folder / "bin").mkdir(parents=True)
    (folder / "repo" / ".git").mkdir(parents=True)
    (folder / "repo" / "index.ipynb").write_text("{}")
    (folder / "bin" / "python").symlink_to(sys.executable)
    program = folder / "bin" / "jupyterhub-singleuser"
    program.write_text(f'#!/bin/sh\nexec {" ".join(MOCK_SERVER)} "$@"\n')
    program.chmod(0o755)
    return f"venv:{key}"


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[FakeService]:
    fake = FakeService(f"http://127.0.0.1:{random_port()}")
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
def fresh(service: FakeService) -> FakeService:
    """The service with nothing in it."""
    service.environments.clear()
    service.builds.clear()
    service.requests.clear()
    service.tokens.clear()
    service.begun.clear()
    service.builds_at_start.clear()
    service.refuse = None
    service.posted.clear()
    service.images.clear()
    return service


def hub_config(
    homes: Path, root: Path, *, spawner: type[Spawner] = LocalSpawner, **options: Any
) -> Config:
    """Return the configuration of a hub with binder, whose servers start in a moment."""
    c = Config()
    c.JupyterHub.spawner_class = spawner
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.bind_url = f"http://127.0.0.1:{random_port()}/"
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 60, "slow_stop_timeout": 60}
    c.SimpleLocalProcessSpawner.home_dir_template = str(homes / "{username}")
    c.Spawner.cmd = MOCK_SERVER
    c.Spawner.http_timeout = 60
    configure(c, environments_root=root, **options)
    return c


async def start_hub(c: Config) -> Hub:
    """Start a hub in this process."""
    hub = Hub.instance(config=c)
    await hub.initialize([])
    await hub.start()
    return hub


async def stop_hub(hub: Hub) -> None:
    """Stop every server, then the hub."""
    for orm_user in hub.db.query(orm.User):
        user = hub.users[orm_user]
        for name, spawner in list(user.spawners.items()):
            if spawner.active:
                await user.stop(name)
    hub.log.handlers = []
    Hub.clear_instance()
    await maybe_future(hub.stop())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    service: FakeService, homes: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MockHub]:
    with contextlib.chdir(tmp_path_factory.mktemp("hub")):
        app = await start_hub(hub_config(homes, root, url=service.url, api_token="t" * 32))
        service.hub_api = app.hub.api_url.rstrip("/")
        yield app
        await stop_hub(app)


class Person:
    """A person of the hub, with their token and what they ask of its REST API."""

    def __init__(self, hub: MockHub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.user = add_user(hub.db, hub, name=name)
        self.token = self.user.new_api_token()
        self.api = hub.hub.api_url.rstrip("/")

    def path(self, server: str = "") -> str:
        return f"/users/{self.name}/" + (f"servers/{server}" if server else "server")

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"token {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.api + path, json=body) as response,
        ):
            text = await response.text()
            return response.status, json.loads(text) if text.startswith("{") else text

    async def spawn(
        self, options: Mapping[str, Any] | None = None, server: str = ""
    ) -> tuple[int, Any]:
        return await self.ask("POST", self.path(server), options and dict(options))

    async def stop(self, server: str = "") -> None:
        await self.ask("DELETE", self.path(server))
        await until(lambda: not self.user.spawners[server].active)

    async def progress(self, server: str = "") -> list[dict[str, Any]]:
        """Return all that the hub tells a page about a start, until it ends."""
        headers = {"Authorization": f"token {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{self.api}{self.path(server)}/progress") as response,
        ):
            lines = [line async for line in response.content]
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]

    async def server(self, what: str, server: str = "") -> Any:
        """Return what the running server says of its ``env`` or ``args``."""
        url = self.user.spawners[server].server.url
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url.rstrip('/')}/{what}") as response,
        ):
            return json.loads(await response.text())

    @property
    def spawner(self) -> Any:
        return self.user.get_spawner("")


@asynccontextmanager
async def new_person(hub: MockHub, name: str) -> AsyncIterator[Person]:
    """Yield somebody whom nobody knows yet; their servers are stopped after."""
    someone = Person(hub, f"{name}-{new_id()}")
    yield someone
    for name, spawner in list(someone.user.spawners.items()):
        if spawner.active:
            if spawner._spawn_future:
                spawner._spawn_future.cancel()
            await someone.user.stop(name)


@pytest.fixture
async def person(hub: MockHub) -> AsyncIterator[Person]:
    async with new_person(hub, "person") as someone:
        yield someone
