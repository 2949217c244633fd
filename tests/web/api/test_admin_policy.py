"""Administering a running service: rules, limits, draining, use and the audit log."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from click.testing import CliRunner

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.cli import main
from jupyterhub_binder.utils.time import utc_now
from tests.kit.api_client import Answer, Api
from tests.kit.fake_hub import PEOPLE, FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, service_config, wait_for_build
from tests.kit.waiting import until

ADMIN = "api/v1/admin"


@pytest.fixture
def root(person: Person) -> Api:
    """An admin."""
    return person("root")


@pytest_asyncio.fixture(loop_scope="module")
async def ban(root: Api, git_repo: GitRepo) -> AsyncIterator[Any]:
    """Return a coroutine function that bans the test's repository; no rule outlives the test."""

    async def add(pattern: str = git_repo.url, **fields: Any) -> Answer:
        answer = await root("POST", f"{ADMIN}/rules", {"pattern": pattern, **fields})
        assert answer.status == 200, answer.text
        return answer

    yield add
    for rule in (await root("GET", f"{ADMIN}/rules")).json["items"]:
        await root("DELETE", f"{ADMIN}/rules/{rule['id']}")


async def audit(root: Api, **query: str) -> list[dict[str, Any]]:
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    return (await root("GET", f"{ADMIN}/audit?limit=200&{text}")).json["items"]


# --- Rules --------------------------------------------------------------------------------------


