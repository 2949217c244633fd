"""Environments through the API, as a program uses it."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.fake import FakeBackend
from tests.kit.api_client import Api
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build


async def test_a_link_is_resolved_before_anything_is_kept(ada: Api, git_repo: GitRepo) -> None:
    before = (await ada("GET", "api/v1/environments")).json["total"]
    answer = await ada("POST", "api/v1/resolve", {"url": git_repo.url})
    assert answer.status == 200, answer.text
    assert answer.json["resolved_ref"] == git_repo.head
    assert answer.json["provider"] == "git"
    assert (await ada("GET", "api/v1/environments")).json["total"] == before


async def test_the_recipe_is_shown_also_where_the_backend_fetches_for_itself(
    ada: Api, git_repo: GitRepo, service: JupyterHubBinder
) -> None:
    assert not service.parts.backend.needs_checkout
    resolved = (await ada("POST", "api/v1/resolve", {"url": git_repo.url})).json
    assert resolved["commit"]["sha"] == git_repo.head
    [file] = resolved["recipe"]["files"]
    assert (file["path"], file["supported"]) == ("requirements.txt", True)
    assert file["action"] == "Is read but not used"


async def test_a_problem_of_the_preview_ends_the_build_in_the_same_words(
    ada: Api, git_repo: GitRepo, monkeypatch
) -> None:
    monkeypatch.setattr(FakeBackend, "needs_checkout", True)
    git_repo.branch("two-folders", switch=True)
    git_repo.commit({"binder/apt.txt": "curl", ".binder/apt.txt": "curl"})
    git_repo.git("switch", "--quiet", "main")
    body = {"url": git_repo.url, "ref": "two-folders"}
    [finding] = (await ada("POST", "api/v1/resolve", body)).json["findings"]
    assert (finding["severity"], finding["code"]) == ("problem", "two_folders")
    made = (await ada("POST", "api/v1/environments", body)).json
    build = await wait_for_build(ada, made["latest"]["id"])
    assert build["reason"]["code"] == "two_folders"
    assert build["reason"]["message"] == finding["message"]


async def test_an_environment_is_created_built_and_read(ada: Api, new_environment) -> None:
    made = await new_environment(name="Course, week 1", content="leave", path="./a//b.ipynb")
    assert (made["name"], made["content"], made["path"]) == ("Course, week 1", "leave", "a/b.ipynb")
    build = await wait_for_build(ada, made["latest"]["id"])
    assert (build["state"], build["number"], build["environment"]["id"]) == ("built", 1, made["id"])
    read = (await ada("GET", f"api/v1/environments/{made['id']}")).json
    assert read["state"] == "ready"
    assert read["current"]["id"] == build["id"]
    spec = (await ada("POST", f"api/v1/environments/{made['id']}/launch-spec", {})).json
    receipt = (await ada("GET", f"api/v1/builds/{build['id']}/receipt")).json
    assert json.loads(spec["receipt"]) == receipt


async def test_a_built_commit_is_given_to_others_only_while_its_host_serves_the_repository(
    ada: Api, person: Person, git_repo: GitRepo
) -> None:
    served = git_repo.git_dir.with_name("was-public.git")
    shutil.copytree(git_repo.git_dir, served)
    body = {"url": git_repo.url.replace("org/repo", "org/was-public"), "ref": git_repo.head}
    made = (await ada("POST", "api/v1/environments", body)).json
    await wait_for_build(ada, made["latest"]["id"])
    hidden = served.rename(served.with_name("private.git"))
    bob = person("bob")
    assert (await bob("POST", "api/v1/environments", body)).code == "repository_not_found"
    again = await ada("POST", "api/v1/environments", body)  # the build was given to ada before
    assert again.json["current"]["id"] == made["latest"]["id"]
    hidden.rename(served)
    given = (await bob("POST", "api/v1/environments", body)).json
    assert given["state"] == "ready"
    await bob("DELETE", f"api/v1/environments/{given['id']}")


async def test_a_running_build_of_a_commit_is_joined_only_while_its_host_serves_the_repository(
    ada: Api, person: Person, git_repo: GitRepo
) -> None:
    served = git_repo.git_dir.with_name("was-shown.git")
    shutil.copytree(git_repo.git_dir, served)
    body = {
        "url": git_repo.url.replace("org/repo", "org/was-shown"),
        "ref": git_repo.head,
        "options": {"fake": {"gate": "shown"}},
    }
    made = (await ada("POST", "api/v1/environments", body)).json
    served.rename(served.with_name("hidden.git"))
    refused = await person("bob")("POST", "api/v1/environments", body)
    assert refused.code == "repository_not_found"
    await ada("DELETE", f"api/v1/environments/{made['id']}")


def pulling(git_repo: GitRepo, branch: str, opens: str) -> str:
    """Return a link of mybinder.org's form whose files are those of a branch of the repository."""
    pull = urlencode({"repo": git_repo.url, "branch": branch, "urlpath": opens})
    query = urlencode({"urlpath": f"git-pull?{pull}"})
    return f"v2/git/{quote(git_repo.url, safe='')}/HEAD?{query}"


