"""What admins see of everybody's builds, of what makes them, and in numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.base import HostState, HostStatus
from tests.kit.api_client import Api
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, service_config, wait_for_build

HOST = HostStatus(
    name="binder-a",
    url="http://binder-a/",
    weight=1.0,
    state=HostState.FAILED,
    reason="it does not answer",
    checked=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
    version="1.0",
    prefixes=frozenset({"gh", "gl"}),
    running=2,
    built=41,
    build_failures=3,
    host_failures=1,
)
_SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) ([0-9.e+-]+)$", re.MULTILINE)


async def numbers(api: Api) -> dict[str, float]:
    """Return every sample by its name and labels, without the service's own prefix."""
    answer = await api("GET", "metrics")
    assert answer.status == 200, answer.text
    return {
        name.removeprefix("jupyterhub_binder_"): float(value)
        for name, value in _SAMPLE.findall(answer.text)
    }


async def open_page(api: Api, path: str, method: str = "GET", **kwargs) -> tuple[int, str]:
    async with api.session.request(
        method, f"{api.url}{path}", headers=api.headers, allow_redirects=False, **kwargs
    ) as response:
        return response.status, await response.text()


@pytest.fixture
def one_host(service: JupyterHubBinder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backend have one BinderHub."""
    monkeypatch.setattr(service.parts.backend, "statuses", lambda: (HOST,))


async def test_queue_says_whose_builds_run(person: Person, new_environment) -> None:
    build = (await new_environment(options={"fake": {"gate": "never"}}))["latest"]
    root = person("root")
    queue = (await root("GET", "api/v1/admin/queue")).json
    assert queue["max_running"] == 50
    (mine,) = [each for each in queue["running"] if each["id"] == build["id"]]
    assert (mine["requested_by"], mine["people"]) == ("ada", 1)
    assert (await open_page(root, "admin/queue"))[1].count(
        f"admin/builds/{build['id']}/cancel"
    ) == 1
    before = await numbers(root)
    assert before["builds_running"] >= 1
    assert (await open_page(root, f"admin/builds/{build['id']}/cancel", "POST"))[0] == 303
    assert (await wait_for_build(root, build["id"]))["state"] == "cancelled"
    assert build["id"] not in (await open_page(root, "admin/queue"))[1]
    series = 'build_seconds_count{backend="fake",state="cancelled"}'
    assert (await numbers(root))[series] == before[series] + 1


async def test_waiting_builds_come_in_the_order_of_the_queue(
    service: JupyterHubBinder, person: Person, new_environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.parts.builds, "max_running", 1)
    made = [
        (await new_environment(options={"fake": {"gate": f"order-{n}"}}))["latest"]["id"]
        for n in range(3)
    ]
    root = person("root")
    queue = (await root("GET", "api/v1/admin/queue")).json
    assert [each["id"] for each in queue["running"]] == made[:1]
    assert [each["id"] for each in queue["waiting"]] == made[1:]
    assert [each["queue_position"] for each in queue["waiting"]] == [1, 2]
    found = await numbers(root)
    assert (found["builds_running"], found["builds_waiting"]) == (1, 2)
    for build_id in reversed(made):
        await root("POST", f"api/v1/builds/{build_id}/cancel")


async def test_requests_are_counted_by_how_they_were_answered(
    person: Person, git_repo: GitRepo, new_environment
) -> None:
    before = await numbers(person("root"))
    options = {"fake": {"gate": "met"}}
    build_id = (await new_environment(options=options))["latest"]["id"]
    await person("bob")("POST", "api/v1/environments", {"url": git_repo.url, "options": options})
    await person("root")("POST", f"api/v1/builds/{build_id}/cancel")
    options = {"fake": {"lines": 3, "size_bytes": 7}}
    await wait_for_build(person("ada"), (await new_environment(options=options))["latest"]["id"])
    await new_environment(options=options)
    after = await numbers(person("root"))
    risen = {
        outcome: after[name] - before[name]
        for outcome in ("begun", "joined", "reused")
        for name in [f'build_requests_total{{outcome="{outcome}"}}']
    }
    assert risen == {"begun": 2, "joined": 1, "reused": 1}


async def test_launches_and_answers_are_counted(person: Person, new_environment) -> None:
    ada = person("ada")
    made = await new_environment()
    await wait_for_build(ada, made["latest"]["id"])
    before = await numbers(person("root"))
    path = f"api/v1/environments/{made['id']}/launches"
    launch = (await ada("POST", path, {"server_name": "counted"})).json
    async with ada.events(f"api/v1/launches/{launch['id']}/events") as events:
        async for event in events:
            if event.event == "end":
                assert event.json()["state"] == "ready"
    after = await numbers(person("root"))
    ready = 'launch_seconds_count{state="ready"}'
    assert after[ready] == before[ready] + 1
    assert after["launches_running"] == 0
    assert after['http_responses_total{status="201"}'] >= 1


async def test_each_binderhub_is_seen(person: Person, one_host: None) -> None:
    root = person("root")
    (backend,) = (await root("GET", "api/v1/admin/backends")).json["items"]
    assert (backend["name"], backend["health"]) == ("fake", None)
    (host,) = backend["hosts"]
    assert (host["state"], host["providers"]) == ("failed", ["gh", "gl"])
    _, page = await open_page(root, "admin/backends")
    assert "2 running, 41 built, 3 failed, 1 lost" in page
    assert "it does not answer" in page
    found = await numbers(root)
    assert found['host_up{host="binder-a"}'] == 0
    assert found['host_builds_total{host="binder-a",outcome="lost"}'] == 1
    assert found['part_up{part="database"}'] == 1


async def test_metrics_never_name_repositories_or_people(
    person: Person, git_repo: GitRepo, new_environment
) -> None:
    await wait_for_build(person("ada"), (await new_environment())["latest"]["id"])
    text = (await person("root")("GET", "metrics")).text
    assert "ada" not in re.findall(r'"(.*?)"', text)
    assert "127.0.0.1" not in text
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert labels <= {
        *("backend", "host", "implementation", "le", "outcome", "part", "state", "status"),
        *("code", "kind", "reason", "version"),
    }


async def test_the_docs_name_every_metric_and_no_other(person: Person, one_host: None) -> None:
    text = (await person("root")("GET", "metrics")).text
    there = set(re.findall(r"^# TYPE (jupyterhub_binder_\w+)", text, re.MULTILINE))
    there = {name for name in there if not name.endswith("_created")}
    page = Path(__file__).parents[3] / "docs" / "how-to" / "watch.md"
    assert there == set(re.findall(r"^\| `(\w+)`", page.read_text(), re.MULTILINE))


async def test_the_hubs_own_scope_for_metrics_reads_them(person: Person) -> None:
    assert (await person("prometheus")("GET", "metrics")).status == 200
    assert (await person("cron")("GET", "metrics")).status == 403


async def test_metrics_may_be_opened(hub: FakeHub, session, tmp_path: Path) -> None:
    config = service_config(hub, tmp_path)
    config.JupyterHubBinder.authenticate_metrics = False
    app = JupyterHubBinder(config=config)
    await app.start_service()
    try:
        async with session.get(f"http://127.0.0.1:{app.port}{app.base_url}metrics") as response:
            assert response.status == 200
            assert "jupyterhub_binder_builds_waiting 0.0" in await response.text()
    finally:
        await app.stop_service()


@pytest.mark.parametrize(("name", "status"), [("ada", 403), ("stranger", 403), ("root", 200)])
async def test_the_page_is_for_admins(person: Person, name: str, status: int) -> None:
    assert (await open_page(person(name), "admin"))[0] == status
    links = (await open_page(person("ada"), ""))[1]
    assert "/services/binder/admin" not in links
