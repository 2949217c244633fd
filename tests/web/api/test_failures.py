"""What people, programs and admins are told of a failed build."""

from __future__ import annotations

import json

from click.testing import CliRunner

from jupyterhub_binder.cli import main
from tests.kit.api_client import Api
from tests.kit.service import Person, wait_for_build

MISSING = {"fail_at": "building", "reason": "No matching distribution found for numpi==1.0"}
ODD = {"fail_at": "building", "reason": "the planet 17 is <b>gone</b>"}


async def page_of(api: Api, path: str) -> str:
    async with api.session.get(f"{api.url}{path}", headers=api.headers) as response:
        assert response.status == 200
        return await response.text()


async def test_reason_has_the_rule_whose_business_it_is_the_line_and_the_ways_out(
    ada: Api, new_environment
) -> None:
    made = await new_environment(options={"fake": MISSING})
    build = await wait_for_build(ada, made["latest"]["id"])
    reason = build["reason"]
    assert (reason["rule"], reason["owner"]) == ("package-version-not-found", "repository")
    assert reason["line"] == "ERROR: No matching distribution found for numpi==1.0"
    assert "numpi==1.0" in reason["message"]
    assert [action["kind"] for action in reason["actions"]] == ["newest"]
    assert reason["fingerprint"] is None
    log = (await ada("GET", f"api/v1/builds/{build['id']}/log")).text.splitlines()
    assert log[reason["seq"] - 1] == reason["line"]
    read = (await ada("GET", f"api/v1/environments/{made['id']}")).json
    assert read["latest"]["reason"] == reason


async def test_launch_that_waits_for_a_failed_build_is_explained_alike(
    ada: Api, new_environment
) -> None:
    made = await new_environment(options={"fake": MISSING}, build=False)
    launch = (await ada("POST", f"api/v1/environments/{made['id']}/launches", {})).json
    async with ada.events(f"api/v1/launches/{launch['id']}/events") as events:
        last = [event async for event in events][-1].json()
    assert last["reason"]["code"] == "build_failed"
    assert last["reason"]["rule"] == "package-version-not-found"
    assert last["reason"]["seq"]
    page = await page_of(ada, f"launch/{launch['id']}")
    assert "The cause is in the repository." in page
    assert f"builds/{launch['build_id']}#L{last['reason']['seq']}" in page


async def test_pages_quote_the_line_as_text_and_offer_the_ways_out(
    ada: Api, new_environment
) -> None:
    made = await new_environment(options={"fake": ODD})
    build = await wait_for_build(ada, made["latest"]["id"])
    for path in (f"builds/{build['id']}", f"environments/{made['id']}"):
        page = await page_of(ada, path)
        assert "the planet 17 is &lt;b&gt;gone&lt;/b&gt;" in page
        assert "<b>gone" not in page
        assert "Details for your administrator" in page
        assert f"Fingerprint: {build['reason']['fingerprint']}" in page
    assert f"#L{build['reason']['seq']}" in await page_of(ada, f"builds/{build['id']}")


async def test_admins_see_kinds_of_failures_by_how_often(
    ada: Api, person: Person, new_environment
) -> None:
    root, odd = person("root"), []
    for number in (3, 44):
        script = {**ODD, "reason": f"moon {number} fell on /srv/{number}"}
        made = await new_environment(options={"fake": script})
        odd.append(await wait_for_build(ada, made["latest"]["id"]))
    (kind,) = {build["reason"]["fingerprint"] for build in odd}
    listed = (await root("GET", "api/v1/admin/failures?limit=200")).json["items"]
    (found,) = [item for item in listed if item["kind"] == kind]
    assert (found["times"], found["known"]) == (2, False)
    assert found["build_id"] == odd[-1]["id"]
    assert [item["times"] for item in listed] == sorted((i["times"] for i in listed), reverse=True)
    assert kind in await page_of(root, "admin/failures")
    known = (await root("GET", "api/v1/admin/failures?known=1")).json["items"]
    assert all(item["known"] and item["reason"]["rule"] == item["kind"] for item in known)


def test_a_log_is_explained_without_a_hub(tmp_path) -> None:
    rules, log = tmp_path / "rules.toml", tmp_path / "build.log"
    log.write_text("Step 1\nmirror: no such package numpi\n")
    run = CliRunner().invoke
    unknown = run(main, ["explain", str(log)])
    assert unknown.exit_code == 1
    assert "fingerprint: " in unknown.stdout
    rules.write_text(
        '[[rule]]\nid = "ours"\nowner = "hub"\nsays = "No %(p)s."\n'
        'match = ["mirror: no such package {p}"]\nways = ["admin"]\n'
    )
    done = run(main, ["explain", str(log), "--rules", str(rules), "--json"])
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["message"], said["seq"]) == ("No numpi.", 2)
    rules.write_text("[[rule]]\nid = 'ours'\n")
    wrong = run(main, ["explain", str(log), "--rules", str(rules)])
    assert wrong.exit_code == 1
    assert "rule 1 (ours): owner must be one of" in wrong.output
