"""The BinderHub backend over a real socket: recorded answers, and all that can go wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyterhub_binder.backends.binderhub.backend import BinderHubBackend
from jupyterhub_binder.backends.binderhub.host import HostState
from jupyterhub_binder.backends.binderhub.spec import wire_spec
from jupyterhub_binder.errors import BuildFailed, ConfigurationError
from jupyterhub_binder.model import Image, Phase, Recipe, RecipeFile, Spec
from tests.kit import replay
from tests.kit.failing_logs import explain_outputs
from tests.kit.jobs import again, checkpoints, collect, collect_into, image_of, lines, make_job
from tests.kit.replay import (
    DROP,
    HANG,
    KEEPALIVE,
    chunk,
    cut,
    cut_at,
    event,
    greeting,
    lost_sight,
    ready,
    said,
    stream,
)

SECRET = "00112233445566778899aabbccddeeff" * 2
SHA = "c" * 40

FAILING = {
    "c1": "Could not resolve ref",
    "c2": "access denied or repository not exported",
    "c3": "errno=Connection refused",
    "c4": "fatal: Could not parse object",
    "d0": "No such file or directory: 'hg'",
    "d1": "returned a non-zero code: 3",
    "d2": "no such host",
    "d3": "exit 3]: exit code: 3",
    "e1": "is not allowed to launch",
    "e2": "No provider found for prefix foo",
    "e3": "Unsupported git url",
    "e4": "Unsupported git url",
    "e5": "Could not resolve hostname git",
    "e6": "not enough values to unpack",
    "e7": "Spec is not of the form",
    "h4": "Could not resolve ref",
}
BUILT = {
    "a": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 300),
    "a2": ("bx/git-3a-2f-2f127-2e0-2e0-2e1-2fslow-0d8068", 60),
    "b": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 0),
    "e10": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 0),
    "e13": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fbanned-2drepo-dcd6ce", 20),
    "f3": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fslow-0d8068", 60),
    "h1": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 0),
    "h2": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 0),
    "h3": ("bh/git-3a-2f-2f127-2e0-2e0-2e1-2fdemo-3775cf", 0),
    "i": ("bx/git-3a-2f-2f127-2e0-2e0-2e1-2flogs20k-2c1868", 20),
}
REFUSED = {"e8": "Missing Accept", "e9": "Missing Accept", "e12": "Invalid build token"}


@pytest.fixture
async def server():
    async with replay.replaying() as server:
        yield server


def make(url: str, tmp_path, **options) -> BinderHubBackend:
    defaults = {
        "url": url,
        "images_dir": str(tmp_path / "images"),
        "reconnect_seconds": 0.01,
        "failover_seconds": 5,
        "give_up_seconds": 0,
    }
    return BinderHubBackend(**{**defaults, **options})


@asynccontextmanager
async def started(url: str, tmp_path, **options):
    backend = make(url, tmp_path, **options)
    await backend.start()
    try:
        yield backend
    finally:
        await backend.stop()


@pytest.fixture
async def backend(server, tmp_path):
    async with started(server.url, tmp_path) as backend:
        yield backend


def hangs(name: str) -> list:
    """A recording, after which nothing comes and the connection stays open if it did."""
    data = replay.recording(name)
    return [] if data.endswith(replay.END) or b"Content-Length" in data else [HANG]


# --- Recorded answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT)
async def test_recorded_build_becomes_lines_and_an_image(server, backend, name):
    server.tell("/build/", [*cut(replay.recording(name), seed=7), *hangs(name)])
    outputs = await collect(backend, make_job())
    image, least = BUILT[name]
    assert image_of(outputs).name.startswith(f"{image}:")
    assert len(lines(outputs)) >= least
    assert not any("exc_info" in line or '{"aux"' in line for line in lines(outputs))


@pytest.mark.parametrize("name", FAILING)
async def test_recorded_failure_has_its_reason_and_ends_though_the_stream_does_not(
    server, backend, name
):
    server.tell("/build/", [*cut(replay.recording(name), seed=3), *hangs(name)])
    outputs = []
    with pytest.raises(BuildFailed) as caught:
        await collect_into(outputs, backend, make_job())
    reason = explain_outputs(outputs, caught.value)
    assert FAILING[name] in f"{reason.message} {reason.explanation.line}"
    shown = "\n".join([*lines(outputs), caught.value.message])
    assert "Traceback" not in shown
    assert "\n" not in caught.value.message
    await server.wait_until(lambda: server.open == 0)


@pytest.mark.parametrize("name", REFUSED)
async def test_recorded_refusal_is_not_the_repositorys_fault(server, backend, name):
    server.tell("/build/", cut(replay.recording(name), seed=1))
    with pytest.raises(BuildFailed, match="not the repository's fault") as caught:
        await collect(backend, make_job())
    assert caught.value.error_code == "binderhub_unavailable"
    assert REFUSED[name] in caught.value.message


async def test_recorded_launch_is_cut_short_at_the_image(server, backend):
    server.tell("/build/", [*cut(replay.recording("e11"), seed=2), HANG])
    assert image_of(await collect(backend, make_job())).name.startswith("bh/")
    await server.wait_until(lambda: server.open == 0)


WHOLE: dict[str, list] = {}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(["a2", "d1", "d3", "e12"]), places=st.lists(st.integers(0, 10**6)))
def test_cutting_the_bytes_anywhere_changes_nothing(tmp_path, name, places):
    async def outcome(steps) -> list:
        async with replay.replaying() as server, started(server.url, tmp_path) as backend:
            server.tell("/build/", [*steps, *hangs(name)])
            outputs = []
            try:
                await collect_into(outputs, backend, make_job())
            except BuildFailed as failed:
                outputs.append(failed.message)
            return outputs

    data = replay.recording(name)
    if name not in WHOLE:
        WHOLE[name] = asyncio.run(outcome([data]))
    assert asyncio.run(outcome(cut_at(data, places))) == WHOLE[name]


# --- What is asked --------------------------------------------------------------------------------


async def test_build_is_asked_for_alone_and_at_the_commit(server, backend):
    server.tell("/build/", stream(ready()))
    await collect(backend, make_job(repo="org/name", ref="main"))
    (request,) = server.requests
    assert request.path == f"/build/gh/org/name/{SHA}"
    assert request.query == {"build_only": "true"}
    assert request.headers["accept"] == "text/event-stream"
    assert "authorization" not in request.headers


async def test_token_is_sent_to_builds_alone(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "the-service's")
    server.tell("/build/", stream(ready()))
    for options, sent in [
        ({"token": "given", "use_service_token": True}, "Bearer given"),
        ({"use_service_token": True}, "Bearer the-service's"),
        ({}, None),
    ]:
        async with started(server.url, tmp_path, **options) as backend:
            await collect(backend, make_job())
        assert server.requests[-1].headers.get("authorization") == sent
    assert "given" not in repr(backend.hosts)


async def test_build_token_is_one_that_binderhub_takes(server, tmp_path):
    server.tell("/build/", stream(ready()))
    async with started(server.url, tmp_path, build_token_secret=SECRET) as backend:
        await collect(backend, make_job())
    claims = jwt.decode(
        server.requests[0].query["build_token"],
        key=bytes.fromhex(SECRET),
        audience=f"gh/org/name/{SHA}",
        algorithms=["HS256"],
    )
    assert claims["origin"] == server.requests[0].headers["host"]


@pytest.mark.parametrize(
    ("spec", "ref", "path"),
    [
        (Spec("gh", "org/name"), SHA, f"gh/org/name/{SHA}"),
        (Spec("gist", "ada/0123"), SHA, f"gist/ada/0123/{SHA}"),
        (Spec("gl", "a/b/c", "a/branch"), SHA, f"gl/a%2Fb%2Fc/{SHA}"),
        (Spec("git", "https://h/x y%20.git"), SHA, f"git/https%3A%2F%2Fh%2Fx%20y%2520.git/{SHA}"),
        (Spec("git", "https://h/b%61n?x=1#y"), SHA, f"git/https%3A%2F%2Fh%2Fb%2561n%3Fx%3D1%23y/{SHA}"),
        (Spec("zenodo", "10.5281/zenodo.12"), "34", "zenodo/10.5281/zenodo.34"),
        (Spec("figshare", "10.6084/m9.figshare.7"), "7.v2", "figshare/10.6084/m9.figshare.7.v2"),
        (Spec("figshare", "10.1184/R1/7.v1"), "7.v1", "figshare/10.1184/R1/7.v1"),
        (Spec("hydroshare", "8f7c"), "8f7c.v17", "hydroshare/8f7c"),
        (Spec("dataverse", "10.7910/DVN/X"), "77.v2.1", "dataverse/10.7910/DVN/X"),
        (Spec("ckan", "https://h/dataset/x?activity_id=1"), "x.v1", "ckan/https%3A%2F%2Fh%2Fdataset%2Fx%3Factivity_id%3D1"),
    ],
)  # fmt: skip
def test_specs_are_escaped_as_binderhub_reads_them(spec, ref, path):
    assert wire_spec(spec, ref) == path


async def test_escaped_spec_arrives_as_it_was_written(server, backend):
    server.tell("/build/", stream(ready()))
    job = make_job()
    object.__setattr__(job.build, "spec", Spec("git", "https://h/a b%2F.git"))
    await collect(backend, job)
    assert server.requests[0].path == f"/build/git/https%3A%2F%2Fh%2Fa%20b%252F.git/{SHA}"


def test_provider_that_binderhub_lacks_is_refused():
    with pytest.raises(BuildFailed, match="svn"):
        wire_spec(Spec("svn", "x"), SHA)


# --- Connections ----------------------------------------------------------------------------------


async def test_dropped_connection_is_taken_up_again(server, backend):
    server.tell(
        "/build/",
        stream(said("one", "two"), DROP),
        [DROP],
        replay.status(503),
        stream(said("three"), ready()),
    )
    outputs = await collect(backend, make_job())
    shown = lines(outputs)
    assert [shown.index(text) for text in ("one", "two", "three")] == [1, 2, 4]
    assert "may be missing" in shown[3]
    assert image_of(outputs)
    assert len(server.requests) == 4


async def test_stream_that_ends_too_early_is_taken_up_again(server, backend):
    server.tell("/build/", stream(said("one"), replay.END), stream(ready("r/n:t")))
    assert image_of(await collect(backend, make_job())).name == "r/n:t"


async def test_silent_stream_is_taken_up_again_and_keepalives_keep_it(server, tmp_path):
    began = time.monotonic()
    asked: list[int] = []

    def keepalives() -> Iterator[bytes]:
        while time.monotonic() < began + 1.5:  # for longer than it may say nothing
            yield chunk(KEEPALIVE)
        asked.append(len(server.requests))

    server.tell("/build/", stream(said("one"), keepalives(), HANG), stream(ready()))
    async with started(server.url, tmp_path, read_timeout_seconds=1) as backend:
        shown = lines(await collect(backend, make_job()))
    assert asked == [1]
    assert any("sent nothing for 1 seconds" in line for line in shown)
    assert len(server.requests) == 2


async def test_binderhub_that_loses_sight_of_a_build_is_asked_again(server, backend):
    server.tell("/build/", stream(said("one"), lost_sight(), HANG), stream(ready()))
    assert image_of(await collect(backend, make_job()))


async def test_connection_that_holds_and_breaks_again_and_again_fails_no_build(server, tmp_path):
    def keepalives() -> Iterator[bytes]:
        until = time.monotonic() + 0.3  # for longer than patience lasts
        while time.monotonic() < until:
            yield chunk(KEEPALIVE)

    answers = [stream(said("compiling"), keepalives(), DROP) for _ in range(4)]
    server.tell("/build/", *answers, stream(ready()))
    async with started(server.url, tmp_path, failover_seconds=0.1) as backend:
        outputs = await collect(backend, make_job())
        assert backend.statuses()[0].host_failures == 0
    assert image_of(outputs)
    assert sum("Connecting again" in line for line in lines(outputs)) == 4


async def test_connection_that_brings_a_build_on_renews_patience(server, tmp_path):
    phases = ("waiting", "fetching", "building", "pushing")
    answers = [stream(said("one", phase=phase), DROP) for phase in phases]
    server.tell("/build/", *answers, stream(ready()))
    # Patience for two waits at most: each is twice as long as the one before.
    options = {"reconnect_seconds": 0.04, "failover_seconds": 0.1}
    async with started(server.url, tmp_path, **options) as backend:
        assert image_of(await collect(backend, make_job()))
        assert backend.statuses()[0].host_failures == 0


async def test_failure_without_words_waits_for_those_that_come_after(server, backend):
    server.tell(
        "/build/",
        stream(event(phase="failed"), said("late"), event("the reason", "failed"), HANG),
    )
    outputs = []
    with pytest.raises(BuildFailed, match=r"^the reason$"):
        await collect_into(outputs, backend, make_job())
    assert "late" in lines(outputs)


async def test_failure_without_any_words_is_said_to_be_one(server, backend):
    server.tell("/build/", stream(event(phase="failed"), replay.END))
    with pytest.raises(BuildFailed, match="BinderHub could not build the image"):
        await collect(backend, make_job())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (replay.status(403), "does not accept this service"),
        (replay.status(302, "Location: /hub/login\r\n"), "does not accept this service"),
        (replay.status(404), "no BinderHub answers"),
        (replay.status(200), "no BinderHub answers"),
        (replay.stream(event("Rate limit", "failed", status_code=429)), "does not know"),
    ],
)
async def test_refusal_is_told_at_once_and_names_what_to_do(server, backend, answer, words):
    server.tell("/build/", answer)
    with pytest.raises(BuildFailed, match=words):
        await collect(backend, make_job())
    assert len(server.requests) == 1
    assert backend.statuses()[0].host_failures == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (replay.status(503), "returned status 503"),
        (stream(greeting(), DROP), "broke"),
        (stream(greeting(), lost_sight(), HANG), "lost sight"),
    ],
    ids=["down", "greets and breaks", "loses sight"],
)
async def test_binderhub_of_no_use_fails_a_build_only_when_patience_ends(
    server, tmp_path, answer, words
):
    server.tell("/build/", answer)
    options = {"failover_seconds": 0.2, "give_up_seconds": 0.5}
    async with started(server.url, tmp_path, **options) as backend:
        with pytest.raises(BuildFailed, match=f"{words}.*not the repository's fault"):
            await collect(backend, make_job())
    # Each wait is twice as long as the one before.
    assert 3 < len(server.requests) < 30


async def test_binderhub_that_comes_back_builds(server, tmp_path):
    server.tell("/build/", *[[DROP]] * 20, stream(ready()))
    options = {"failover_seconds": 0.05, "give_up_seconds": 30}
    async with started(server.url, tmp_path, **options) as backend:
        assert image_of(await collect(backend, make_job()))


async def test_cancel_drops_the_connection(server, backend):
    server.tell("/build/", stream(said("one"), HANG))
    outputs = backend.build(make_job())
    async for output in outputs:
        if getattr(output, "text", "") == "one":
            break
    assert server.open == 1
    await outputs.aclose()
    await server.wait_until(lambda: server.open == 0)
    assert "Kubernetes" in backend.cancel_note


# --- Hostile answers --------------------------------------------------------------------------------


async def test_hostile_stream_is_text(server, backend):
    server.tell(
        "/build/",
        stream(
            chunk(b"\xef\xbb\xbf\xff\xfe\x00garbage\n\n: comment\n\n"),
            chunk(b"data: not json\n\ndata: [1, 2]\n\ndata: null\n\n"),
            chunk(b'data: {"message": "\\ud800 \\u0000 <script>", "phase": "building"}\n\n'),
            event("\x1b]0;title\x07 \u202egnp.exe\n", "building"),
            event("x" * 3_000_000, "building"),
            event("\n", "building"),
            ready(),
        ),
    )
    for text in lines(await collect(backend, make_job())):
        assert "\n" not in text
        assert len(text.encode()) <= 20_000 * 4


async def test_event_without_an_end_takes_no_memory_without_end(server, backend):
    flood = [chunk(b"data: " + b"x" * 2**20)] + [chunk(b"x" * 2**20)] * 40
    server.tell("/build/", stream(flood, chunk(b"\n\n"), ready()))
    assert image_of(await collect(backend, make_job()))


# --- What is remembered -----------------------------------------------------------------------------


async def test_image_is_remembered_by_the_next_service(server, backend, tmp_path):
    server.tell("/build/", stream(ready("r/n:t")))
    job = make_job()
    await collect(backend, job)
    later = make(server.url, tmp_path)
    assert await later.find_image(job.build.key) == "r/n:t"
    assert len(server.requests) == 1
    await later.delete_image("r/n:t")
    assert await later.find_image(job.build.key) is None


async def test_image_of_a_registry_is_taken_without_a_build(server, backend):
    job = make_job()
    there = replace(
        job.build,
        spec=Spec("docker", "quay.io/org/name:1"),
        clone_url="https://quay.io/org/name",
        resolved_ref="a" * 64,
    )
    outputs = await collect(backend, replace(job, build=there))
    name = f"quay.io/org/name@sha256:{'a' * 64}"
    assert image_of(outputs).name == await backend.find_image(there.key) == name
    assert not [request for request in server.requests if "/build/" in str(request)]


async def test_image_that_cannot_be_remembered_is_made_all_the_same(server, tmp_path, caplog):
    server.tell("/build/", stream(ready("r/n:t")))
    (tmp_path / "images").write_text("a file where the folder would be")
    async with started(server.url, tmp_path) as backend:
        assert image_of(await collect(backend, make_job())).name == "r/n:t"
        assert backend.statuses()[0].built == 1
    (warning,) = [text for text in caplog.messages if "r/n:t" in text]
    assert "BinderHubBackend.images_dir" in warning
    assert "set another folder" in warning


async def test_rebuild_that_binderhub_does_not_make_is_told(server, backend):
    server.tell("/build/", stream(ready()))
    job = make_job()
    object.__setattr__(job.build, "generation", 1)
    assert any(
        "builds each commit only once" in line for line in lines(await collect(backend, job))
    )


async def test_every_image_is_kept_before_it_is_told(server, backend):
    server.tell("/build/", stream(said("one"), ready("r/n:t")))
    job = make_job()
    async for output in backend.build(job):
        if isinstance(output, Image):
            assert await backend.find_image(job.build.key) == "r/n:t"


async def test_restarted_service_asks_again_and_joins(server, backend):
    server.tell("/build/", stream(said("one"), ready()))
    job = make_job()
    (checkpoint,) = checkpoints(await collect(backend, job))
    assert image_of(await collect(backend, again(job, checkpoint.data)))


# --- Health and configuration -----------------------------------------------------------------------


CHECKS = [
    ({"ok": True, "checks": []}, HostState.OK, None),
    ({"ok": False, "checks": [{"service": "JupyterHub API", "ok": False}]}, HostState.OK, None),
    ({"ok": False, "checks": [{"service": "Docker registry", "ok": False}]}, HostState.FAILED, "Docker registry"),
    ({"ok": False}, HostState.FAILED, "reports a problem"),
    ([], HostState.FAILED, "does not report"),
    ({"ok": True, "checks": [{"service": "Pod quota", "ok": True, "total_pods": 9, "quota": 9, "_ignore_failure": True}]}, HostState.FULL, None),
    ({"ok": True, "checks": [{"service": "Pod quota", "ok": True, "total_pods": 9, "quota": None}]}, HostState.OK, None),
]  # fmt: skip


@pytest.mark.parametrize(("health", "state", "wrong"), CHECKS)
async def test_health_is_about_building(server, tmp_path, health, state, wrong):
    server.health = replay.as_json(health, 503 if state is HostState.FAILED else 200)
    async with started(server.url, tmp_path) as backend:
        assert backend.statuses()[0].state is state
        if wrong is None:
            assert await backend.health() is None
        else:
            assert wrong in await backend.health()


async def test_service_starts_while_binderhub_is_down(tmp_path):
    async with started("http://127.0.0.1:9/", tmp_path) as backend:
        assert "can't be reached" in await backend.health()
        assert backend.provider_prefixes is None


async def test_providers_are_those_of_binderhub(server, tmp_path):
    server.providers = replay.as_json([{"id": "gh"}, {"id": "git"}, {"no": "id"}, 7])
    async with started(server.url, tmp_path) as backend:
        assert backend.provider_prefixes == {"gh", "git", "docker"}
        server.providers = replay.as_json([{"id": "gl"}])
        await backend.check_hosts()
        assert backend.provider_prefixes == {"gl", "docker"}
        with pytest.raises(BuildFailed, match="'gh'"):
            await collect(backend, make_job())


async def test_providers_are_unknown_where_binderhub_does_not_tell(server, tmp_path):
    server.providers = replay.status(404)
    async with started(server.url, tmp_path) as backend:
        assert backend.provider_prefixes is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": ""}, "Set BinderHubBackend.url"),
        ({"url": "binder.example.org"}, "BinderHubBackend.url"),
        ({"url": "ftp://x/"}, "BinderHubBackend.url"),
        ({"url": "http://user:pw@x/"}, "not contain credentials"),
        ({"build_token_secret": "not hexadecimal"}, "build_token_secret"),
    ],
)
async def test_bad_configuration_is_named_at_the_start(tmp_path, options, words):
    backend = make(**{"url": "http://127.0.0.1:9/", "tmp_path": tmp_path, **options})
    with pytest.raises(ConfigurationError, match=words) as caught:
        await backend.start()
    assert "pw" not in caught.value.message
    await backend.stop()


async def test_binderhub_that_does_not_answer_delays_no_start(server, tmp_path):
    server.health = [HANG]
    began = time.monotonic()
    async with started(server.url, tmp_path) as backend:
        assert time.monotonic() - began < 3
        assert backend.statuses()[0].state is HostState.UNKNOWN


async def test_phases_of_a_build_are_told(server, backend):
    server.tell(
        "/build/",
        stream(
            said("w", phase="waiting"),
            said("f", phase="fetching"),
            said("b"),
            said("p", phase="pushing"),
            ready(),
        ),
    )
    outputs = await collect(backend, make_job())
    phases = [output.phase for output in outputs if hasattr(output, "phase")]
    assert phases[-4:] == [Phase.WAITING, Phase.FETCHING, Phase.BUILDING, Phase.PUSHING]


def test_every_file_is_assessed_as_repo2docker_takes_it():
    files = (
        RecipeFile("binder/environment.yml", "environment.yml", used=True),
        RecipeFile("requirements.txt", "requirements.txt", used=False),
        RecipeFile("binder/Gemfile", "Gemfile", used=True),
    )
    assessment = BinderHubBackend(url="http://127.0.0.1:1/").assess(Recipe(files=files), {})
    said = [(action.supported, action.action) for action in assessment.actions]
    assert said == [
        (True, "Installs its packages with conda"),
        (True, "Not used: another file takes precedence"),
        (False, "repo2docker does not read it."),
    ]
    assert assessment.problems == ()
