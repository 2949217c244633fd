"""Every route, asked by everybody: who gets what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from jupyterhub_binder.app import JupyterHubBinder
from tests.kit.api_client import DESCRIPTION
from tests.kit.git_server import GitRepo
from tests.kit.service import Person, wait_for_build

NOBODY, BAD_TOKEN, STRANGER = None, "mallory", "stranger"
OTHER, OWNER, ADMIN, NO_BUILD = "bob", "ada", "root", "eve"


@dataclass(frozen=True)
class Row:
    """One operation, its body, and the status for the owner, another person and an admin."""

    method: str
    path: str
    owner: int
    other: int
    admin: int
    no_build: int
    body: Any = None


ENVIRONMENT = "/api/v1/environments/{environment_id}"
BUILD = "/api/v1/builds/{build_id}"
LAUNCH = "/api/v1/launches/{launch_id}"
HOOK = f"{ENVIRONMENT}/hooks/{{hook_id}}"
ADMINS = "/api/v1/admin"

TABLE = [
    Row("GET", "/api/v1/", 200, 200, 200, 200),
    Row("POST", "/api/v1/resolve", 200, 200, 200, 200, {"url": "URL"}),
    Row("GET", "/api/v1/environments", 200, 200, 200, 200),
    Row("POST", "/api/v1/environments", 201, 201, 201, 403, {"url": "URL", "build": False}),
    Row("GET", ENVIRONMENT, 200, 404, 200, 404),
    Row("PATCH", ENVIRONMENT, 200, 404, 200, 404, {"name": "Another name"}),
    Row("GET", f"{ENVIRONMENT}/builds", 200, 404, 200, 404),
    Row("POST", f"{ENVIRONMENT}/builds", 201, 404, 201, 403, {}),
    Row("PUT", f"{ENVIRONMENT}/current", 200, 404, 200, 404, {"number": 1}),
    Row("GET", f"{ENVIRONMENT}/preferences", 200, 404, 200, 404),
    Row("PUT", f"{ENVIRONMENT}/preferences", 200, 404, 200, 404, body={"pinned": True}),
    Row("GET", f"{ENVIRONMENT}/files", 200, 404, 200, 404),
    Row("GET", f"{ENVIRONMENT}/changes", 200, 404, 200, 404),
    Row("GET", f"{ENVIRONMENT}/upstream", 200, 404, 200, 404),
    Row("GET", f"{ENVIRONMENT}/launch-spec", 200, 404, 200, 404),
    Row("POST", f"{ENVIRONMENT}/launch-spec", 200, 404, 200, 404, {}),
    Row(
        "POST",
        f"{ENVIRONMENT}/launches",
        201,
        404,
        201,
        404,
        {"server_name": "one", "restart": True},
    ),
    Row("POST", f"{ENVIRONMENT}/stop", 200, 404, 200, 404),
    Row("GET", f"{ENVIRONMENT}/shares", 200, 404, 200, 404),
    Row("PUT", f"{ENVIRONMENT}/shares", 200, 404, 200, 404, {"shares": []}),
    Row("POST", f"{ENVIRONMENT}/copy", 201, 404, 201, 403, {}),
    Row("POST", f"{ENVIRONMENT}/transfer", 200, 404, 200, 404, {"to": "grace"}),
    Row("GET", f"{ENVIRONMENT}/transfer", 200, 404, 200, 404),
    Row("POST", f"{ENVIRONMENT}/transfer/accept", 404, 404, 404, 404),
    Row("DELETE", f"{ENVIRONMENT}/transfer", 200, 404, 200, 404),
    Row("GET", f"{ENVIRONMENT}/prebuild", 200, 404, 200, 404),
    Row("PUT", f"{ENVIRONMENT}/schedule", 200, 404, 200, 404, {"cron": "0 6 * * 1"}),
    Row("POST", f"{ENVIRONMENT}/hooks", 200, 404, 200, 403, {"host": "gitea"}),
    Row("POST", f"{HOOK}/secret", 200, 404, 200, 403, {}),
    Row("PUT", f"{HOOK}/token", 409, 404, 409, 403, {"token": "a-token-of-a-host"}),
    Row("DELETE", f"{HOOK}/token", 200, 404, 200, 404),
    Row("DELETE", HOOK, 200, 404, 200, 404),
    Row("GET", "/api/v1/transfers", 200, 200, 200, 200),
    Row("GET", "/api/v1/featured", 200, 200, 200, 200),
    Row("PUT", f"{ADMINS}/featured/{{environment_id}}", 403, 403, 200, 403, {}),
    Row("GET", f"{ENVIRONMENT}/picture", 404, 404, 404, 404),
    Row("GET", f"{ADMINS}/featured", 403, 403, 200, 403),
    Row("DELETE", f"{ADMINS}/featured/{{environment_id}}", 403, 403, 200, 403),
    Row("GET", BUILD, 200, 404, 200, 404),
    Row("GET", f"{BUILD}/events", 200, 404, 200, 404),
    Row("GET", f"{BUILD}/log", 200, 404, 200, 404),
    Row("GET", f"{BUILD}/packages", 200, 404, 200, 404),
    Row("GET", f"{BUILD}/packages.csv", 200, 404, 200, 404),
    Row("GET", f"{BUILD}/difference", 200, 404, 200, 404),
    Row("GET", f"{BUILD}/receipt", 200, 404, 200, 404),
    Row("POST", "/api/v1/receipts/check", 200, 200, 200, 200, {"receipt": "RECEIPT"}),
    Row("POST", f"{BUILD}/cancel", 200, 404, 200, 404),
    Row("GET", LAUNCH, 200, 404, 200, 404),
    Row("GET", f"{LAUNCH}/events", 200, 404, 200, 404),
    Row("POST", f"{LAUNCH}/cancel", 200, 404, 200, 404),
    Row("GET", "/api/v1/servers", 200, 200, 200, 200),
    Row("GET", f"{ADMINS}/overview", 403, 403, 200, 403),
    Row("GET", "/api/v1/admin/queue", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/builds", 403, 403, 200, 403),
    Row("GET", "/api/v1/admin/backends", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/environments", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/use", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/use.csv", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/failures", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/rules", 403, 403, 200, 403),
    Row("POST", f"{ADMINS}/rules", 403, 403, 200, 403, {"pattern": "git.example.org/x"}),
    Row("POST", f"{ADMINS}/rules/{{rule_id}}/cancel", 403, 403, 200, 403),
    Row("DELETE", f"{ADMINS}/rules/{{rule_id}}", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/detections", 403, 403, 200, 403),
    Row("DELETE", f"{ADMINS}/detections/{{detection_id}}", 403, 403, 404, 403),
    Row("GET", f"{ADMINS}/limits", 403, 403, 200, 403),
    Row("PUT", f"{ADMINS}/limits", 403, 403, 200, 403, {"group": "astronomy", "builds": 20}),
    Row("GET", f"{ADMINS}/drain", 403, 403, 200, 403),
    Row("PUT", f"{ADMINS}/drain", 403, 403, 200, 403, {"message": "Upgrade at noon."}),
    Row("DELETE", f"{ADMINS}/drain", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/alerts", 403, 403, 200, 403),
    Row("POST", f"{ADMINS}/alerts/test", 403, 403, 404, 403, {}),
    Row("GET", "/api/v1/usage", 403, 403, 200, 403),
    Row("GET", "/api/v1/usage/report", 403, 403, 200, 403),
    Row("GET", "/api/v1/usage/{table}.csv", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/audit", 403, 403, 200, 403),
    Row("GET", f"{ADMINS}/audit.jsonl", 403, 403, 200, 403),
    Row("GET", "/metrics", 403, 403, 200, 403),
    Row("DELETE", ENVIRONMENT, 200, 404, 200, 404),
    Row("POST", f"{ENVIRONMENT}/restore", 200, 404, 200, 404),
    # Last: who makes an environment from a receipt may see its build from then on.
    Row("POST", "/api/v1/receipts", 201, 201, 201, 403, {"receipt": "RECEIPT"}),
]
OPEN = [
    ("get", "/api/v1/openapi.json"),
    ("get", "/api/v1/receipt-key"),
    ("get", "/health"),
    ("get", "/versions"),
]
IDS = [f"{row.method} {row.path}" for row in TABLE]


@pytest.fixture(scope="module")
def urls() -> dict[str, str]:
    """The ids of ada's things, made by the first test that needs them."""
    return {}