async def test_a_link_brings_the_files_of_another_repository_and_opens_an_application(
    ada: Api, git_repo: GitRepo
) -> None:
    git_repo.branch("files")
    folder = git_repo.name.rpartition("/")[2]
    link = pulling(git_repo, "files", f"voila/render/{folder}/a.ipynb")
    body = {"url": f"https://mybinder.org/{link}"}
    said = (await ada("POST", "api/v1/resolve", body)).json
    made = (await ada("POST", "api/v1/environments", {**body, "build": False})).json
    for answer in (said, made):
        assert (answer["content_url"], answer["content_ref"]) == (git_repo.url, "files")
        assert answer["path"] == "/voila/render/a.ipynb"
    assert (made["content"], made["ref"]) == ("sync", "HEAD")
    page = f"api/v1/environments/{made['id']}"
    assert (await ada("PATCH", page, {"path": "/rstudio/"})).json["path"] == "/rstudio/"
    for elsewhere in ("//evil.example", "/%2F%2Fevil.example", "/a/%2e%2e/%2e%2e/hub"):
        answer = await ada("PATCH", page, {"path": elsewhere})
        assert (answer.status, answer.code) == (400, "invalid_input")


async def test_what_is_answered_can_be_sent_back(ada: Api, new_environment) -> None:
    made = await new_environment(build=False)
    body = {key: made[key] for key in ("provider", "spec", "ref", "path", "name")}
    answer = await ada("POST", "api/v1/environments", {**body, "build": False})
    assert answer.status == 201, answer.text
    assert answer.json["repo"] == made["repo"]
    assert answer.headers["Location"] == answer.json["links"]["self"]


async def test_a_ref_of_its_own_wins_over_the_link(ada: Api, git_repo: GitRepo) -> None:
    sha = git_repo.branch("topic/slashes")
    answer = await ada("POST", "api/v1/resolve", {"url": git_repo.url, "ref": "topic/slashes"})
    assert answer.status == 200, answer.text
    assert (answer.json["ref"], answer.json["resolved_ref"]) == ("topic/slashes", sha)


async def test_a_ref_that_is_not_there_is_422(ada: Api, git_repo: GitRepo) -> None:
    answer = await ada("POST", "api/v1/resolve", {"url": git_repo.url, "ref": "nowhere"})
    assert (answer.status, answer.code) == (422, "ref_not_found")


async def test_lists_are_paged_searched_and_ordered(person: Person, git_repo: GitRepo) -> None:
    bob = person("bob")
    for name in ("cherry", "apple", "banana"):
        body = {"url": git_repo.url, "name": name, "build": False}
        assert (await bob("POST", "api/v1/environments", body)).status == 201
    listed = (await bob("GET", "api/v1/environments?order=name&limit=2&offset=1")).json
    assert [item["name"] for item in listed["items"]] == ["banana", "cherry"]
    assert (listed["total"], listed["offset"], listed["limit"]) == (3, 1, 2)
    found = (await bob("GET", "api/v1/environments?search=pp")).json
    assert [item["name"] for item in found["items"]] == ["apple"]


