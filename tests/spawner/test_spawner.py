"""The hub's side of a start, in a real hub: options, waiting, the command, an admin's own hooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import jupyterhub
import pytest
from jupyterhub import orm, roles
from jupyterhub.tests.mocking import MockHub

from jupyterhub_binder.model import LaunchSpec
from jupyterhub_binder.spawner import StartRefused
from jupyterhub_binder.spawner.service import Service
from jupyterhub_binder.spawner.startlog import MAX_LINES
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.sse import ServerEvent
from jupyterhub_binder.utils.wire import from_json
from tests.kit.real_hub import FakeService, Person, make_environment
from tests.kit.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def image(root: Path) -> str:
    return make_environment(root, new_id())


def messages(events: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in events]


# --- What runs -----------------------------------------------------------------------------------------


async def test_without_an_environment_the_admins_own_command_runs(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    status, _ = await person.spawn()
    assert status == 201
    env = await person.server("env")
    assert "BINDER_REPO_URL" not in env
    assert fresh.requests == []


async def test_with_an_environment_its_own_server_runs_in_the_persons_home(
    hub: MockHub,
    fresh: FakeService,
    person: Person,
    image: str,
    root: Path,
    homes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/the/hubs/own")
    environment = fresh.add("one", image=image, path="index.ipynb")
    status, answer = await person.spawn({"environment": environment})
    assert status == 201, answer
    folder = root / image.removeprefix("venv:")
    env = await person.server("env")
    assert env["PATH"].startswith(f"{folder}/bin:")
    assert env["VIRTUAL_ENV"] == str(folder)
    assert "PYTHONPATH" not in env
    assert "JUPYTERHUB_BINDER_CONTENT" not in env
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo/index.ipynb"
    assert env["JUPYTERHUB_ROOT_DIR"] == str(homes / person.name)
    assert (homes / person.name / "repo" / "index.ipynb").exists()


async def test_the_service_is_asked_in_the_persons_name_with_a_token_that_is_gone_afterwards(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    await person.spawn({"environment": fresh.add("one", image=image)})
    [(path, asker)] = fresh.requests
    assert path.endswith("/launch-spec?server_name=")
    assert asker["name"] == person.name
    reach = {scope.partition("!")[0] for scope in asker["scopes"]}
    few = {"access:services", "custom:binder:build", "read:users:name", "read:users:groups"}
    assert reach <= few
    assert orm.APIToken.find(hub.db, fresh.tokens[0]) is None


async def test_the_command_is_the_admins_again_without_an_environment(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    await person.spawn({"environment": fresh.add("one", image=image)})
    await person.stop()
    await person.spawn({"environment": ""})
    assert "BINDER_REPO_URL" not in await person.server("env")


async def test_a_start_without_options_reuses_the_last_ones(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    await person.spawn({"environment": fresh.add("one", image=image)})
    await person.stop()
    await person.spawn()
    assert (await person.server("env"))["BINDER_REPO_URL"] == "https://example.org/one"


async def test_named_servers_have_an_environment_each(
    hub: MockHub, fresh: FakeService, person: Person, root: Path
) -> None:
    for name in ("first", "second"):
        environment = fresh.add(name, image=make_environment(root, new_id()))
        status, answer = await person.spawn({"environment": environment}, server=name)
        assert status == 201, answer
    first, second = [await person.server("env", name) for name in ("first", "second")]
    assert first["BINDER_REPO_URL"] == "https://example.org/first"
    assert second["BINDER_REPO_URL"] == "https://example.org/second"
    assert first["VIRTUAL_ENV"] != second["VIRTUAL_ENV"]


async def test_an_asked_file_opens_and_another_ones_path_does_not(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)
    await person.spawn({"environment": environment, "path": "index.ipynb"})
    assert (await person.server("env"))["JUPYTERHUB_DEFAULT_URL"].endswith("/repo/index.ipynb")
    await person.stop()
    elsewhere = ("//evil.example", "/%2e%2e/hub/logout", "/%5Cevil.example", "https://evil.example")
    for nonsense in (["--from=/etc"], "a\0b", "\ud800", "x" * 200_000, *elsewhere):
        await person.spawn({"environment": environment, "path": nonsense})
        assert (await person.server("env"))["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo"
        await person.stop()


async def test_wrappers_and_arguments_of_an_admins_command_stay(
    hub: MockHub, fresh: FakeService, person: Person, image: str, root: Path
) -> None:
    person.spawner.cmd = ["env", "WRAPPED=yes", "jupyterhub-singleuser", "--their-own"]
    person.spawner.args = ["--debug"]
    await person.spawn({"environment": fresh.add("one", image=image)})
    assert (await person.server("env"))["WRAPPED"] == "yes"
    arguments = await person.server("args")
    assert arguments[1:3] == ["--their-own", "--debug"]


@pytest.mark.parametrize("switched_on", [True, False])
async def test_a_start_script_runs_before_the_server_unless_an_admin_says_no(
    hub: MockHub, fresh: FakeService, person: Person, image: str, root: Path, switched_on: bool
) -> None:
    folder = root / image.removeprefix("venv:")
    (folder / "binder").mkdir(exist_ok=True)
    (folder / "binder/image.json").write_text('{"start": "start"}')
    (folder / "repo/start").write_text('#!/bin/sh\nexport STARTED=yes\nexec "$@"\n')
    (folder / "repo/start").chmod(0o755)
    person.spawner.binder_run_start = switched_on
    status, answer = await person.spawn({"environment": fresh.add("one", image=image)})
    assert status == 201, answer
    env = await person.server("env")
    assert ("STARTED" in env, "R2D_ENTRYPOINT" in env) == (switched_on, not switched_on)


# --- Nothing that is sent is an image ------------------------------------------------------------------


async def test_an_image_in_the_options_is_never_obeyed(
    hub: MockHub, fresh: FakeService, person: Person, image: str, root: Path
) -> None:
    other = make_environment(root, new_id())
    options = {"environment": fresh.add("one", image=image), "image": other, "cmd": ["/bin/false"]}
    assert (await person.spawn(options))[0] == 201
    env = await person.server("env")
    assert env["VIRTUAL_ENV"].endswith(image.removeprefix("venv:"))
    assert "image" not in person.spawner.user_options


@pytest.mark.parametrize("value", ["../../x", "O" * 10, "venv:abc", ["a"], {"a": 1}, 7, True])
async def test_what_is_no_environments_id_is_refused_and_not_asked_for(
    hub: MockHub, fresh: FakeService, person: Person, value: Any
) -> None:
    assert (await person.spawn({"environment": value}))[0] == 400
    assert fresh.requests == []


@pytest.mark.parametrize(
    "image", ["venv:../../etc", "venv:", "venv:.hidden", "quay.io/x:1", "/bin"]
)
async def test_an_image_that_is_no_environment_of_this_machine_is_refused(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    status, answer = await person.spawn({"environment": fresh.add("one", image=image)})
    assert status == 400
    assert "container" in answer["message"]


async def test_an_environment_whose_files_are_gone_is_refused_with_what_to_do(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    status, answer = await person.spawn({"environment": fresh.add("one", image="venv:gone")})
    assert status == 400
    assert "Build it again" in answer["message"]


# --- Waiting for a build -------------------------------------------------------------------------------


def building(service: FakeService, image: str, name: str = "one") -> tuple[str, str]:
    build = new_id()
    return service.add(name, state="building", build_id=build), build


def finish(service: FakeService, environment: str, build: str, image: str | None) -> None:
    spec = service.environments[environment]
    spec.update(state="ready" if image else "failed", image=image)
    service.tell(build, ("end", {"state": spec["state"]}))


async def test_a_start_waits_for_the_build_and_every_page_sees_the_whole_log(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = building(fresh, image)
    person.spawner.start_timeout = 1
    began = asyncio.get_running_loop().time()
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    await until(lambda: person.spawner._spawn_pending)
    first = asyncio.create_task(person.progress())
    await until(lambda: len(fresh.requests) >= 2)
    fresh.tell(build, ("build", {"phase": "building", "queue_position": None}))
    fresh.lines(build, "Installing <b>numpy</b>", "\x1b[32mgreen\x1b[0m", "50 %\r")
    await until(lambda: person.spawner._start_log().lines >= 2)
    second = asyncio.create_task(person.progress())
    # Longer than start_timeout: the wait does not count.
    await until(lambda: asyncio.get_running_loop().time() - began > 1.2)
    finish(fresh, environment, build, image)
    assert (await starting)[0] == 201
    for events in (await first, await second):
        said = messages(events)
        assert "Installing <b>numpy</b>" in said
        assert "green" in said
        assert not any("50 %" in message for message in said)
        assert all("<b>" not in event.get("html_message", "") for event in events)
        assert any(f"builds/{build}" in event.get("html_message", "") for event in events)
        assert events[-1]["ready"]


async def test_waiting_survives_a_restart_of_the_service(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = building(fresh, image)
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    fresh.lines(build, "before")
    await until(lambda: person.spawner._start_log().lines == 1)
    progress = asyncio.create_task(person.progress())
    await fresh.stop()
    fresh.lines(build, "after")
    await fresh.start()
    await until(lambda: person.spawner._start_log().lines == 2)
    finish(fresh, environment, build, image)
    assert (await starting)[0] == 201
    said = messages(await progress)
    assert said.count("before") == said.count("after") == 1
    assert any("after=1" in path for path, _ in fresh.requests)


async def test_a_build_that_fails_ends_the_start_with_words_and_hurts_nobody(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = building(fresh, image, name="<i>mine</i>")
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    fresh.lines(build, "no such package")
    await until(lambda: person.spawner._start_log().lines == 1)
    progress = asyncio.create_task(person.progress())
    finish(fresh, environment, build, None)
    status, answer = await starting
    assert status == 400
    assert "could not be built" in answer["message"]
    last = (await progress)[-1]
    assert last["failed"]
    assert "<i>" not in last.get("html_message", "")
    assert f"environments/{environment}" in last.get("html_message", "")
    assert hub.tornado_settings.get("failure_count", 0) == 0
    assert (await person.spawn({"environment": ""}))[0] == 201


async def test_a_very_long_log_is_cut_on_the_spawn_page(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = building(fresh, image)
    fresh.lines(build, *[f"line {number}" for number in range(MAX_LINES + 500)])
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    await until(lambda: person.spawner._start_log().lines == MAX_LINES + 500)
    progress = asyncio.create_task(person.progress())
    finish(fresh, environment, build, image)
    assert (await starting)[0] == 201
    said = messages(await progress)
    assert sum(message.startswith("line ") for message in said) == MAX_LINES - 1
    assert "The rest of the log is on the build's page." in said


async def test_cancelling_a_start_that_waits_is_said_and_the_next_start_works(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = building(fresh, image)
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    fresh.lines(build, "line")
    await until(lambda: person.spawner._start_log().lines == 1)
    progress = asyncio.create_task(person.progress())
    await person.stop()
    events = await progress
    assert events[-1].get("failed")
    assert "cancelled" in events[-1]["message"]
    assert not any(event.get("ready") for event in events)
    assert (await starting)[0] >= 400
    finish(fresh, environment, build, image)
    assert (await person.spawn())[0] == 201


@pytest.mark.parametrize(
    ("state", "words"),
    [("unbuilt", "not built yet"), ("failed", "could not be built"), ("cancelled", "cancelled")],
)
async def test_an_environment_with_nothing_to_start_says_so(
    hub: MockHub, fresh: FakeService, person: Person, state: str, words: str
) -> None:
    status, answer = await person.spawn({"environment": fresh.add("one", state=state)})
    assert status == 400
    assert words in answer["message"]
    assert len(fresh.requests) == 1


async def test_a_start_of_what_has_no_image_waits_for_the_build_that_it_begins(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment, build = fresh.add("one"), new_id()
    fresh.builds_at_start[environment] = {"state": "queued", "build_id": build}
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    fresh.lines(build, "making it again")
    await until(lambda: person.spawner._start_log().lines == 1)
    finish(fresh, environment, build, image)
    assert (await starting)[0] == 201
    assert fresh.begun == [environment], "once a start, however long it waits"


async def test_the_stream_of_a_build_that_ended_is_closed_before_the_start_goes_on(
    fresh: FakeService, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []

    async def follow(
        service: Service, build: str, *, patience_seconds: float
    ) -> AsyncGenerator[ServerEvent, None]:
        try:
            yield ServerEvent("end", "{}", "")
        finally:
            closed.append(build)

    monkeypatch.setattr(Service, "follow", follow)
    environment, build = fresh.add("one", state="building", build_id=new_id()), new_id()
    spec = from_json(LaunchSpec, fresh.environments[environment])
    await person.spawner._wait_for_build(spec, build)
    assert closed == [build]


async def test_a_person_who_may_not_build_is_not_made_one_who_may(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    person.user.orm_user.roles.clear()
    hub.db.commit()
    scopes = ["self", "access:services!service=binder"]
    roles.create_role(hub.db, {"name": "readers", "scopes": scopes})
    roles.grant_role(hub.db, person.user.orm_user, "readers")
    assert (await person.spawn({"environment": fresh.add("one", image=image)}))[0] == 201
    [(_, asker)] = fresh.requests
    assert "custom:binder:build" not in asker["scopes"]


async def test_an_older_build_is_started_while_a_newer_one_is_under_way(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image, state="building", build_id=new_id())
    assert (await person.spawn({"environment": environment}))[0] == 201


# --- When it cannot be ---------------------------------------------------------------------------------


async def test_an_environment_that_is_gone_is_said(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    status, answer = await person.spawn({"environment": new_id()})
    assert status == 400
    assert "no longer exists" in answer["message"]


def not_found(message: str) -> tuple[int, dict[str, Any]]:
    return 404, {"error": {"code": "not_found", "message": message, "detail": {}}}


async def test_a_build_that_the_service_does_not_know_is_no_environment_that_is_gone(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    fresh.refuse = not_found("There is no such build.")
    with pytest.raises(StartRefused) as caught:
        async with aclosing(
            person.spawner._service().follow(new_id(), patience_seconds=0)
        ) as events:
            [_ async for _ in events]
    assert "status 404: There is no such build." in caught.value.jupyterhub_message
    assert "environment" not in caught.value.jupyterhub_message
    assert "binder_service_url" in caught.value.jupyterhub_message


@pytest.mark.parametrize("answer", [not_found("Nothing here."), (404, {"status": 404}), (404, "")])
async def test_the_form_says_what_to_look_at_where_the_services_address_is_wrong(
    hub: MockHub, fresh: FakeService, person: Person, answer: Any
) -> None:
    person.spawner.orm_spawner.user_options = {"environment": new_id()}
    fresh.refuse = answer
    form = await person.spawner.get_options_form()
    assert "status 404" in form
    assert "binder_service_url" in form
    assert "no longer exists" not in form


async def test_a_start_at_a_wrong_address_says_what_to_look_at(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    fresh.refuse = (404, "404 page not found")
    status, answer = await person.spawn({"environment": fresh.add("one", image=image)})
    assert status == 400
    assert "does not answer" in answer["message"]
    assert "binder_service_url" in answer["message"]


async def test_the_services_own_refusal_is_passed_on(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)
    fresh.refuse = (403, {"error": {"code": "banned", "message": "Not this one.", "detail": {}}})
    status, answer = await person.spawn({"environment": environment})
    assert status == 400
    assert "Not this one." in answer["message"]


async def test_without_the_service_other_servers_still_start(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)
    await fresh.stop()
    try:
        status, answer = await person.spawn({"environment": environment})
        assert status == 400
        assert "does not answer" in answer["message"]
        assert hub.tornado_settings.get("failure_count", 0) == 0
        assert "does not answer" in await person.spawner.get_options_form()
        assert (await person.spawn({"environment": ""}))[0] == 201
    finally:
        await fresh.start()


async def test_who_may_not_use_the_service_is_told(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)
    role = orm.Role.find(hub.db, "user")
    before = role.scopes
    role.scopes = ["self"]
    hub.db.commit()
    try:
        status, answer = await person.spawn({"environment": environment})
    finally:
        role.scopes = before
        hub.db.commit()
    assert status == 400
    assert "may not use environments" in answer["message"]


# --- The form ------------------------------------------------------------------------------------------


async def test_the_form_offers_the_persons_environments_and_escapes_their_names(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    ready = fresh.add('"><script>alert(1)</script>', image=image)
    later = fresh.add("later", state="building", build_id=new_id())
    never, failed = fresh.add("never"), fresh.add("failed", state="failed")
    form = await person.spawner.get_options_form()
    assert "<script>" not in form
    assert f'<option value="{ready}">' in form
    assert f'<option value="{later}">' in form
    assert f'<option value="{never}">' in form
    assert f'<option value="{failed}" disabled>' in form
    assert '<option value="" selected>None (default' in form
    assert "/services/binder/" in form


async def test_the_form_starts_with_the_last_choice(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)
    await person.spawn({"environment": environment})
    await person.stop()
    assert f'<option value="{environment}" selected>' in await person.spawner.get_options_form()


async def test_who_has_no_environments_gets_the_admins_own_form_or_none(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    assert await person.spawner.get_options_form() == ""
    person.spawner.options_form = "<input name='theirs'>"
    shown = await person.spawner.get_options_form()
    assert shown.endswith("<input name='theirs'>")
    assert "<select" not in shown
    assert 'name="environment_repository"' in shown


async def test_our_choice_and_the_admins_form_are_merged_both_ways(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    environment = fresh.add("one", image=image)

    async def form(spawner: Any) -> str:
        return "<input name='memory'>"

    def from_form(data: dict[str, list[str]]) -> dict[str, Any]:
        assert set(data) == {"memory"}
        return {"memory": int(data["memory"][0])}

    person.spawner.options_form = form
    person.spawner.options_from_form = from_form
    shown = await person.spawner.get_options_form()
    assert shown.endswith("<input name='memory'>")
    assert environment in shown
    sent = {"memory": ["4"], "environment": [environment]}
    merged = {"memory": 4, "environment": environment}
    assert await person.spawner.run_options_from_form(dict(sent)) == merged
    assert await person.spawner.options_from_query(dict(sent)) == merged


# --- An administrator's own ------------------------------------------------------------------------------


async def test_the_admins_hooks_run_and_know_the_environment(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    seen: list[Any] = []

    async def before(spawner: Any) -> None:
        seen.append(("start", spawner.binder_spec.environment_name))
        spawner.environment = {**spawner.environment, "FROM_HOOK": "yes"}

    def after(spawner: Any) -> None:
        seen.append(("stop", spawner.user_options["environment"]))

    def apply(spawner: Any, options: dict[str, Any]) -> None:
        seen.append(("options", dict(options)))

    person.spawner.pre_spawn_hook = before
    person.spawner.post_stop_hook = after
    person.spawner.apply_user_options = apply
    person.spawner.environment = {"THEIRS": "1", "PYTHONPATH": "/wanted"}
    environment = fresh.add("one", image=image)
    await person.spawn({"environment": environment, "memory": 4})
    env = await person.server("env")
    assert (env["FROM_HOOK"], env["THEIRS"], env["PYTHONPATH"]) == ("yes", "1", "/wanted")
    await person.stop()
    assert seen == [("options", {"memory": 4}), ("start", "one"), ("stop", environment)]


async def test_a_hook_that_refuses_still_refuses(
    hub: MockHub, fresh: FakeService, person: Person, image: str
) -> None:
    def no(spawner: Any) -> None:
        raise StartRefused("Not on Sundays.", reason="sunday")

    person.spawner.pre_spawn_hook = no
    status, answer = await person.spawn({"environment": fresh.add("one", image=image)})
    assert status == 400
    assert "Not on Sundays." in answer["message"]


def test_a_refusal_is_what_this_hub_calls_one() -> None:
    error = StartRefused("100 % full", reason="full", html_message="<b>full</b>")
    assert error.status_code == 400
    assert error.jupyterhub_message == "100 % full"
    assert error.jupyterhub_html_message == "<b>full</b>"
    if jupyterhub.version_info >= (6,):
        assert isinstance(error, jupyterhub.spawner.SpawnException)
    assert "100 % full" in str(error)
