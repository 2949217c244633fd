"""Launches end to end: the real service with its scripted backend, a real hub, real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from jupyterhub.utils import random_port
from traitlets.config import Config

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.environments.detections import read_report
from jupyterhub_binder.errors import (
    Conflict,
    HubError,
    InvalidInput,
    NotAllowed,
    NotFound,
    StoreUnavailable,
)
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.maintenance import images as cleanup
from jupyterhub_binder.maintenance.images import Cleanup, fetch_images_in_use
from jupyterhub_binder.model import (
    ContentMode,
    Environment,
    Launch,
    LaunchState,
    Link,
    Spec,
    User,
)
from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.http import open_session
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.services import Services
from tests.kit.git_server import GitRepo, GitServer
from tests.kit.real_hub import (
    Hub,
    Person,
    hub_config,
    make_environment,
    new_person,
    start_hub,
    stop_hub,
)
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

TOKEN = "service-token-of-the-test"


@dataclass
class Stack:
    """A hub and the service beside it."""

    hub: Hub
    app: JupyterHubBinder
    config: Config
    repo: GitRepo
    root: Path

    @property
    def parts(self) -> Services:
        return self.app.parts

    async def environment(
        self, person: Person, *, build: bool = True, **script: Any
    ) -> Environment:
        """Make an environment whose build is scripted; its image can be started by the hub."""
        image = make_environment(self.root, new_id())
        options = {"fake": {"image": image, **script}}
        return await self.parts.environments.create(
            User(person.name),
            link=Link(Spec("git", self.repo.url, "HEAD")),
            options=options,
            build=build,
        )

    async def built(self, person: Person, **script: Any) -> Environment:
        """Make one that is built."""
        environment = await self.environment(person, **script)
        user = User(person.name)
        async with asyncio.timeout(60):
            while environment.current is None:
                await asyncio.sleep(0.02)
                environment = await self.parts.environments.get(user, environment.id)
        return environment

    async def launch(self, person: Person, environment: Environment, **more: Any) -> Launch:
        return await self.parts.launches.create(
            User(person.name), person.token, environment.id, **more
        )

    async def ended(self, person: Person, launch: Launch) -> Launch:
        """Return the launch when it has finished."""
        async with asyncio.timeout(60):
            async for seen in self.parts.launches.watch(User(person.name), launch.id):
                launch = seen
        assert launch.state.finished
        return launch

    @asynccontextmanager
    async def restarted(self) -> AsyncIterator[None]:
        """Stop the service, do what is to be done meanwhile, start it again."""
        await self.app.stop_service()
        try:
            yield
        finally:
            self.app = JupyterHubBinder(config=self.config)
            await self.app.start_service()


def service_config(hub_api: str, port: int, state: Path) -> Config:
    c = Config()
    c.JupyterHubBinder.backend = "fake"
    c.JupyterHubBinder.state_dir = str(state)
    c.JupyterHubBinder.port = port
    c.JupyterHubBinder.ip = "127.0.0.1"
    for section in (c.HubOAuth, c.HubClient):
        section.api_url = hub_api
        section.api_token = TOKEN
    c.HubOAuth.oauth_client_id = "service-binder"
    c.Git.protocols = ["https", "http"]
    c.Git.private_hosts = ["127.0.0.1"]
    c.Builds.max_active_per_user = 100
    c.Archive.url = str(state / "archive")
    return c


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    homes: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    with contextlib.chdir(tmp_path_factory.mktemp("hub")):
        async with started_stack(homes, root, tmp_path_factory) as stack:
            yield stack


@asynccontextmanager
async def started_stack(
    homes: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    port = random_port()
    hub = await start_hub(hub_config(homes, root, url=f"http://127.0.0.1:{port}", api_token=TOKEN))
    config = service_config(hub.hub.api_url.rstrip("/"), port, tmp_path_factory.mktemp("state"))
    app = JupyterHubBinder(config=config)
    await app.start_service()
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        repo = server.make_repo("org/repo", {"requirements.txt": "numpy==2.3.1\n"})
        stack = Stack(hub, app, config, repo, root)
        yield stack
    await stack.app.stop_service()
    await stop_hub(hub)


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Person]:
    async with new_person(stack.hub, "ada") as someone:
        yield someone


async def test_launch_builds_waits_starts_and_says_where_it_runs(stack: Stack, ada: Person) -> None:
    gate = new_id()
    environment = await stack.environment(ada, build=False, gate=gate)
    launch = await stack.launch(ada, environment)
    assert launch.state is LaunchState.PENDING
    assert launch.build_id

    async def watch() -> list[tuple[LaunchState, int]]:
        watching = stack.parts.launches.watch(User(ada.name), launch.id)
        return [(seen.state, seen.progress) async for seen in watching]

    watching = asyncio.create_task(watch())
    stack.parts.backend.gate(gate).open()
    launch = await stack.ended(ada, launch)
    states = await watching
    assert launch.state is LaunchState.READY, launch
    assert launch.url == f"/user/{ada.name}/"
    assert states[-1] == (LaunchState.READY, 100)
    assert [progress for _, progress in states] == sorted(progress for _, progress in states)
    env = await ada.server("env")
    assert env["BINDER_REPO_URL"] == environment.repo_url
    [server] = await stack.parts.launches.servers(User(ada.name), ada.token)
    assert (server.environment_id, server.environment_name) == (environment.id, environment.name)
    assert server.ready
    stored = await stack.parts.environments.get(User(ada.name), environment.id)
    assert stored.launched


async def test_what_runs_already_is_ready_at_once_and_opens_the_asked_file(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.built(ada)
    await stack.ended(ada, await stack.launch(ada, environment))
    again = await stack.launch(ada, environment, path="a b/index.ipynb")
    assert again.state is LaunchState.READY
    assert again.url == f"/user/{ada.name}/lab/tree/{environment.directory}/a%20b/index.ipynb"


@pytest.mark.parametrize(
    ("path", "fresh", "running", "default"),
    [
        ("/rstudio", "rstudio", "rstudio", "/rstudio"),
        ("/proxy/8501/?a=1", "proxy/8501/?a=1", "proxy/8501/?a=1", "/proxy/8501/?a=1"),
        # Which folder its file came into the server knows, and opens it by itself.
        (
            "/voila/render/a b.ipynb",
            "",
            "voila/render/DIR/a%20b.ipynb",
            "/voila/render/a%20b.ipynb",
        ),
    ],
)
async def test_a_launch_opens_an_application_below_its_server(
    stack: Stack, ada: Person, path: str, fresh: str, running: str, default: str
) -> None:
    environment = await stack.built(ada)
    environment = await stack.parts.environments.update(User(ada.name), environment.id, path=path)
    launch = await stack.launch(ada, environment, server_name="one")
    launch = await stack.ended(ada, launch)
    assert launch.url == f"/user/{ada.name}/one/{fresh}"
    assert (await ada.server("env", "one"))["JUPYTERHUB_DEFAULT_URL"] == default
    again = await stack.launch(ada, environment, server_name="one")
    running = running.replace("DIR", environment.directory)
    assert again.url == f"/user/{ada.name}/one/{running}"


async def test_a_name_that_the_hub_refuses_is_refused_before_the_build(
    stack: Stack, ada: Person
) -> None:
    hub = stack.parts.launches._hub
    if await hub.fetch_version() < (6,):  # which takes any name
        await hub.check_new_name(ada.token, ada.name, "Uppercase")
        return
    environment = await stack.environment(ada, build=False)
    with pytest.raises(InvalidInput, match="lower-case letters, digits and single hyphens"):
        await stack.launch(ada, environment, server_name="Uppercase")
    environment = await stack.parts.environments.get(User(ada.name), environment.id)
    assert environment.latest is None


async def test_another_environment_in_a_running_server_needs_a_word(
    stack: Stack, ada: Person
) -> None:
    first, second = await stack.built(ada), await stack.built(ada)
    await stack.ended(ada, await stack.launch(ada, first))
    with pytest.raises(Conflict) as refused:
        await stack.launch(ada, second)
    assert refused.value.error_code == "server_running"
    assert refused.value.detail["environment"]["id"] == first.id
    assert refused.value.detail["url"] == f"/user/{ada.name}/"
    launch = await stack.ended(ada, await stack.launch(ada, second, restart=True))
    assert launch.state is LaunchState.READY, launch
    [server] = await stack.parts.launches.servers(User(ada.name), ada.token)
    assert server.environment_id == second.id


async def test_new_build_in_a_server_of_another_one_needs_a_word(stack: Stack, ada: Person) -> None:
    user, images = User(ada.name), [make_environment(stack.root, new_id()) for _ in range(2)]
    stack.parts.backend.scripts = {"*": {"image": images[0]}}
    link = Link(Spec("git", stack.repo.url, "HEAD"))
    environment = await stack.parts.environments.create(user, link=link)
    await stack.ended(ada, await stack.launch(ada, environment))
    assert (await stack.launch(ada, environment)).state is LaunchState.READY

    stack.parts.backend.scripts = {"*": {"image": images[1]}}
    again = await stack.parts.environments.build(user, environment.id, force=True)
    async for _ in stack.parts.builds.watch(again.latest.build.id):
        pass
    with pytest.raises(Conflict, match="is already running another build of “") as refused:
        await stack.launch(ada, environment, path="a.ipynb")
    assert refused.value.error_code == "server_running"
    assert refused.value.detail["environment"]["id"] == environment.id
    assert refused.value.detail["url"].startswith(f"/user/{ada.name}/")
    assert refused.value.detail["url"].endswith("/a.ipynb")
    assert (await stack.launch(ada, environment, any_build=True)).state is LaunchState.READY

    launch = await stack.ended(ada, await stack.launch(ada, environment, restart=True))
    assert launch.state is LaunchState.READY, launch
    assert (await stack.launch(ada, environment)).state is LaunchState.READY
    await stack.parts.environments.requests.choose(user, environment.id, 1)
    with pytest.raises(Conflict, match="is already running another build of “"):
        await stack.launch(ada, environment)


async def test_server_of_the_hubs_own_page_tells_its_build(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    options = {"environment": environment.id, "environment_image": "venv:another"}
    assert (await ada.spawn(options))[0] == 201
    assert (await stack.launch(ada, environment)).state is LaunchState.READY


async def test_named_servers_run_side_by_side(stack: Stack, ada: Person) -> None:
    first, second = await stack.built(ada), await stack.built(ada)
    one = await stack.launch(ada, first, server_name="one")
    two = await stack.launch(ada, second, server_name="two")
    assert (await stack.ended(ada, one)).state is LaunchState.READY
    assert (await stack.ended(ada, two)).url == f"/user/{ada.name}/two/"
    servers = await stack.parts.launches.servers(User(ada.name), ada.token)
    assert {(s.name, s.environment_id) for s in servers} == {
        ("one", first.id),
        ("two", second.id),
    }


async def test_ten_requests_at_once_are_one_launch(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    launches = await asyncio.gather(*[stack.launch(ada, environment) for _ in range(10)])
    assert len({launch.id for launch in launches}) == 1
    assert all(isinstance(launch.message, Message) for launch in launches)  # translatable
    assert (await stack.ended(ada, launches[0])).state is LaunchState.READY


async def test_cancel_while_the_build_is_waited_for_starts_nothing(
    stack: Stack, ada: Person
) -> None:
    gate = new_id()
    environment = await stack.environment(ada, gate=gate)
    launch = await stack.launch(ada, environment)
    cancelled = await stack.parts.launches.cancel(User(ada.name), launch.id, ada.token)
    assert cancelled.state is LaunchState.CANCELLED
    assert (await stack.ended(ada, launch)).state is LaunchState.CANCELLED
    assert await stack.parts.launches.servers(User(ada.name), ada.token) == ()
    stack.parts.backend.gate(gate).open()
    again = await stack.launch(ada, environment)
    assert (await stack.ended(ada, again)).state is LaunchState.READY


async def test_a_launch_that_waits_for_a_build_ends_with_the_share(
    stack: Stack, ada: Person
) -> None:
    gate = new_id()
    environment = await stack.environment(ada, gate=gate)
    everyone, owner = Subject(SubjectKind.EVERYONE), User(ada.name)
    await stack.parts.sharing.put(owner, environment.id, [(everyone, Right.LAUNCH)])
    async with new_person(stack.hub, "bob") as bob:
        launches, user = stack.parts.launches, User(bob.name)
        launch, other = [
            await stack.launch(bob, environment, server_name=name) for name in ("", "other")
        ]
        watching = launches.watch(user, launch.id)
        assert (await anext(watching)).state is LaunchState.PENDING
        await stack.parts.sharing.put(owner, environment.id, [])
        assert (await launches.get(user, other.id)).state is LaunchState.CANCELLED
        stack.parts.backend.gate(gate).open()
        last = [seen async for seen in watching][-1]
        assert last.state is LaunchState.CANCELLED
        assert "may not use it" in last.message
        assert await launches.servers(user, bob.token) == ()


def never_answers(stack: Stack, environment: Environment) -> None:
    image = environment.options["fake"]["image"].removeprefix("venv:")
    program = stack.root / image / "bin" / "jupyterhub-singleuser"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")


async def test_cancel_while_the_server_starts_stops_it(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    never_answers(stack, environment)
    launch = await stack.launch(ada, environment)
    await until(lambda: ada.user.spawners.get("") and ada.spawner._waiting_for_response)
    process = ada.spawner.proc
    cancelled = await stack.parts.launches.cancel(User(ada.name), launch.id, ada.token)
    assert cancelled.state is LaunchState.CANCELLED
    await until(lambda: process.poll() is not None)
    assert await stack.parts.launches.servers(User(ada.name), ada.token) == ()


async def test_a_build_that_fails_ends_the_launch_with_its_reason(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.environment(ada, fail_at="building", reason="No such package.")
    launch = await stack.ended(ada, await stack.launch(ada, environment))
    assert launch.state is LaunchState.FAILED
    assert launch.reason is not None
    assert launch.reason.message == "No such package."
    assert launch.reason.code == "build_failed"


async def test_a_start_that_the_hub_refuses_ends_the_launch_in_its_words(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.built(ada, image="venv:nowhere")
    launch = await stack.ended(ada, await stack.launch(ada, environment))
    assert launch.state is LaunchState.FAILED
    assert "no longer on this machine" in launch.message
    assert launch.reason is not None


async def test_a_launch_ends_as_it_ended_though_the_database_fails_for_a_moment(
    stack: Stack, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = await stack.environment(ada, fail_at="building")
    update, failed = stack.parts.store.update_launch, []

    async def fails_once(launch: Launch, event: LaunchEvent | None = None) -> None:
        if launch.state.finished and not failed:
            failed.append(launch.id)
            raise StoreUnavailable("The disk is full.")
        await update(launch, event)

    monkeypatch.setattr(stack.parts.store, "update_launch", fails_once)
    launch = await stack.ended(ada, await stack.launch(ada, environment))
    assert failed == [launch.id]
    assert (await stack.parts.launches.get(User(ada.name), launch.id)) == launch


async def test_a_launch_is_its_persons_own(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    launch = await stack.ended(ada, await stack.launch(ada, environment))
    with pytest.raises(NotFound):
        await stack.parts.launches.get(User("someone-else"), launch.id)
    assert await stack.parts.launches.get(User("boss", admin=True), launch.id)
    with pytest.raises(NotFound):
        await stack.parts.launches.create(User("someone-else"), "x", environment.id)


async def test_a_start_goes_on_over_a_restart_of_the_service(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    launch = await stack.launch(ada, environment)
    await until(lambda: ada.user.spawners.get("") and ada.spawner._waiting_for_response)
    async with stack.restarted():
        pass
    assert (await stack.ended(ada, launch)).state is LaunchState.READY
    launch = await stack.parts.launches.get(User(ada.name), launch.id)
    assert launch.url == f"/user/{ada.name}/"


async def test_a_start_that_ended_while_the_service_was_away_is_said(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.built(ada)
    never_answers(stack, environment)
    launch = await stack.launch(ada, environment)
    await until(lambda: ada.user.spawners.get("") and ada.spawner._waiting_for_response)
    async with stack.restarted():
        ada.spawner._spawn_future.cancel()
        await ada.user.stop("")
    launch = await stack.ended(ada, launch)
    assert launch.state is LaunchState.FAILED
    assert launch.reason is not None
    assert launch.reason.code == "interrupted"


async def test_a_launch_that_waits_for_a_build_goes_on_with_the_next_request(
    stack: Stack, ada: Person
) -> None:
    gate = new_id()
    environment = await stack.environment(ada, gate=gate)
    launch = await stack.launch(ada, environment)
    async with stack.restarted():
        pass
    stack.parts.backend.gate(gate).open()
    waiting = await stack.parts.launches.get(User(ada.name), launch.id)
    assert waiting.state is LaunchState.PENDING
    await stack.parts.launches.get(User(ada.name), launch.id, token=ada.token)
    assert (await stack.ended(ada, launch)).state is LaunchState.READY


async def test_content_left_alone_brings_nothing(stack: Stack, ada: Person, homes: Path) -> None:
    environment = await stack.built(ada)
    await stack.parts.environments.update(User(ada.name), environment.id, content=ContentMode.LEAVE)
    assert (await stack.ended(ada, await stack.launch(ada, environment))).state is LaunchState.READY
    assert not (homes / ada.name / environment.directory).exists()


async def stop(ada: Person) -> None:
    await ada.user.stop()


async def test_content_is_kept_in_step_at_each_start(
    stack: Stack, ada: Person, homes: Path, tmp_path: Path
) -> None:
    course = GitServer(tmp_path / "git").make_repo("org/course", {"a.txt": "one\n", "b.txt": "b"})
    (stack.repo.git_dir.parent / f"{ada.name}.git").symlink_to(course.git_dir)
    url = stack.repo.url.replace("/repo.git", f"/{ada.name}.git")
    environment = await stack.built(ada)
    user = User(ada.name)
    environment = await stack.parts.environments.update(
        user, environment.id, content=ContentMode.SYNC, content_url=url
    )
    assert (environment.content_url, environment.content_ref) == (url, "HEAD")
    assert environment.directory == ada.name
    assert (await stack.ended(ada, await stack.launch(ada, environment))).state is LaunchState.READY
    folder = homes / ada.name / environment.directory
    assert (folder / "a.txt").read_text() == "one\n"
    (folder / "a.txt").write_text("mine\n")
    (folder / "b.txt").unlink()
    course.commit({"a.txt": "theirs\n", "c.txt": "new"})
    await stop(ada)
    assert (await stack.ended(ada, await stack.launch(ada, environment))).state is LaunchState.READY
    assert (folder / "a.txt").read_text() == "mine\n"
    assert (folder / "b.txt").read_text() == "b"
    assert (folder / "c.txt").read_text() == "new"
    assert [p.read_text() for p in folder.glob("a_upstream_*.txt")] == ["theirs\n"]


async def test_the_whole_job_through_the_rest_api(stack: Stack, ada: Person, homes: Path) -> None:
    headers = {"Authorization": f"Bearer {ada.token}"}
    base = f"http://127.0.0.1:{stack.app.port}/services/binder/api/v1"
    body = {
        "url": stack.repo.url,
        "options": {"fake": {"image": make_environment(stack.root, new_id())}},
    }
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{base}/environments", json=body) as response:
            assert response.status == 201, await response.text()
            environment = await response.json()
        async with session.post(f"{base}/environments/{environment['id']}/launches", json={}) as r:
            assert r.status == 201, await r.text()
            launch = await r.json()
        async with session.get(f"{base}/launches/{launch['id']}/events") as stream:
            text = await stream.text()
        assert "event: end" in text
        assert '"state":"ready"' in text.replace(" ", "")
        async with session.get(f"{base}/servers") as response:
            [server] = (await response.json())["items"]
    assert server["ready"]
    assert (homes / ada.name / environment["directory"] / "index.ipynb").exists()


# --- Images that were removed, and those that must stay -------------------------------------------------


async def remove_image(stack: Stack, environment: Environment) -> None:
    assert environment.current is not None
    await stack.parts.backend.delete_image(environment.current.build.image or "")


async def test_a_start_on_the_hubs_own_page_brings_a_removed_image_back(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.built(ada)
    await remove_image(stack, environment)
    status, answer = await ada.spawn({"environment": environment.id})
    assert status == 201, answer
    assert (await ada.server("env"))["BINDER_REPO_URL"] == environment.repo_url
    page = await stack.parts.environments.requests.list(User(ada.name), environment.id)
    assert page.total == 2
    assert {request.build.resolved_ref for request in page.items} == {
        environment.current.build.resolved_ref  # type: ignore[union-attr]
    }


async def test_a_start_of_what_was_never_built_builds_it(stack: Stack, ada: Person) -> None:
    environment = await stack.environment(ada, build=False)
    status, answer = await ada.spawn({"environment": environment.id})
    assert status == 201, answer
    stored = await stack.parts.environments.get(User(ada.name), environment.id)
    assert stored.current


async def test_a_start_does_not_try_what_failed_again(stack: Stack, ada: Person) -> None:
    environment = await stack.environment(ada, fail_at="building")
    assert environment.latest is not None
    async for _ in stack.parts.builds.watch(environment.latest.build.id):
        pass
    status, answer = await ada.spawn({"environment": environment.id})
    assert (status, "could not be built" in answer["message"]) == (400, True)
    page = await stack.parts.environments.requests.list(User(ada.name), environment.id)
    assert page.total == 1


@pytest.fixture
def cleaner(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Cleanup:
    """The service's own clean-up, with no room at all and everything long unused."""
    monkeypatch.setattr(cleanup, "utc_now", lambda: datetime.now(UTC) + timedelta(days=400))
    return Cleanup(
        store=stack.parts.store,
        backend=stack.parts.backend,
        in_use=partial(fetch_images_in_use, stack.parts.hub, stack.parts.store),
        budget_bytes=1,
    )