async def test_a_deleted_environment_comes_back(ada: Api, new_environment) -> None:
    made = await new_environment(build=False)
    path = f"api/v1/environments/{made['id']}"
    assert (await ada("DELETE", path)).json["deleted"] is not None
    listed = (await ada("GET", "api/v1/environments?deleted=1")).json["items"]
    assert made["id"] in [each["id"] for each in listed]
    assert (await ada("GET", path)).status == 404
    assert (await ada("POST", f"{path}/restore")).json["deleted"] is None
    assert (await ada("GET", path)).status == 200


async def test_a_build_that_fails_says_why_and_where(ada: Api, new_environment) -> None:
    made = await new_environment(options={"fake": {"fail_at": "building", "reason": "No disk."}})
    build = await wait_for_build(ada, made["latest"]["id"])
    assert build["state"] == "failed"
    assert "No disk." in build["reason"]["message"]
    path = f"api/v1/environments/{made['id']}/current"
    assert (await ada("PUT", path, {"number": 1})).code == "not_built"


async def test_a_build_is_cancelled_by_who_wants_it(
    ada: Api, service: JupyterHubBinder, new_environment
) -> None:
    made = await new_environment(options={"fake": {"gate": "cancel"}})
    await service.parts.backend.gate("cancel").reached.wait()
    build = (await ada("POST", f"api/v1/builds/{made['latest']['id']}/cancel")).json
    assert build["state"] == "cancelled"
    assert (await ada("GET", f"api/v1/environments/{made['id']}")).json["state"] == "cancelled"


async def test_the_log_is_text_without_escapes_or_overwritten_lines(
    ada: Api, new_environment
) -> None:
    made = await new_environment(options={"fake": {"progress": True, "lines": 20, "hostile": True}})
    await wait_for_build(ada, made["latest"]["id"])
    answer = await ada("GET", f"api/v1/builds/{made['latest']['id']}/log?download")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert not any(character in answer.text for character in "\x1b\x00\r\x07")
    assert "100 %" in answer.text
    assert " 50 %" not in answer.text


async def test_a_server_is_launched_and_listed(ada: Api, hub, new_environment) -> None:
    made = await new_environment(name="To launch")
    await wait_for_build(ada, made["latest"]["id"])
    path = f"api/v1/environments/{made['id']}/launches"
    launch = (await ada("POST", path, {"server_name": "launched"})).json
    async with ada.events(f"api/v1/launches/{launch['id']}/events") as events:
        seen = [event async for event in events]
    assert seen[-1].event == "end"
    assert seen[-1].json()["state"] == "ready", seen[-1].data
    assert hub.servers["ada"]["launched"]["user_options"] == {"environment": made["id"]}
    servers = (await ada("GET", "api/v1/servers")).json["items"]
    assert {"id": made["id"], "name": "To launch"} in [each["environment"] for each in servers]


async def test_servers_of_an_environment_are_stopped_and_no_others(
    ada: Api, hub, new_environment
) -> None:
    made, other = await new_environment(), await new_environment()
    for environment, name in ((made, "one"), (made, "two"), (other, "three")):
        await wait_for_build(ada, environment["latest"]["id"])
        path = f"api/v1/environments/{environment['id']}/launches"
        launch = (await ada("POST", path, {"server_name": name, "restart": True})).json
        async with ada.events(f"api/v1/launches/{launch['id']}/events") as events:
            assert [event async for event in events][-1].json()["state"] == "ready"
    stopped = (await ada("POST", f"api/v1/environments/{made['id']}/stop")).json["items"]
    assert [(each["name"], each["ready"]) for each in stopped] == [("one", False), ("two", False)]
    assert "three" in hub.servers["ada"]
    assert not {"one", "two"} & hub.servers["ada"].keys()
    again = await ada("POST", f"api/v1/environments/{made['id']}/stop")
    assert (again.status, again.json["items"]) == (200, [])


@pytest.mark.parametrize(
    ("to", "page"),
    [
        ("list", "?said={1}&of={0}"),
        ("deleted", "?said={1}&of={0}&deleted={0}"),
        ("", "environments/{0}?said={1}"),
    ],
)
async def test_form_stops_the_server_and_leads_back_to_where_it_stood(
    ada: Api, hub, new_environment, to: str, page: str
) -> None:
    made = await new_environment()
    url = f"{ada.url}environments/{made['id']}/stop"
    for said in ("stopped", "idle"):
        if said == "stopped":
            options = {"environment": made["id"]}
            hub.servers["ada"]["form"] = {"ready": True, "user_options": options}
        kw: dict[str, Any] = {"data": {"to": to}, "headers": ada.headers}
        async with ada.session.post(url, allow_redirects=False, **kw) as answer:
            where = answer.headers["Location"]
        assert where == f"/services/binder/{page.format(made['id'], said)}"
        assert "form" not in hub.servers["ada"]


