"""The program: its configuration, its start and its stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.web import application
from tests.kit.fake_hub import FakeHub
from tests.kit.service import service_config


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_app(hub: FakeHub, state_dir: Path, /, **traits) -> JupyterHubBinder:
    config = service_config(hub, state_dir)
    for name, value in traits.items():
        config.JupyterHubBinder[name] = value
    return JupyterHubBinder(config=config)


async def test_it_can_be_started_again_after_a_stop(hub: FakeHub, tmp_path: Path) -> None:
    for _ in range(2):
        app = make_app(hub, tmp_path)
        await app.start_service()
        await app.stop_service()
        await app.stop_service()


async def test_the_state_is_private(hub: FakeHub, tmp_path: Path) -> None:
    app = make_app(hub, tmp_path / "state")
    await app.start_service()
    await app.stop_service()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_the_database_is_private_in_a_folder_that_is_not(
    hub: FakeHub, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    app = make_app(hub, folder, database_url=f"sqlite:///{folder}/binder.sqlite")
    await app.start_service()
    try:
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob("binder.*")}
        del modes["binder.sqlite.lock"]
        assert set(modes) >= {"binder.sqlite", "binder.sqlite-wal"}
        assert set(modes.values()) == {0o600}
    finally:
        await app.stop_service()


async def test_a_taken_port_is_said_and_nothing_is_left(hub: FakeHub, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match=r"JupyterHubBinder\.port"):
            await make_app(hub, tmp_path, port=taken.getsockname()[1]).start_service()
    again = make_app(hub, tmp_path)
    await again.start_service()
    await again.stop_service()


@pytest.mark.parametrize(
    ("trait", "value", "named"),
    [
        ("backend", "nope", "JupyterHubBinder.backend"),
        ("database_url", "nonsense", "JupyterHubBinder.database_url"),
        ("state_dir", "/dev/null/x", "JupyterHubBinder.state_dir"),
    ],
)
async def test_a_bad_value_names_its_trait(
    hub: FakeHub, tmp_path: Path, trait: str, value: str, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named.replace(".", r"\.")):
        await make_app(hub, tmp_path, **{trait: value}).start_service()


def test_the_hub_says_where_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", "http://10.1.2.3:4567/services/binder/")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/base/services/binder/")
    app = JupyterHubBinder()
    assert (app.ip, app.port, app.base_url) == ("10.1.2.3", 4567, "/base/services/binder/")


async def test_health_says_what_is_wrong(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ill(backend: FakeBackend) -> str:
        return "The folder /srv/secret is not writable."

    monkeypatch.setattr(FakeBackend, "health", ill)
    app = make_app(hub, tmp_path)
    await app.start_service()
    try:
        url = f"http://127.0.0.1:{app.port}{app.base_url}health"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                assert response.status == 503
                checks = (await response.json())["checks"]
            headers = {"Authorization": "Bearer root-token"}
            async with session.get(url, headers=headers) as response:
                for_admins = {c["service"]: c["message"] for c in (await response.json())["checks"]}
            headers = {"Authorization": "Bearer ada-token"}
            async with session.get(url, headers=headers) as response:
                assert (await response.json())["checks"] == checks
            hub.down = True
            async with session.get(url, headers={"Authorization": "Bearer nobody"}) as response:
                assert (await response.json())["checks"] == checks
        said = {check["service"]: check["message"] for check in checks}
        assert said == {
            "database": None,
            "disk": None,
            "hub": None,
            "token": None,
            "backend": "Nothing can be built at the moment.",
        }
        assert for_admins["backend"] == "The folder /srv/secret is not writable."
    finally:
        hub.down = False
        await app.stop_service()


async def test_open_streams_do_not_hold_up_the_stop(hub: FakeHub, tmp_path: Path, git_repo) -> None:
    app = make_app(hub, tmp_path)
    await app.start_service()
    url = f"http://127.0.0.1:{app.port}{app.base_url}api/v1/"
    headers = {"Authorization": "token ada-token"}
    body = {"url": git_repo.url, "options": {"fake": {"hang_at": "building"}}}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{url}environments", json=body) as response:
            build_id = (await response.json())["latest"]["id"]
        async with session.get(f"{url}builds/{build_id}/events") as stream:
            await stream.content.readany()
            began = time.monotonic()
            await app.stop_service()
            assert time.monotonic() - began < 5
            assert b"event: end" not in await stream.content.read()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("sent", ["X-Header: x", "Content-Length: 100\r\n\r\n{"])
async def test_nobody_holds_a_connection_by_sending_slowly(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(application, "_BODY_SECONDS", 0.1)
    monkeypatch.setattr(application, "_IDLE_SECONDS", 0.1)
    app = make_app(hub, tmp_path)
    await app.start_service()
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(f"POST {app.base_url}api/v1/environments HTTP/1.1\r\nHost: x\r\n{sent}".encode())
    try:
        assert await reader.read() == b""
    finally:
        writer.close()
        await app.stop_service()


async def test_a_request_under_way_is_answered_before_the_stop(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(hub, tmp_path)
    await app.start_service()
    asked, go_on = asyncio.Event(), asyncio.Event()
    limits = app.parts.environments.limits

    async def slow(user):
        asked.set()
        await go_on.wait()
        return await limits(user)

    monkeypatch.setattr(app.parts.environments, "limits", slow)
    headers = {"Authorization": "token ada-token"}
    async with aiohttp.ClientSession(headers=headers) as session:
        url = f"http://127.0.0.1:{app.port}{app.base_url}api/v1/"
        answer = asyncio.create_task(session.get(url))
        await asked.wait()
        stopping = asyncio.create_task(app.stop_service())
        await asyncio.sleep(0)
        go_on.set()
        assert (await answer).status == 200
        await stopping


async def test_sigterm_ends_the_program_cleanly(hub: FakeHub, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "JUPYTERHUB_API_TOKEN": "t",
        "JUPYTERHUB_API_URL": hub.api_url,
        "JUPYTERHUB_CLIENT_ID": "service-binder",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "jupyterhub_binder.app",
        "--backend=fake",
        f"--state-dir={tmp_path}",
        f"--port={port}",
        env=environment,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"serves http" not in (line := await process.stderr.readline()):
                assert line, "it ended before it served"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_without_a_token_it_says_where_one_comes_from(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTERHUB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "jupyterhub_binder.app", "--backend=fake", f"--state-dir={tmp_path}"),
        env=environment,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"JUPYTERHUB_API_TOKEN" in said
    assert b"Traceback" not in said


def test_help_and_generated_configuration_name_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = JupyterHubBinder()
    app.initialize(["--generate-config"])
    app.start()
    text = (tmp_path / "jupyterhub_binder_config.py").read_text()
    for part in ("JupyterHubBinder.backend", "Builds.max_running", "FakeBackend.script"):
        assert f"# c.{part}" in text
    compile(text, "config", "exec")