async def test_the_image_of_a_server_that_runs_stays_also_when_it_is_an_older_one(
    stack: Stack, ada: Person, cleaner: Cleanup
) -> None:
    environment, unused = await stack.built(ada), await stack.built(ada)
    assert (await ada.spawn({"environment": environment.id}, server="one"))[0] == 201
    again = await stack.parts.environments.build(User(ada.name), environment.id, force=True)
    assert again.latest is not None
    async for _ in stack.parts.builds.watch(again.latest.build.id):
        pass
    report = await cleaner.run()
    ran, idle = (one.current.build.image for one in (environment, unused) if one.current)
    assert ran not in report.removed
    assert idle in report.removed
    await ada.stop("one")
    assert ran in (await cleaner.run()).removed


async def test_nothing_is_removed_while_the_hub_does_not_say_what_runs(
    stack: Stack, ada: Person, cleaner: Cleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = await stack.built(ada)
    with monkeypatch.context() as patch:
        patch.setattr(stack.parts.hub, "api_url", f"http://127.0.0.1:{random_port()}/hub/api")
        with pytest.raises(HubError):
            await cleaner.run()
        patch.undo()
        patch.setattr(stack.parts.hub, "api_token", ada.token)
        with pytest.raises(NotAllowed):
            await cleaner.run()
    kept = {image.name for image in await stack.parts.backend.list_images()}
    assert environment.current is not None
    assert environment.current.build.image in kept


async def test_nothing_is_removed_while_a_server_runs_in_what_was_deleted_for_good(
    stack: Stack, ada: Person, cleaner: Cleanup
) -> None:
    environment = await stack.built(ada)
    assert (await ada.spawn({"environment": environment.id}))[0] == 201
    user = User(ada.name)
    await stack.parts.environments.delete(user, environment.id)
    await stack.parts.environments.purge(deleted_before=datetime.now(UTC) + timedelta(days=1))
    with pytest.raises(Conflict, match="deleted"):
        await cleaner.run()
    await ada.stop()
    await cleaner.run()


async def test_all_pages_of_the_hubs_people_are_asked(stack: Stack, ada: Person) -> None:
    bob = Person(stack.hub, f"bob-{new_id()}")
    ids = set()
    for person in (ada, bob):
        environment = await stack.built(person)
        assert (await person.spawn({"environment": environment.id}))[0] == 201
        ids.add(environment.id)
    stack.hub.tornado_settings["api_page_default_limit"] = 1
    try:
        assert await stack.parts.hub.fetch_environments_in_use(TOKEN) == ids
    finally:
        stack.hub.tornado_settings["api_page_default_limit"] = 50
        await bob.stop()


# --- For administrators ----------------------------------------------------------------------------------


async def test_a_detector_is_told_by_the_hub_what_a_server_runs(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    assert (await ada.spawn({"environment": environment.id}, "one"))[0] == 201
    detections, store = stack.parts.detections, stack.parts.store
    for server in ("one", "two"):
        body = json.dumps({"data": {"user": ada.name, "server": server}}).encode()
        report = await store.note_detection(read_report(body), new_id())
        assert report is not None
        await detections._look(report)
    found = {each.server_name: each for each in await detections.list_open()}
    assert found["one"].confirmed
    assert found["one"].repository == stack.parts.rules.repository_of(environment.spec) != ""
    assert (found["two"].confirmed, found["two"].repository) == (False, "")
    await ada.stop("one")


async def test_the_service_stops_all_servers_of_a_person(stack: Stack, ada: Person) -> None:
    environment = await stack.built(ada)
    launches, root = stack.parts.launches, User("root", admin=True)
    for server in ("", "one"):
        assert (await ada.spawn({"environment": environment.id}, server))[0] == 201
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stack.parts.hub, "api_token", ada.user.new_api_token(scopes=["read:servers!user"])
        )
        refused = await launches.stop_person(root, ada.name)
    assert (refused.stopped, refused.left) == ((), ("", "one"))
    assert "delete:servers" in str(refused.problem)
    stopped = await launches.stop_person(root, ada.name)
    assert (stopped.stopped, stopped.left, stopped.problem) == (("", "one"), (), None)
    assert not any(spawner.active for spawner in ada.user.spawners.values())
    assert "no person called" in str((await launches.stop_person(root, "nobody")).problem)


# --- The hub's client ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def client(stack: Stack) -> AsyncIterator[HubClient]:
    api_url = stack.hub.hub.api_url.rstrip("/")
    async with open_session() as session:
        yield HubClient(session=session, api_url=api_url, api_token=TOKEN)


async def test_the_hubs_version_is_found(client: HubClient) -> None:
    import jupyterhub

    assert (await client.fetch_version())[:2] == jupyterhub.version_info[:2]


async def test_a_token_that_does_not_reach_is_not_allowed(client: HubClient, ada: Person) -> None:
    with pytest.raises(NotAllowed):
        await client.fetch_servers("nonsense", ada.name)
    with pytest.raises(NotAllowed):
        await client.start_server(TOKEN, ada.name, "", {})


async def test_stopping_what_is_not_there_is_success(client: HubClient, ada: Person) -> None:
    await client.stop_server(ada.token, ada.name, "nothing")
    await client.stop_server(ada.token, ada.name, "")


async def test_a_hub_that_does_not_answer_is_said() -> None:
    api_url = f"http://127.0.0.1:{random_port()}/hub/api"
    async with open_session() as session:
        client = HubClient(session=session, api_url=api_url, patience_seconds=0)
        with pytest.raises(HubError):
            await client.fetch_version()
        with pytest.raises(HubError):
            async for _ in client.watch_progress("x", "ada", ""):
                pass
    with pytest.raises(HubError):
        await client.fetch_version()


async def test_a_launch_that_succeeded_is_kept_for_the_archive_without_its_person(
    stack: Stack, ada: Person
) -> None:
    environment = await stack.built(ada)
    origin = LaunchOrigin("hub.example.org", "https://blog.example.org")
    launch = await stack.ended(ada, await stack.launch(ada, environment, origin=origin))
    assert launch.state is LaunchState.READY
    now = utc_now()
    kept = await stack.parts.store.list_launch_events(since=now - timedelta(hours=1), until=now)
    (event,) = [each for each in kept if each.launch_id == launch.id]
    assert event.time == launch.finished
    assert event.spec == stack.parts.providers["git"].format_spec(environment.spec)
    assert event.resolved_ref == stack.repo.head
    assert event.origin.request_origin == "https://blog.example.org"
    assert "ada" not in repr(replace(event, launch_id=""))