async def test_a_banned_repository_is_refused_wherever_it_is_asked_for(
    ada: Api, root: Api, git_repo: GitRepo, new_environment, ban
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    url = git_repo.url
    bare = url.removesuffix(".git")
    await ban(bare.upper().replace("HTTP", "http") + ".git/", reason="It mines coins.")
    path = f"api/v1/environments/{made['id']}"
    encoded = bare.replace("org/repo", "%6frg/r%65po")
    asked = [
        ("POST", "api/v1/resolve", {"url": url}),
        ("POST", "api/v1/environments", {"url": url}),
        ("POST", "api/v1/environments", {"url": url, "build": False}),
        ("POST", "api/v1/environments", {"url": encoded}),
        ("POST", "api/v1/environments", {"url": f"{bare}.git/"}),
        ("POST", "api/v1/environments", {"provider": "git", "spec": f"{quote(url, safe='')}/HEAD"}),
        ("POST", f"{path}/builds", {"force": True}),
        ("POST", f"{path}/launches", {"server_name": "banned"}),
        ("GET", f"{path}/launch-spec", None),
    ]
    for method, where, body in asked:
        answer = await ada(method, where, body)
        assert (answer.status, answer.code) == (403, "repository_banned"), where
        assert "It mines coins." in answer.json["error"]["message"]
    hits = await audit(root, action="rule.hit", person="ada")
    assert hits[0]["target"].endswith("/org/repo")


async def test_a_ban_offers_to_end_what_is_under_way_and_does_so(
    person: Person, root: Api, new_environment, ban
) -> None:
    build = (await new_environment(options={"fake": {"gate": "banned"}}))["latest"]["id"]
    answer = await ban()
    assert build in [each["id"] for each in answer.json["builds"]]
    assert answer.json["cancelled"] == 0
    again = await ban(cancel=True)
    assert again.json["rule"]["id"] == answer.json["rule"]["id"]
    assert again.json["cancelled"] >= 1
    assert (await wait_for_build(root, build))["state"] == "cancelled"


async def test_a_build_that_waits_does_not_begin_once_it_is_banned(
    service: JupyterHubBinder, ada: Api, root: Api, new_environment, ban
) -> None:
    await root("PUT", f"{ADMIN}/drain")
    build = (await new_environment(options={"fake": {"lines": 9}}))["latest"]["id"]
    await ban(reason="Not here")
    await root("DELETE", f"{ADMIN}/drain")
    ended = await wait_for_build(ada, build)
    assert (ended["state"], ended["reason"]["code"]) == ("failed", "repository_banned")
    assert "Not here" in ended["reason"]["message"]


async def test_once_something_is_allowed_nothing_else_is(
    ada: Api, root: Api, git_repo: GitRepo, ban
) -> None:
    await ban("github.com/our/*", kind="allow")
    refused = await ada("POST", "api/v1/resolve", {"url": git_repo.url})
    assert (refused.status, refused.code) == (403, "repository_not_allowed")
    await ban(kind="allow")
    assert (await ada("POST", "api/v1/resolve", {"url": git_repo.url})).status == 200


async def test_admins_can_ban_from_the_page_of_an_environment(
    ada: Api, root: Api, new_environment
) -> None:
    made = await new_environment()
    for api, offered in ((root, True), (ada, False)):
        page = f"{api.url}environments/{made['id']}"
        async with api.session.get(page, headers=api.headers) as response:
            assert ('class="b-menu b-ban"' in await response.text()) is offered


async def test_the_page_of_a_banned_environment_says_why(ada: Api, new_environment, ban) -> None:
    made = await new_environment(build=False)
    await ban(reason="<b>Coins</b>")
    async with ada.session.get(
        f"{ada.url}environments/{made['id']}", headers=ada.headers
    ) as response:
        assert "&lt;b&gt;Coins&lt;/b&gt;" in await response.text()


async def test_a_banned_person_can_build_and_launch_nothing_until_the_ban_is_removed(
    ada: Api, person: Person, root: Api, git_repo: GitRepo, new_environment, ban
) -> None:
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    added = await ban("ada", kind="ban_person", reason="Ticket 7", shows_reason=False)
    path = f"api/v1/environments/{made['id']}"
    asked = [
        ("POST", "api/v1/resolve", {"url": git_repo.url}),
        ("POST", "api/v1/environments", {"url": git_repo.url}),
        ("POST", f"{path}/builds", {"force": True}),
        ("POST", f"{path}/launches", {"server_name": "banned"}),
        ("GET", f"{path}/launch-spec", None),
    ]
    for method, where, body in asked:
        answer = await ada(method, where, body)
        assert (answer.status, answer.code) == (403, "person_banned"), where
        assert "Ticket" not in answer.text
    assert (await person("bob")("POST", "api/v1/resolve", {"url": git_repo.url})).status == 200
    (newest, *_) = await audit(root, action="rule.add")
    assert (newest["target"], newest["detail"]["reason"]) == ("ada", "Ticket 7")
    await root("DELETE", f"{ADMIN}/rules/{added.json['rule']['id']}")
    assert (await ada("GET", f"{path}/launch-spec")).status == 200


@pytest_asyncio.fixture(loop_scope="module")
async def server(ada: Api, new_environment, hub: FakeHub) -> AsyncIterator[str]:
    """A server of ada's that runs; its name."""
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    launch = {"server_name": "mine"}
    await ada("POST", f"api/v1/environments/{made['id']}/launches", launch)
    await until(lambda: "mine" in hub.servers["ada"])
    yield "mine"
    hub.service_may_stop = True
    hub.servers["ada"].clear()


async def test_the_history_of_all_builds_is_read_in_parts(
    root: Api, ada: Api, new_environment
) -> None:
    made = [
        (await new_environment(options={"fake": {"lines": n}}))["latest"]["id"] for n in range(1, 4)
    ]
    for each in made:
        await wait_for_build(ada, each)
    path, found = f"{ADMIN}/builds?limit=2&state=built&person=ada", []
    part = (await root("GET", path)).json
    while part["older"]:
        assert len(part["items"]) == 2
        found += part["items"]
        part = (await root("GET", f"{path}&after={part['older']}")).json
    ids = [each["id"] for each in (*found, *part["items"])]
    assert len(set(ids)) == len(ids)
    assert set(made) <= set(ids)
    assert (await root("GET", f"{ADMIN}/builds?repository=nowhere")).json["items"] == []
    assert (await root("GET", f"{ADMIN}/builds?since=yesterday")).status == 400


async def test_a_ban_stops_the_servers_of_a_person_if_asked(
    root: Api, ban, hub: FakeHub, server: str
) -> None:
    hub.servers["bob"][""] = dict(hub.servers["ada"][server])
    assert (await ban("ada", kind="ban_person")).json["servers"] is None
    assert server in hub.servers["ada"]
    stopped = (await ban("ada", kind="ban_person", stop_servers=True)).json["servers"]
    assert stopped == {"stopped": [server], "left": [], "problem": None}
    assert (hub.servers["ada"], list(hub.servers.pop("bob"))) == ({}, [""])
    hub.servers["bob"] = {}
    (newest, *_) = await audit(root, action="servers.stop")
    assert (newest["target"], newest["detail"]["stopped"]) == ("ada", 1)
    body = {"pattern": "github.com/x/y", "stop_servers": True}
    refused = await root("POST", f"{ADMIN}/rules", body)
    assert refused.json["error"]["detail"] == {"field": "stop_servers"}
    unknown = (await ban("Ada", kind="ban_person", stop_servers=True)).json["servers"]
    assert (unknown["left"], "no person called Ada" in unknown["problem"]) == ([], True)


async def test_servers_that_the_service_may_not_stop_are_named(
    ban, hub: FakeHub, server: str
) -> None:
    hub.service_may_stop = False
    stopped = (await ban("ada", kind="ban_person", stop_servers=True)).json["servers"]
    assert (stopped["stopped"], stopped["left"]) == ([], [server])
    assert "delete:servers" in stopped["problem"]
    hub.down = True
    stopped = (await ban("ada", kind="ban_person", stop_servers=True)).json["servers"]
    hub.down = False
    assert (stopped["left"], bool(stopped["problem"])) == ([], True)


async def test_the_page_stops_the_servers_of_a_banned_person(
    root: Api, ban, hub: FakeHub, server: str, session, service_url: str
) -> None:
    headers = {"Authorization": "token root-token"}
    url = f"{service_url}admin/rules"
    form = {"kind": "ban_person", "pattern": "ada"}
    async with session.post(url, data=form, headers=headers) as response:
        assert "1 server of this person is running." in await response.text()
        shown = response.url
    rule = shown.query["added"]
    hub.service_may_stop = False
    async with session.post(f"{url}/{rule}/stop", headers=headers) as response:
        assert "delete:servers" in await response.text()
    hub.service_may_stop = True
    for words in ("1 server of this person was stopped.", "No server of this person is running."):
        async with session.post(url, data={**form, "stop": "1"}, headers=headers) as response:
            text = await response.text()
        assert words in text
        assert text.count("of this person") == 1
    assert hub.servers["ada"] == {}
    async with session.post(url, data={**form, "pattern": "Ada"}, headers=headers) as response:
        assert "The hub has no person called" in await response.text()
        await root("DELETE", f"{ADMIN}/rules/{response.url.query['added']}")
    await root("DELETE", f"{ADMIN}/rules/{rule}")


async def test_the_page_says_that_an_allow_rule_excludes_the_rest(
    root: Api, session, service_url: str
) -> None:
    headers = {"Authorization": "token root-token"}
    form = {"kind": "allow", "pattern": "git.example.org/*"}
    async with session.post(f"{service_url}admin/rules", data=form, headers=headers) as response:
        assert "Only repositories that an “allow” rule matches" in await response.text()
        await root("DELETE", f"{ADMIN}/rules/{response.url.query['added']}")


async def test_the_page_says_that_one_word_is_a_host(root: Api, session, service_url: str) -> None:
    headers = {"Authorization": "token root-token"}
    for pattern, told in (("x", True), ("git.example.org/*", False)):
        form = {"kind": "ban", "pattern": pattern}
        async with session.post(
            f"{service_url}admin/rules", data=form, headers=headers
        ) as response:
            assert ("read as the name of a host" in await response.text()) is told
            await root("DELETE", f"{ADMIN}/rules/{response.url.query['added']}")


async def test_the_builds_of_a_banned_person_go_on_for_others(
    ada: Api, person: Person, root: Api, new_environment, git_repo: GitRepo, ban
) -> None:
    gate = {"fake": {"gate": "banned-person"}}
    alone = (await new_environment(options={"fake": {"gate": "alone"}}))["latest"]["id"]
    shared = (await new_environment(options=gate))["latest"]["id"]
    bobs = {"url": git_repo.url, "options": gate}
    joined = (await person("bob")("POST", "api/v1/environments", bobs)).json
    assert joined["latest"]["id"] == shared
    assert (await ban("ada", kind="ban_person", cancel=True)).json["cancelled"] >= 1
    assert (await wait_for_build(root, alone))["state"] == "cancelled"
    build = (await root("GET", f"api/v1/builds/{shared}")).json
    assert build["state"] in ("pending", "running")
    await root("POST", f"api/v1/builds/{shared}/cancel")


async def test_nobody_bans_themselves(root: Api) -> None:
    answer = await root("POST", f"{ADMIN}/rules", {"kind": "ban_person", "pattern": "root"})
    assert (answer.status, answer.json["error"]["message"]) == (400, "You can't ban yourself.")


@pytest.mark.parametrize("pattern", ["*", "**", "*/*", "https://*/*/"])
async def test_nobody_bans_everything_by_mistake(root: Api, pattern: str) -> None:
    answer = await root("POST", f"{ADMIN}/rules", {"pattern": pattern, "cancel": True})
    assert (answer.status, answer.code) == (400, "invalid_input")
    assert "pause" in answer.text


async def test_an_admin_bans_from_the_page_of_a_build(
    ada: Api, root: Api, new_environment, ban
) -> None:
    made = await new_environment(options={"fake": {"gate": "page"}})
    build = made["latest"]["id"]
    async with ada.session.get(f"{ada.url}builds/{build}", headers=ada.headers) as response:
        assert 'name="ban_person"' not in await response.text()
    async with root.session.get(f"{root.url}builds/{build}", headers=root.headers) as response:
        assert '<input type="hidden" name="ban_person" value="ada">' in await response.text()
    form = {"kind": "ban_person", "ban": "github.com/x/y", "ban_person": "ada", "cancel": "1"}
    async with root.session.post(
        f"{root.url}admin/rules", data={**form, "reason": "Coins"}, headers=root.headers
    ) as response:
        assert response.status == 200, await response.text()
    (rule,) = (await root("GET", f"{ADMIN}/rules")).json["items"]
    assert (rule["kind"], rule["pattern"]) == ("ban_person", "ada")
    assert (rule["reason"], rule["shows_reason"]) == ("Coins", False)
    assert (await wait_for_build(root, build))["state"] == "cancelled"


async def test_configured_rules_are_shown_and_stay(hub: FakeHub, session, tmp_path: Path) -> None:
    config = service_config(hub, tmp_path)
    config.Rules.banned = {"https://github.com/miners/*": "It mines coins."}
    app = JupyterHubBinder(config=config)
    await app.start_service()
    try:
        api = Api(session, f"http://127.0.0.1:{app.port}{app.base_url}", "root-token")
        (rule,) = (await api("GET", f"{ADMIN}/rules")).json["items"]
        assert (rule["id"], rule["pattern"]) == (None, "github.com/miners/*")
        answer = await api("POST", "api/v1/resolve", {"url": "gh/Miners/any"})
        assert answer.code == "repository_banned"
    finally:
        await app.stop_service()


# --- Limits -------------------------------------------------------------------------------------


async def test_a_group_gives_more_and_a_persons_own_limit_wins(
    person: Person, root: Api, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEOPLE, "gus", {**PEOPLE["ada"], "groups": ["small", "large"]})
    gus = person("gus")
    await root("PUT", f"{ADMIN}/limits", {"group": "small", "environments": 1})
    await root("PUT", f"{ADMIN}/limits", {"group": "large", "environments": 2})
    limits = (await gus("GET", "api/v1/")).json["limits"]
    assert limits["environments"] == {"limit": 2, "used": 0}
    held = (await root("GET", f"{ADMIN}/limits?person=gus")).json["person"]
    assert held["groups"] == ["small", "large"]
    of_group = {"limit": 2, "source": "group", "group": "large", "until": None}
    assert held["limits"]["environments"] == of_group
    await root("PUT", f"{ADMIN}/limits", {"person": "gus", "environments": 0, "builds": 1})
    refused = await gus("POST", "api/v1/environments", {"url": git_repo.url, "build": False})
    assert (refused.status, refused.code) == (429, "limit_reached")
    await root("PUT", f"{ADMIN}/limits", {"person": "gus"})
    for group in ("small", "large"):
        await root("PUT", f"{ADMIN}/limits", {"group": group})
    assert (await gus("GET", "api/v1/")).json["limits"]["environments"]["limit"] == 1000
    assert not [
        each
        for each in (await root("GET", f"{ADMIN}/limits")).json["items"]
        if each["name"] in ("gus", "small", "large")
    ]


async def test_a_new_person_reads_when_the_limit_ends(
    service: JupyterHubBinder, person: Person, root: Api, git_repo: GitRepo, monkeypatch
) -> None:
    limits = service.parts.limits
    limits.new_people = {"environments": 0}
    monkeypatch.setitem(limits._new, "bob", utc_now())
    refused = await person("bob")("POST", "api/v1/environments", {"url": git_repo.url})
    limits.new_people = {"environments": 0, "builds": 1}
    shown = (await root("GET", f"{ADMIN}/limits?person=bob")).json["person"]["limits"]
    async with root.session.get(f"{root.url}admin/limits", headers=root.headers) as response:
        page = await response.text()
    limits.new_people = {}
    assert "for 24 hours" in page
    assert refused.status == 429
    assert "This limit is for new people." in refused.text
    until = refused.json["error"]["detail"]["until"]
    assert shown["environments"] == {**shown["environments"], "limit": 0, "source": "new"}
    assert shown["environments"]["until"][:16] == until[:16]
    assert (shown["builds"]["limit"], shown["running"]["source"]) == (1, "default")


@pytest.mark.parametrize(
    "body",
    [{}, {"person": "a", "group": "b"}, {"person": "a", "share": 0}, {"person": "a", "builds": -1}],
)
async def test_limits_that_make_no_sense_are_refused(root: Api, body: dict[str, Any]) -> None:
    assert (await root("PUT", f"{ADMIN}/limits", body)).status == 400


# --- Draining -----------------------------------------------------------------------------------


async def test_a_drained_service_begins_nothing_says_why_and_remembers(
    hub: FakeHub, session, tmp_path: Path, git_repo: GitRepo
) -> None:
    config = service_config(hub, tmp_path)

    async def start() -> tuple[JupyterHubBinder, Api, Api]:
        app = JupyterHubBinder(config=config)
        await app.start_service()
        url = f"http://127.0.0.1:{app.port}{app.base_url}"
        return app, Api(session, url, "root-token"), Api(session, url, "ada-token")

    app, root, ada = await start()
    try:
        await root("PUT", f"{ADMIN}/drain", {"message": "Upgrade at <noon>."})
        made = (await ada("POST", "api/v1/environments", {"url": git_repo.url})).json
        assert made["state"] == "queued"
        await app.stop_service()
        app, root, ada = await start()
        state = (await root("GET", f"{ADMIN}/drain")).json
        assert (state["draining"], state["running"], state["waiting"]) == (True, 0, 1)
        assert (await ada("GET", "health")).json["draining"] is True
        assert (await ada("GET", "api/v1/")).json["drain"] == "Upgrade at <noon>."
        async with session.get(ada.url, headers=ada.headers) as response:
            assert "Upgrade at &lt;noon&gt;." in await response.text()
        await root("DELETE", f"{ADMIN}/drain")
        assert (await wait_for_build(ada, made["latest"]["id"]))["state"] == "built"
        assert (await ada("GET", "health")).json["draining"] is False
    finally:
        await app.stop_service()


# --- Use and environments -----------------------------------------------------------------------


async def test_use_counts_what_people_did_and_have(ada: Api, root: Api, new_environment) -> None:
    made = await new_environment(options={"fake": {"lines": 5, "size_bytes": 1234}})
    await wait_for_build(ada, made["latest"]["id"])
    page = (await root("GET", f"{ADMIN}/use?days=7&search=ADA")).json
    (mine,) = page["items"]
    assert mine["builds"] >= 1
    assert mine["image_bytes"] >= 1234
    assert mine["environments"] >= 1
    text = (await root("GET", f"{ADMIN}/use.csv?sort=name")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert "ada" in [row["name"] for row in rows]
    assert (await root("GET", f"{ADMIN}/use?sort=shoes")).status == 400


async def test_admins_find_delete_and_restore_anybodys_environment(
    root: Api, new_environment
) -> None:
    made = await new_environment(build=False, name="Needle <in> hay")
    found = (await root("GET", f"{ADMIN}/environments?person=ada&search=needle")).json
    assert [each["id"] for each in found["items"]] == [made["id"]]
    await root("DELETE", f"api/v1/environments/{made['id']}")
    assert (await root("GET", f"{ADMIN}/environments?search=needle")).json["total"] == 0
    gone = (await root("GET", f"{ADMIN}/environments?search=needle&deleted=1")).json
    assert gone["items"][0]["owner"] == "ada"
    await root("POST", f"api/v1/environments/{made['id']}/restore", {})
    assert (await root("GET", f"{ADMIN}/environments?search=needle")).json["total"] == 1
    entries = [each for each in await audit(root) if each["target"] == made["id"]]
    done = {each["action"] for each in entries}
    assert done == {"environment.create", "environment.delete", "environment.restore"}
    assert {each["detail"]["name"] for each in entries} == {"Needle <in> hay"}


# --- The audit log ------------------------------------------------------------------------------


async def test_the_audit_log_never_holds_a_secret(root: Api, ban) -> None:
    secret = "0123456789abcdef" * 2
    await ban(f"https://ada:{secret}@git.example.org/x", reason=f"token={secret}")
    lines = (await root("GET", f"{ADMIN}/audit.jsonl")).text
    assert "git.example.org/x" in lines
    assert secret not in lines
    entries = [json.loads(line) for line in lines.splitlines()]
    assert [each["id"] for each in entries] == sorted(each["id"] for each in entries)


async def test_nothing_changes_the_audit_log(root: Api) -> None:
    for method in ("post", "put", "patch", "delete"):
        for path in ("audit", "audit.jsonl"):
            url = f"{root.url}{ADMIN}/{path}"
            async with root.session.request(method, url, headers=root.headers) as response:
                assert response.status == 405


# --- From a terminal ----------------------------------------------------------------------------


@pytest.fixture
def run(service_url: str, monkeypatch: pytest.MonkeyPatch):
    """Return a coroutine function that runs an admin's command against the service."""
    monkeypatch.setenv("JUPYTERHUB_BINDER_TOKEN", "root-token")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    env = dict(os.environ)

    async def run_command(*arguments: str, status: int = 0) -> str:
        command = ["admin", *arguments, "--hub", service_url]
        done = await asyncio.to_thread(CliRunner(env=env).invoke, main, command)
        assert done.exit_code == status, done.output
        return done.stdout

    return run_command


COMMANDS = (
    "overview",
    "builds",
    "detections",
    "queue",
    "environments",
    "failures",
    "backends",
    "use",
    "rules",
    "limits",
    "audit",
)


async def test_every_list_is_there_on_a_terminal(run, new_environment) -> None:
    await new_environment(build=False)
    for command in COMMANDS:
        await run(command)
        json.loads(await run(command, "--json"))
    assert "ada" in await run("environments", "--person", "ada")
    assert len(json.loads(await run("builds", "--person", "ada", "--limit", "1", "--json"))) <= 1
    assert (await run("use", "--csv")).startswith("name,builds")
    assert json.loads((await run("audit", "--lines")).splitlines()[0])["id"] >= 1


async def test_rules_and_limits_are_made_and_removed_by_commands(run) -> None:
    await run("ban", "gh/cli/*", "--reason", "Why not")
    assert "github.com/cli/*\tWhy not" in await run("rules")
    await run("remove-rule", "github.com/cli/*")
    await run("remove-rule", "github.com/cli/*", status=5)
    await run("limit", "--group", "cli", "--environments", "3", "--share", "2")
    said = await run("limit", "--group", "cli", "--environments", "default")
    assert said == "group cli: share 2\n"
    assert "share 2" not in await run("limit", "--group", "cli", "--share", "default")
    await run("limit", "--share", "2", status=2)


async def test_drain_waits_until_nothing_runs(
    service: JupyterHubBinder, run, root: Api, new_environment
) -> None:
    build = (await new_environment(options={"fake": {"gate": "drain"}}))["latest"]["id"]
    await run("drain", "--wait", "--timeout", "0.1", status=1)
    waiting = asyncio.create_task(run("drain", "--message", "Soon", "--wait", "--json"))
    drain = service.parts.drain
    await until(lambda: drain.state is not None and drain.state.message == "Soon")
    assert not waiting.done()
    await run("cancel", build)
    for other in service.parts.builds.queue().running:
        await root("POST", f"api/v1/builds/{other.id}/cancel", {})
    assert json.loads(await waiting)["running"] == 0
    assert "Builds resumed" in await run("resume")
