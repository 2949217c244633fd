"""Every route of an environment, a build or a launch, asked with each right.

A new route fails here until the table says which right it needs.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.api_client import DESCRIPTION, Api
from tests.kit.git_server import GitRepo
from tests.kit.pictures import png
from tests.kit.service import Person, wait_for_build
from tests.kit.waiting import until_it_comes

LAUNCH, MANAGE, OWN = "launch", "manage", "own"
THEIRS = "theirs"
"""Only of the person who launched, and of admins."""
RECEIVER = "receiver"
"""Only of the person to whom the environment is offered."""

ADMIN = "admin"
SHOWN = "shown"
"""What only a featured environment has, and this one is none."""

ENVIRONMENT = "/api/v1/environments/{environment_id}"
HOOK = f"{ENVIRONMENT}/hooks/{{hook_id}}"
BUILD = "/api/v1/builds/{build_id}"
LAUNCHES = "/api/v1/launches/{launch_id}"
FEATURED = "/api/v1/admin/featured/{environment_id}"

TABLE: dict[tuple[str, str], tuple[str, Any]] = {
    ("get", ENVIRONMENT): (LAUNCH, None),
    ("patch", ENVIRONMENT): (MANAGE, {"name": "Another"}),
    ("delete", ENVIRONMENT): (OWN, None),
    ("post", f"{ENVIRONMENT}/restore"): (OWN, None),
    ("get", f"{ENVIRONMENT}/builds"): (LAUNCH, None),
    ("post", f"{ENVIRONMENT}/builds"): (MANAGE, {}),
    ("get", f"{ENVIRONMENT}/preferences"): (LAUNCH, None),
    ("put", f"{ENVIRONMENT}/preferences"): (LAUNCH, {"pinned": True}),
    ("get", f"{ENVIRONMENT}/files"): (LAUNCH, None),
    ("get", f"{ENVIRONMENT}/changes"): (LAUNCH, None),
    ("put", f"{ENVIRONMENT}/current"): (MANAGE, {"number": 1}),
    ("get", f"{ENVIRONMENT}/upstream"): (LAUNCH, None),
    ("get", f"{ENVIRONMENT}/prebuild"): (OWN, None),
    ("put", f"{ENVIRONMENT}/schedule"): (OWN, {"cron": ""}),
    ("post", f"{ENVIRONMENT}/hooks"): (OWN, {"host": "gitea"}),
    ("post", f"{HOOK}/secret"): (OWN, {}),
    ("put", f"{HOOK}/token"): (OWN, {"token": "a-token-of-a-host"}),
    ("delete", f"{HOOK}/token"): (OWN, None),
    ("delete", HOOK): (OWN, None),
    ("get", f"{ENVIRONMENT}/launch-spec"): (LAUNCH, None),
    ("post", f"{ENVIRONMENT}/launch-spec"): (LAUNCH, None),
    ("post", f"{ENVIRONMENT}/launches"): (LAUNCH, {"server_name": "one", "restart": True}),
    ("post", f"{ENVIRONMENT}/stop"): (LAUNCH, None),
    ("get", f"{ENVIRONMENT}/shares"): (MANAGE, None),
    ("put", f"{ENVIRONMENT}/shares"): (MANAGE, {"shares": []}),
    ("post", f"{ENVIRONMENT}/copy"): (LAUNCH, {}),
    ("get", f"{ENVIRONMENT}/transfer"): (OWN, None),
    ("post", f"{ENVIRONMENT}/transfer"): (OWN, {"to": "*"}),
    ("delete", f"{ENVIRONMENT}/transfer"): (OWN, None),
    ("post", f"{ENVIRONMENT}/transfer/accept"): (RECEIVER, None),
    ("get", f"{ENVIRONMENT}/picture"): (SHOWN, None),
    ("put", FEATURED): (ADMIN, {"subject": "group:nobody"}),
    ("delete", FEATURED): (ADMIN, None),
    ("get", BUILD): (LAUNCH, None),
    ("get", f"{BUILD}/events"): (LAUNCH, None),
    ("get", f"{BUILD}/log"): (LAUNCH, None),
    ("get", f"{BUILD}/packages"): (LAUNCH, None),
    ("get", f"{BUILD}/packages.csv"): (LAUNCH, None),
    ("get", f"{BUILD}/difference"): (LAUNCH, None),
    ("get", f"{BUILD}/receipt"): (LAUNCH, None),
    ("post", f"{BUILD}/cancel"): (MANAGE, None),
    ("get", LAUNCHES): (THEIRS, None),
    ("get", f"{LAUNCHES}/events"): (THEIRS, None),
    ("post", f"{LAUNCHES}/cancel"): (THEIRS, None),
}

SHARES = [
    {"subject": "user:bob", "right": MANAGE},
    {"subject": "group:astronomy", "right": LAUNCH},
    {"subject": "user:grace", "right": LAUNCH},
]
SUBJECTS = {
    "the owner": ("ada", OWN, []),
    "an admin": ("root", OWN, []),
    "a person who may manage": ("bob", MANAGE, SHARES[:1]),
    "a person who may launch": ("grace", LAUNCH, SHARES[2:]),
    "a member of a group": ("grace", LAUNCH, SHARES[1:2]),
    "everyone": ("*", LAUNCH, [{"subject": "everyone", "right": LAUNCH}]),
    "somebody else": ("bob", None, SHARES[1:]),
}


def test_every_route_of_an_environment_a_build_or_a_launch_is_classified() -> None:
    described = {
        (method, path)
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
        if any(name in path for name in ("{environment_id}", "{build_id}", "{launch_id}"))
    }
    assert described == set(TABLE)


CHANGES_MUCH = {
    ("delete", ENVIRONMENT),
    ("post", f"{ENVIRONMENT}/restore"),
    ("put", f"{ENVIRONMENT}/shares"),
    ("post", f"{ENVIRONMENT}/transfer"),
    ("delete", f"{ENVIRONMENT}/transfer"),
    ("delete", HOOK),
}


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    """The ids that the rows of a subject share, until one changes too much."""
    return {}


async def prepare(ada: Api, git_repo: GitRepo, shares: list[Any]) -> dict[str, str]:
    """Make an environment of ada's with shares, a launch, an offer, and a build of its own."""
    made = (await ada("POST", "api/v1/environments", {"url": git_repo.url, "build": False})).json
    path = f"api/v1/environments/{made['id']}"
    built = (await ada("POST", f"{path}/builds", {"force": True})).json["latest"]["id"]
    await wait_for_build(ada, built)
    launch = await ada("POST", f"{path}/launches", {"server_name": "of-ada", "restart": True})
    assert (await ada("PUT", f"{path}/shares", {"shares": shares})).status == 200
    hook = (await ada("POST", f"{path}/hooks", {"host": "github"})).json["id"]
    assert (await ada("POST", f"{path}/transfer", {"to": "eve"})).status == 200
    return {
        "environment_id": made["id"],
        "build_id": built,
        "launch_id": launch.json["id"],
        "hook_id": hook,
    }