async def fill(
    row: Row, urls: dict[str, str], person: Person, git_repo: GitRepo
) -> tuple[str, Any]:
    """Return a row's real path and body."""
    if not urls:
        api = person("ada")
        made = (await api("POST", "api/v1/environments", {"url": git_repo.url})).json
        urls["environment_id"], urls["build_id"] = made["id"], made["latest"]["id"]
        await wait_for_build(api, urls["build_id"])
        path = f"api/v1/environments/{made['id']}/launches"
        urls["launch_id"] = (await api("POST", path, {"server_name": "made"})).json["id"]
        rule = {"pattern": "git.example.org/banned"}
        made = await person("root")("POST", f"{ADMINS[1:]}/rules", rule)
        urls["rule_id"] = made.json["rule"]["id"]
        urls["hook_id"] = await make_hook(urls, person)
        urls["table"] = "launches"
        urls["detection_id"] = "unknown000"
    body = row.body
    if isinstance(body, dict) and "url" in body:
        body = {**body, "url": git_repo.url}
    if isinstance(body, dict) and "receipt" in body:
        answer = await person("ada")("GET", f"api/v1/builds/{urls['build_id']}/receipt")
        body = {"receipt": answer.json}
    return row.path.format(**urls).removeprefix("/"), body


async def make_hook(urls: dict[str, str], person: Person) -> str:
    path = f"api/v1/environments/{urls['environment_id']}/hooks"
    return (await person("ada")("POST", path, {"host": "gitea"})).json["id"]


