"""Several BinderHubs: which one builds what, and what happens when one cannot."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.backends.binderhub.backend import BinderHubBackend
from jupyterhub_binder.backends.binderhub.federation import FederationBackend
from jupyterhub_binder.backends.binderhub.host import HostState
from jupyterhub_binder.backends.binderhub.ranking import rank
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import repository_key
from tests.kit import replay
from tests.kit.jobs import again, checkpoints, collect, image_of, lines, make_job
from tests.kit.replay import (
    DROP,
    HANG,
    ReplayServer,
    event,
    greeting,
    lost_sight,
    ready,
    said,
    stream,
)
from tests.kit.waiting import until

NAMES = ("one", "two", "three")


@asynccontextmanager
async def federation(tmp_path, names=NAMES, **options):
    """Servers by name, each of which makes an image of its own name; and the backend."""
    async with AsyncExitStack() as stack:
        servers: dict[str, ReplayServer] = {}
        for name in names:
            servers[name] = await stack.enter_async_context(replay.replaying())
            servers[name].tell("/build/", stream(said(f"at {name}"), ready(f"registry/{name}:1")))
        members = [{"name": name, "url": server.url} for name, server in servers.items()]
        defaults = {
            "members": members,
            "images_dir": str(tmp_path / "images"),
            "reconnect_seconds": 0.01,
            "failover_seconds": 0.05,
            "give_up_seconds": 0,
        }
        backend = FederationBackend(**{**defaults, **options})
        stack.push_async_callback(backend.stop)
        await backend.start()
        yield backend, servers


def order(backend: FederationBackend, job) -> list[str]:
    """The names of the hosts in the order of a job's repository."""
    return [host.name for host in rank(backend.hosts, repository_key(job.build.spec))]


def status(backend: FederationBackend, name: str):
    return next(status for status in backend.statuses() if status.name == name)


# --- The choice -----------------------------------------------------------------------------------


@dataclass
class Candidate:
    name: str
    weight: float = 1.0


REPOSITORIES = [f"gh:org/repository-{number}" for number in range(4000)]


def shares(hosts) -> Counter[str]:
    return Counter(rank(hosts, repository)[0].name for repository in REPOSITORIES)


def test_repositories_are_shared_by_weight():
    found = shares([Candidate("a", 1), Candidate("b", 2), Candidate("c", 1), Candidate("d", 0)])
    assert found["d"] == 0
    assert 900 < found["a"] < 1100
    assert 1850 < found["b"] < 2150


def test_host_that_leaves_moves_only_its_own_repositories():
    hosts = [Candidate(name) for name in "abcd"]
    for repository in REPOSITORIES[:500]:
        first, *others = [host.name for host in rank(hosts, repository)]
        left = [host for host in hosts if host.name != "a"]
        expected = others[0] if first == "a" else first
        assert rank(left, repository)[0].name == expected


@given(st.lists(st.text(min_size=1), unique=True, min_size=1, max_size=6), st.text())
def test_order_does_not_depend_on_the_configurations(names, repository):
    hosts = [Candidate(name) for name in names]
    assert rank(hosts, repository) == rank(hosts[::-1], repository.lower())


async def test_all_refs_of_a_repository_go_to_one_host(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        for number in range(5):
            await collect(backend, make_job(repo="Org/Name", ref=f"v{number}"))
            await collect(backend, make_job(repo="org/name", ref=f"v{number}"))
    assert sorted(len(server.requests) for server in servers.values()) == [0, 0, 10]


# --- Failover -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        [DROP],
        replay.status(503),
        replay.status(403),
        stream(event("Rate limit exceeded", "failed", status_code=429)),
        stream(event("Internal Server Error", "failed", status_code=500)),
        stream(greeting(), DROP),
        stream(greeting(), lost_sight(), HANG),
        stream(greeting(), said("the same line"), lost_sight(), HANG),
    ],
    ids=["drop", "503", "403", "429", "500", "greets", "loses sight", "says the same"],
)
async def test_build_goes_on_at_the_next_host(tmp_path, trouble):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, second, third = order(backend, job)
        servers[first].tell("/build/", trouble)
        outputs = await collect(backend, job)
        assert image_of(outputs).name == f"registry/{second}:1"
        assert f"Continuing on {second}, where the build starts from the beginning." in lines(
            outputs
        )
        assert status(backend, first).state is HostState.FAILED
        assert status(backend, first).host_failures == 1
        assert status(backend, second).built == 1
        assert not servers[third].requests