def expected(need: str, right: str | None, name: str) -> tuple[int, ...]:
    """Return the statuses that a route may answer with."""
    order = (LAUNCH, MANAGE, OWN)
    if need == ADMIN:
        return (200, 404) if name == "root" else (403,)
    if need == SHOWN:
        return (404,)
    if need == RECEIVER:
        return (403, 404)
    if need == THEIRS:
        return (200,) if right == OWN else (404,)
    if right is None:
        return (404,)
    # 409: the tests' repositories are not fetched over https, so they have no commit statuses.
    return (200, 201, 409) if order.index(right) >= order.index(need) else (403,)


# A copy is last: one's own environment shows its build too.
ROWS = sorted(TABLE, key=lambda row: row[1].endswith("/copy"))


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(
    ("method", "path"), ROWS, ids=[f"{method.upper()} {path}" for method, path in ROWS]
)
async def test_a_route_needs_its_right(
    subject: str, method: str, path: str, ada: Api, person: Person, git_repo: GitRepo, known
) -> None:
    need, body = TABLE[method, path]
    name, right, shares = SUBJECTS[subject]
    ids = known.get(subject) or await prepare(ada, git_repo, shares)
    known[subject] = ids
    if (method, path) in CHANGES_MUCH:
        del known[subject]
    answer = await person(name)(method.upper(), path.format(**ids).removeprefix("/"), body)
    assert answer.status in expected(need, right, name), answer.text


