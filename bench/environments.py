"""Environments of what is built already, and a long list of them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.figures import show
from bench.load import Client, Load, load, request
from bench.service import PEOPLE, Service, running_service
from tests.kit.git_server import GitServer

CLIENTS, REQUESTS = 10, 4000
LISTED = 10_000


async def measure() -> None:
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        GitServer.running(Path(folder)) as server,
    ):
        repository = server.make_repo("org/repo", {"requirements.txt": "numpy==2.3.1\n"})
        async with running_service() as service:
            for name, ref, goal, peer in (
                ("full_sha", repository.head, "750", "76.5 a second, 4.8 ms of CPU"),
                ("branch", "main", "500", "45.9 a second, 6.7 ms of CPU"),
            ):
                body = {"url": repository.url, "ref": ref, "name": name}
                await _build_once(service, body)
                made = await _make_again(service, body)
                show(
                    f"create_built_{name}_per_second",
                    made.per_second,
                    "requests/s",
                    goal=f">= {goal}",
                    peer=peer,
                    p95_ms=round(made.p95_ms, 1),
                )
                show(
                    f"create_built_{name}_cpu_ms", made.cpu_ms, "ms/request", goal="< 1.5", digits=2
                )
            await _measure_list(service, repository.url)


async def _build_once(service: Service, body: Mapping[str, object]) -> None:
    (create,) = _create(service, body, "ada")
    async with Client(service) as client:
        made = json.loads(await client.ask(create, expect=201))
        build = request(service, "GET", f"api/v1/builds/{made['latest']['id']}")
        while json.loads(await client.ask(build))["state"] != "built":
            await asyncio.sleep(0.05)


async def _make_again(service: Service, body: Mapping[str, object]) -> Load:
    create = _create(service, body, *PEOPLE)
    await load(service, create, clients=CLIENTS, requests=500, expect=201)
    return await load(service, create, clients=CLIENTS, requests=REQUESTS, expect=201)


def _create(service: Service, body: Mapping[str, object], *people: str) -> list[bytes]:
    data = json.dumps(body).encode()
    return [
        request(service, "POST", "api/v1/environments", data, person=person) for person in people
    ]


async def _measure_list(service: Service, url: str) -> None:
    listing = request(service, "GET", "api/v1/environments?limit=50")
    async with Client(service) as client:
        total = json.loads(await client.ask(listing))["total"]
    if total < LISTED:
        body = {"url": url, "build": False}
        many = LISTED - total
        create = _create(service, body, "ada")
        await load(service, create, clients=10, requests=many, expect=201)
    page = await load(service, [listing], clients=1, requests=50)
    show("first_page_of_10000_ms_p50", page.p50_ms, "ms", goal="< 50", p95_ms=round(page.p95_ms, 1))
    html = await load(service, [request(service, "GET", "")], clients=1, requests=30)
    show("html_list_of_10000_ms_p50", html.p50_ms, "ms", goal="< 50", p95_ms=round(html.p95_ms, 1))