def test_every_described_operation_has_a_row() -> None:
    described = {(method, path) for path, item in DESCRIPTION["paths"].items() for method in item}
    assert described == {(row.method.lower(), row.path) for row in TABLE} | set(OPEN)


@pytest.mark.parametrize("row", TABLE, ids=IDS)
@pytest.mark.parametrize(("name", "status"), [(NOBODY, 401), (BAD_TOKEN, 401), (STRANGER, 403)])
async def test_outsiders_are_refused(
    row: Row, name: str | None, status: int, urls, person: Person, git_repo: GitRepo
) -> None:
    path, body = await fill(row, urls, person, git_repo)
    answer = await person(name)(row.method, path, body)
    assert answer.status == status
    assert answer.code == ("not_signed_in" if status == 401 else "not_allowed")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("row", TABLE, ids=IDS)
@pytest.mark.parametrize("name", [NO_BUILD, OTHER, ADMIN, OWNER])
async def test_people_get_what_is_theirs(
    row: Row, name: str, urls, person: Person, git_repo: GitRepo
) -> None:
    path, body = await fill(row, urls, person, git_repo)
    expected = {NO_BUILD: row.no_build, OTHER: row.other, ADMIN: row.admin, OWNER: row.owner}[name]
    if row.path.endswith(("/restore", "/launch-spec")) or row.path == ENVIRONMENT:
        await person("ada")("POST", f"api/v1/environments/{urls['environment_id']}/restore")
    answer = await person(name)(row.method, path, body)
    assert answer.status == expected, answer.text
    if (row.method, row.path, answer.status) == ("DELETE", HOOK, 200):
        urls["hook_id"] = await make_hook(urls, person)


@pytest.mark.parametrize(("method", "path"), OPEN)
async def test_open_routes_answer_nobody(method: str, path: str, person: Person) -> None:
    answer = await person(NOBODY)(method.upper(), path.removeprefix("/"))
    assert answer.status == 200


@pytest.mark.parametrize("path", ["api/v1/nope", "api", "api/v2/", "api/v1/environments/a/b/c"])
async def test_unknown_routes_answer_in_the_same_shape(
    path: str, session, service_url: str
) -> None:
    async with session.get(f"{service_url}{path}") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"


async def test_a_method_that_a_route_does_not_take_is_405(session, service_url: str) -> None:
    headers = {"Authorization": "token ada-token"}
    async with session.delete(f"{service_url}api/v1/servers", headers=headers) as response:
        assert response.status == 405
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_a_service_of_the_hub_is_nobodys_namesake(person: Person) -> None:
    answer = await person("cron")("GET", "api/v1/")
    assert answer.json["user"]["name"] == "service:cron"


async def test_bearer_and_token_are_the_same(person: Person) -> None:
    headers = {"Authorization": "Bearer ada-token"}
    answer = await person(NOBODY)("GET", "api/v1/", headers=headers)
    assert answer.json["user"] == {"name": "ada", "admin": False, "groups": []}
    assert answer.json["permissions"] == {"build": True, "admin": False}


async def test_only_an_admin_lists_what_is_not_theirs(person: Person) -> None:
    assert (await person(OTHER)("GET", "api/v1/environments?owner=ada")).status == 403
    everybody = (await person(ADMIN)("GET", "api/v1/environments?owner=*")).json["items"]
    assert {"ada", "bob"} <= {item["owner"] for item in everybody}


async def test_a_hub_that_does_not_answer_is_503(
    service: JupyterHubBinder, hub, person: Person
) -> None:
    service.parts.hub_auth.cache.clear()
    service.parts.hub_auth.cache.values.clear()
    hub.down = True
    try:
        answer = await person("ada")("GET", "api/v1/")
    finally:
        hub.down = False
    assert (answer.status, answer.code) == (503, "hub_error")