async def test_what_is_featured_shows_its_picture_to_its_people_alone(
    ada: Api, person: Person, git_repo: GitRepo
) -> None:
    files = {
        "README.md": "![](a.png)\n\nLearn about days and <b>nights</b>.\n",
        "a.png": png(32, 16),
    }
    git_repo.commit(files, "Add a README")
    ids = await prepare(ada, git_repo, [])
    path = f"api/v1/admin/featured/{ids['environment_id']}"
    root = person("root")
    grace = person("grace")
    assert (await root("PUT", path, {"subject": "group:astronomy"})).json["by"] == "root"

    async def shown() -> Any:
        return [
            each
            for each in (await grace("GET", "api/v1/featured")).json["items"]
            if each["picture"]
        ]

    (item,) = await until_it_comes(shown)
    assert item["text"] == "Learn about days and nights."
    assert item["environment"]["right"] == "launch"
    address = item["picture"].partition("/services/binder/")[2]
    picture = await grace("GET", address)
    assert picture.status == 200
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert picture.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert picture.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "immutable" in picture.headers["Cache-Control"]
    assert (await person("bob")("GET", address)).status == 404
    assert (await person("bob")("GET", "api/v1/featured")).json == {"items": []}
    written = await root("PUT", path, {"subject": "group:astronomy", "text": "<b>Hello</b>"})
    assert (written.json["text"], written.json["written"]) == ("<b>Hello</b>", True)
    assert (await root("DELETE", path)).status == 200
    assert (await root("DELETE", path)).status == 404
    assert (await grace("GET", address)).status == 404
    await ada("DELETE", f"api/v1/environments/{ids['environment_id']}")


async def test_who_receives_it_may_accept_and_nobody_before(
    ada: Api, person: Person, git_repo: GitRepo
) -> None:
    ids = await prepare(ada, git_repo, [])
    path = f"api/v1/environments/{ids['environment_id']}"
    offers = (await person("eve")("GET", "api/v1/transfers")).json["items"]
    (offer,) = (each for each in offers if each["environment"]["id"] == ids["environment_id"])
    assert (offer["owner"], offer["to"]) == ("ada", "eve")
    assert (await person("eve")("GET", path)).status == 404
    assert (await person("eve")("GET", f"{path}/transfer")).status == 200
    accepted = await person("eve")("POST", f"{path}/transfer/accept")
    assert (accepted.json["owner"], accepted.json["right"]) == ("eve", "own")
    assert (await ada("GET", path)).json["right"] == "manage"
    assert (await ada("DELETE", path)).status == 403
    await person("eve")("DELETE", path)


async def test_a_link_says_whom_to_ask_and_not_what_it_is(
    ada: Api, person: Person, git_repo: GitRepo
) -> None:
    ids = await prepare(ada, git_repo, [])
    there = await person("bob")("GET", f"api/v1/environments/{ids['environment_id']}")
    nowhere = await person("bob")("GET", "api/v1/environments/zzzzzzzzzz")
    assert there.status == nowhere.status == 404
    assert there.text == nowhere.text
    assert "ask the owner for access" in there.text
    await ada("DELETE", f"api/v1/environments/{ids['environment_id']}")


@pytest.mark.parametrize(
    "shares",
    [
        "everyone",
        ["everyone"],
        [{"subject": "everyone"}],
        [{"subject": "everyone", "right": "own"}],
        [{"subject": "role:admin", "right": "launch"}],
        [{"subject": "user:nobody-here", "right": "launch"}],
        [{"subject": "everyone", "right": "launch", "until": "tomorrow"}],
        [{"subject": f"group:{number}", "right": "launch"} for number in range(201)],
    ],
)
async def test_a_list_that_is_none_is_refused(shares: Any, ada: Api, git_repo: GitRepo) -> None:
    ids = await prepare(ada, git_repo, [])
    path = f"api/v1/environments/{ids['environment_id']}"
    answer = await ada("PUT", f"{path}/shares", {"shares": shares})
    assert answer.status == 400
    assert (await ada("GET", f"{path}/shares")).json["shares"] == []
    await ada("DELETE", path)