async def test_server_of_a_deleted_environment_is_still_known_and_can_be_stopped(
    ada: Api, hub, new_environment
) -> None:
    made = await new_environment(name="Deleted")
    running = {"ready": True, "user_options": {"environment": made["id"]}}
    hub.servers["ada"]["left"] = {**running, "url": "/user/ada/left/"}
    assert (await ada("DELETE", f"api/v1/environments/{made['id']}")).status == 200
    servers = (await ada("GET", "api/v1/servers")).json["items"]
    assert {"id": made["id"], "name": "Deleted"} in [each["environment"] for each in servers]
    async with ada.session.get(f"{ada.url}?deleted={made['id']}", headers=ada.headers) as page:
        assert "Its server is still running." in await page.text()
    stopped = (await ada("POST", f"api/v1/environments/{made['id']}/stop")).json["items"]
    assert [each["name"] for each in stopped] == ["left"]
    assert "left" not in hub.servers["ada"]


async def test_resolve_says_which_environment_of_mine_it_is(
    person: Person, git_repo: GitRepo
) -> None:
    git_repo.branch("kept")
    bob, link = person("bob"), {"url": git_repo.url, "ref": "kept"}
    assert (await bob("POST", "api/v1/resolve", link)).json["kept"] is None
    made = (await bob("POST", "api/v1/environments", {**link, "name": "Kept"})).json
    kept = (await bob("POST", "api/v1/resolve", link)).json["kept"]
    assert kept == {"id": made["id"], "name": "Kept"}
    others = (await person("root")("POST", "api/v1/resolve", link)).json
    assert others["kept"] is None


async def test_stop_gives_up_a_launch_that_waits_for_its_build(ada: Api, new_environment) -> None:
    made = await new_environment(options={"fake": {"gate": "stop"}})
    path = f"api/v1/environments/{made['id']}/launches"
    launch = (await ada("POST", path, {"server_name": "waiting"})).json
    assert (await ada("POST", f"api/v1/environments/{made['id']}/stop")).json["items"] == []
    after = (await ada("GET", f"api/v1/launches/{launch['id']}")).json
    assert after["state"] == "cancelled"


async def test_so_many_launches_of_one_person_are_under_way_and_another_still_can(
    person: Person, service, git_repo: GitRepo, monkeypatch
) -> None:
    monkeypatch.setattr(service.parts.launches, "max_per_user", 3)
    paths = {}
    for name in ("ada", "bob"):
        body = {"url": git_repo.url, "options": {"fake": {"gate": f"launches of {name}"}}}
        made = (await person(name)("POST", "api/v1/environments", body)).json
        paths[name] = f"api/v1/environments/{made['id']}"

    async def launch(name: str, number: int):
        body = {"server_name": f"n{number}"}
        return await person(name)("POST", f"{paths[name]}/launches", body)

    answers = await asyncio.gather(*(launch("ada", number) for number in range(20)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [429] * 17
    assert {answer.code for answer in answers if answer.status == 429} == {"limit_reached"}
    assert (await launch("bob", 1)).status == 201
    taken = next(number for number, answer in enumerate(answers) if answer.status == 201)
    assert (await launch("ada", taken)).status == 201  # is the one that is under way
    for name, path in paths.items():
        await person(name)("POST", f"{path}/stop")
    assert (await launch("ada", 99)).status == 201
    await person("ada")("POST", f"{paths['ada']}/stop")


@pytest.mark.parametrize("missing", ["23456789ab", "zzzz", "0"])
async def test_things_that_are_not_there_are_404(ada: Api, missing: str) -> None:
    for path in ("environments/{}", "builds/{}", "builds/{}/events", "launches/{}"):
        assert (await ada("GET", f"api/v1/{path.format(missing)}")).status == 404