async def test_host_that_dies_during_a_build_loses_it_to_the_next(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, second, _ = order(backend, job)
        servers[first].tell("/build/", stream(said("begun"), DROP), [DROP])
        outputs = await collect(backend, job)
        shown = lines(outputs)
        assert shown.index("begun") < shown.index(f"at {second}")
        assert image_of(outputs).name == f"registry/{second}:1"


async def test_host_that_greets_and_is_silent_loses_the_build(tmp_path):
    options = {"read_timeout_seconds": 1, "failover_seconds": 0.5}
    async with federation(tmp_path, **options) as (backend, servers):
        job = make_job()
        first, second, _ = order(backend, job)
        servers[first].tell("/build/", stream(greeting(), HANG))
        assert image_of(await collect(backend, job)).name == f"registry/{second}:1"
        assert "sent nothing for 1 seconds" in status(backend, first).reason


async def test_failed_build_is_not_tried_elsewhere(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, second, _ = order(backend, job)
        servers[first].tell("/build/", stream(event("no such package", "failed"), HANG))
        with pytest.raises(BuildFailed, match="no such package"):
            await collect(backend, job)
        assert not servers[second].requests
        assert status(backend, first).build_failures == 1
        assert status(backend, first).state is HostState.OK


async def test_failed_host_is_left_alone_until_its_time_has_come(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, *_ = order(backend, job)
        servers[first].tell("/build/", [DROP])
        await collect(backend, job)
        asked = len(servers[first].requests)
        await backend.check_hosts()
        await collect(backend, make_job(ref="v2"))
        assert len(servers[first].requests) == asked
        backend.hosts[NAMES.index(first)]._retry_at = 0.0
        servers[first].tell("/build/", stream(ready("registry/again:1")))
        assert image_of(await collect(backend, make_job(ref="v3"))).name == "registry/again:1"
        assert status(backend, first).state is HostState.OK


async def test_host_that_was_only_starting_builds_as_soon_as_it_answers(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        for server in servers.values():
            server.health = replay.as_json({"ok": False, "checks": []}, 503)
        await backend.check_hosts()
        assert "No BinderHub" in (await backend.health() or "")
        for server in servers.values():
            server.health = replay.as_json({"ok": True, "checks": []})
        await backend.check_hosts()
        assert await backend.health() is None


async def test_host_that_is_down_at_the_start_is_asked_again_soon(tmp_path):
    async with replay.replaying() as server:
        server.health = replay.as_json({"ok": False, "checks": []}, 503)
        backend = BinderHubBackend(url=server.url, images_dir=str(tmp_path))
        await backend.start()
        assert backend.statuses()[0].state is HostState.FAILED
        server.health = replay.as_json({"ok": True, "checks": []})
        await until(lambda: backend.statuses()[0].state is HostState.OK, seconds=15)
        await backend.stop()


async def test_host_that_says_it_is_ill_is_passed_over(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, second, _ = order(backend, job)
        ill = {"ok": False, "checks": [{"service": "Docker registry", "ok": False}]}
        servers[first].health = replay.as_json(ill, 503)
        await backend.check_hosts()
        assert image_of(await collect(backend, job)).name == f"registry/{second}:1"
        assert "Docker registry" in status(backend, first).reason
        assert await backend.health() is None


async def test_full_host_is_asked_last(tmp_path):
    async with federation(tmp_path, names=("one", "two")) as (backend, servers):
        job = make_job()
        first, second = order(backend, job)
        full = {"service": "Pod quota", "ok": True, "total_pods": 5, "quota": 5}
        servers[first].health = replay.as_json({"ok": True, "checks": [full]})
        await backend.check_hosts()
        assert image_of(await collect(backend, job)).name == f"registry/{second}:1"
        servers[second].tell("/build/", [DROP])
        assert image_of(await collect(backend, job)).name == f"registry/{first}:1"


async def test_all_hosts_down_fails_with_the_reason_of_each(tmp_path):
    async with federation(tmp_path, names=("one", "two")) as (backend, servers):
        servers["one"].tell("/build/", replay.status(503))
        servers["two"].tell("/build/", [DROP])
        with pytest.raises(BuildFailed, match="not the repository's fault") as caught:
            await collect(backend, make_job())
        assert "returned status 503" in caught.value.message
        assert "the connection to two broke" in caught.value.message
        assert await backend.health() is not None


async def test_build_waits_while_no_host_answers(tmp_path):
    async with federation(tmp_path, names=("one",), give_up_seconds=30) as (backend, servers):
        servers["one"].tell("/build/", *[[DROP]] * 12, stream(ready()))
        assert image_of(await collect(backend, make_job()))


async def test_restarted_service_goes_back_to_the_host_that_had_the_build(tmp_path):
    async with federation(tmp_path) as (backend, servers):
        job = make_job()
        first, second, _ = order(backend, job)
        servers[first].tell("/build/", [DROP])
        *_, last = checkpoints(await collect(backend, job))
        assert last.data == {"host": second}
        backend.hosts[NAMES.index(first)]._retry_at = 0.0
        outputs = await collect(backend, again(job, last.data))
        assert image_of(outputs).name == f"registry/{second}:1"


async def test_host_without_the_provider_is_not_asked(tmp_path):
    async with federation(tmp_path, names=("one", "two")) as (backend, servers):
        job = make_job()
        first, second = order(backend, job)
        servers[first].providers = replay.as_json([{"id": "gl"}])
        servers[second].providers = replay.as_json([{"id": "gh"}])
        await backend.check_hosts()
        assert backend.provider_prefixes == {"gh", "gl", "docker"}
        assert image_of(await collect(backend, job)).name == f"registry/{second}:1"


async def test_running_builds_are_counted(tmp_path):
    async with federation(tmp_path, names=("one",)) as (backend, servers):
        gate = asyncio.Event()
        servers["one"].tell("/build/", stream(said("begun"), gate, ready()))
        work = asyncio.create_task(collect(backend, make_job()))
        await servers["one"].wait_until(lambda: len(servers["one"].requests) == 1)
        assert status(backend, "one").running == 1
        gate.set()
        await work
        assert (status(backend, "one").running, status(backend, "one").built) == (0, 1)
        assert "token" not in repr(backend.statuses())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([], "names no BinderHub"),
        ([{"name": "x"}], r"members\[0\]\['url'\]"),
        ([{"url": "http://a/", "colour": "red"}], "unknown key, 'colour'"),
        ([{"url": "http://a/", "weight": -1}], "0 or more"),
        ([{"url": "http://a/", "weight": float("nan")}], "0 or more"),
        ([{"url": "http://a/", "weight": "1"}], "wrong type"),
        ([{"url": "http://a/"}, {"url": "http://a/"}], "two members called 'a'"),
        ([{"url": "http://a/", "build_token_secret": "xyz"}], "hexadecimal"),
    ],
)
async def test_bad_member_is_named_at_the_start(tmp_path, members, words):
    backend = FederationBackend(members=members, images_dir=str(tmp_path))
    with pytest.raises(ConfigurationError, match=words):
        await backend.start()
