"""A long list as somebody in a course has it: own and shared environments, most with newer commits."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from bench.figures import show
from bench.load import Client, load, request
from bench.service import running_service
from jupyterhub_binder.model import User
from jupyterhub_binder.model.sharing import Right, Subject, SubjectKind
from tests.kit.parts import KnownPeople, Service, open_service
from tests.kit.upstream import follow

LISTED = 5_000
REPOSITORIES = 50
READER, OWNER = User("grace", groups=("astronomy",)), User("ada")
_SUBJECTS = (
    Subject(SubjectKind.USER, READER.name),
    Subject(SubjectKind.GROUP, *READER.groups),
    Subject(SubjectKind.EVERYONE),
)
_AT_ONCE = 50


async def measure() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = f"sqlite:///{folder / 'binder.sqlite'}"
        await _fill(folder, database)
        config = {
            "JupyterHubBinder": {"database_url": database},
            "FakeBackend": {"images_dir": str(folder / "images")},
        }
        async with running_service(config, state_dir=folder) as service:
            first = request(service, "GET", "api/v1/environments?limit=50", person=READER.name)
            # The last of their own, and the first of what is shared.
            middle = request(
                service,
                "GET",
                f"api/v1/environments?limit=50&offset={LISTED // 2 - 25}",
                person=READER.name,
            )
            async with Client(service) as client:
                _check(json.loads(await client.ask(first)))
                _check(json.loads(await client.ask(middle)))
            page = request(service, "GET", "", person=READER.name)
            found = request(service, "GET", "?search=shared", person=READER.name)
            for figure, asked in (
                ("first_page", first),
                ("page_with_shared_ones", middle),
                ("html_list", page),
                ("html_search_of_shared_ones", found),
            ):
                took = await load(service, [asked], clients=1, requests=100)
                show(
                    f"{figure}_of_{LISTED}_with_shares_and_upstream_ms_p50",
                    took.p50_ms,
                    "ms",
                    goal="< 50",
                    p95_ms=round(took.p95_ms, 1),
                    cpu_ms=round(took.cpu_ms, 1),
                )


def _check(answer: dict[str, object]) -> None:
    """Raise if the list is not what is to be measured."""
    items = answer["items"]
    assert isinstance(items, list)
    if answer["total"] != LISTED or not any(each["newer"] for each in items):
        raise RuntimeError(
            f"{answer['total']} environments, of {LISTED}, or none has a newer commit"
        )


async def _fill(folder: Path, database: str) -> None:
    """Give the reader environments, half of them another's, and let the repositories move on."""
    service = await open_service(folder, database=database)
    service.environments.max_per_user = LISTED
    hub = service.sharing._hub
    assert isinstance(hub, KnownPeople)
    hub.names |= {READER.name, OWNER.name}
    following = follow(service)
    try:
        built = [await following.built(OWNER, repo=_repository(n)) for n in range(REPOSITORIES)]
        for environment in built:
            await service.environments.delete(OWNER, environment.id)
        for number in range(0, LISTED // 2, _AT_ONCE):
            numbers = range(number, number + _AT_ONCE)
            await asyncio.gather(*(_keep(service, n) for n in numbers))
        following.host.push()
        for environment in built:
            await following.upstreams.ask(environment.spec)
    finally:
        await following.updates.stop()
        await following.upstreams.stop()
        await service.stop()


async def _keep(service: Service, number: int) -> None:
    repository = _repository(number % REPOSITORIES)
    await service.create(READER, repo=repository, name=f"own {number}")
    given = await service.create(OWNER, repo=repository, name=f"shared {number}")
    share = (_SUBJECTS[number % len(_SUBJECTS)], Right.LAUNCH)
    await service.sharing.put(OWNER, given.id, [share])


def _repository(number: int) -> str:
    return f"org/repository-{number}"
