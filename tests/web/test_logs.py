"""What the service's process writes: with ids, in the form that was asked for, without secrets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest

from jupyterhub_binder.backends.repo2docker.registry import Registry
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.log_format import PersonFormatter
from tests.kit.databases import Databases, PostgresServer
from tests.kit.fake_hub import FakeHub
from tests.kit.git_server import GitRepo

SECRETS = {
    "service": "svc-s3cret-0001",
    "proxy": "prx-s3cret-0002",
    "binderhub": "bhb-s3cret-0003",
    "build token": "b7c0ffee0004" * 4,
    "provider": "gho-s3cret-0005",
    "header": "hdr-s3cret-0006",
    "query": "qry-s3cret-0007",
    "cookie": "ckv-s3cret-0008",
    "xsrf": "xsf-s3cret-0009",
    "pasted": "pst-s3cret-0010",
    "callback": "cbk-s3cret-0011",
}

CONFIG = """
c.JupyterHubBinder.backend = {backend!r}
c.JupyterHubBinder.state_dir = {state!r}
c.JupyterHubBinder.database_url = {database!r}
c.JupyterHubBinder.port = 0
c.HubOAuth.api_url = c.HubClient.api_url = {api_url!r}
c.HubOAuth.hub_host = {hub!r}
c.HubOAuth.oauth_client_id = "service-binder"
c.Git.protocols = ["https", "http"]
c.Git.proxy = "http://binder:{proxy}@127.0.0.1:{proxy_port}"
c.RemoteBackend.token = {token!r}
c.RemoteBackend.build_token_secret = {build_token!r}
c.RemoteBackend.use_service_token = False
c.BinderHubBackend.url = "http://127.0.0.1:{proxy_port}/"
c.Providers.enabled = ["gh", "git"]
c.GitHubProvider.tokens = {{"github.com": {provider!r}}}
"""


class NosyProxy:
    """A proxy, and a BinderHub at once, that writes down what it hears and gives it back."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heard.append(head)
        status = "403 Forbidden"
        if "git.example.org" in head and "Proxy-Authorization" not in head:
            status = "407 Who Are You\r\nProxy-Authenticate: Basic realm=here"
        elif "git.example.org" in head:
            self.held.set()
            await self.go_on.wait()
        body = f"no: {head}".encode()
        writer.write(
            b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)
        )
        await writer.drain()
        writer.close()


@dataclass
class Running:
    """The service as a process of its own."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    def arguments(self) -> str:
        """Return the command lines of the process and of all it has started, as `ps` shows them."""
        me = psutil.Process(self.process.pid)
        return "\n".join(" ".join(each.cmdline()) for each in [me, *me.children(recursive=True)])


@asynccontextmanager
async def running_service(folder: Path, config: str, *args: str) -> AsyncIterator[Running]:
    (folder / "config.py").write_text(config)
    log = folder / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "jupyterhub_binder.app", "-f", str(folder / "config.py")),
            *args,
            stderr=file,
            stdout=file,
            env={**os.environ, "JUPYTERHUB_API_TOKEN": SECRETS["service"]},
        )
    try:
        async with asyncio.timeout(60):
            while " serves http" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        url = log.read_text().partition(" serves ")[2].split()[0]
        yield Running(url, process, log)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def config_for(hub: FakeHub, folder: Path, proxy: NosyProxy, backend: str) -> str:
    return CONFIG.format(
        backend=backend,
        state=str(folder / "state"),
        database=Databases.url_for(folder),
        api_url=hub.api_url,
        hub=hub.url,
        proxy=SECRETS["proxy"],
        proxy_port=proxy.port,
        token=SECRETS["binderhub"],
        build_token=SECRETS["build token"],
        provider=SECRETS["provider"],
    )


def planted() -> dict[str, str]:
    """Return every secret in each form that it could be seen in."""
    found = dict(SECRETS)
    found["proxy, encoded"] = base64.b64encode(f"binder:{SECRETS['proxy']}".encode()).decode()
    if Databases.server is not None:
        found["database"] = Databases.server.password
    return found


async def _ask(service: Running, hub: FakeHub) -> list[str]:
    """Send secrets by every way there is; return all that was answered."""
    s = SECRETS
    nobody = [
        ("GET", "", {"Authorization": f"Bearer {s['header']}"}, None),
        ("GET", f"environments/x?token={s['query']}", {}, None),
        ("GET", f"api/v1/?token={s['query']}", {}, None),
        ("GET", f"oauth_callback?code={s['callback']}&state={s['callback']}", {}, None),
        ("GET", "", {"Cookie": f"service-binder={s['cookie']}; _xsrf={s['xsrf']}"}, None),
        ("POST", f"api/v1/resolve?_xsrf={s['xsrf']}", {"X-XSRFToken": s["xsrf"]}, {}),
        ("GET", f"metrics?token={s['query']}", {}, None),
        ("GET", "health", {"Authorization": f"token {s['header']}"}, None),
    ]
    ada = {"Authorization": "Bearer ada-token"}
    root = {"Authorization": "Bearer root-token"}
    known = [
        ("POST", "api/v1/environments", ada, {"url": f"https://me:{s['pasted']}@github.com/o/r"}),
        (
            *("POST", "api/v1/environments", ada),
            {
                "url": "https://github.com/o/r",
                "content_url": f"https://me:{s['pasted']}@a.example/r",
            },
        ),
        (
            *("POST", "api/v1/environments/23456789ab/launches", ada),
            {"path": f"/rstudio?token={s['query']}", "server_name": "x"},
        ),
        ("POST", f"api/v1/environments/23456789ab/stop?token={s['query']}", ada, {}),
        ("GET", f"v2/gh/o/r/HEAD?urlpath=%2Frstudio%3Ftoken%3D{s['query']}", ada, None),
        ("GET", f"login?next=%252Frstudio%253Ftoken%253D{s['query']}", {}, None),
        ("GET", "metrics", root, None),
        ("GET", "health", root, None),
        ("GET", "api/v1/admin/backends", root, None),
        ("GET", "admin", root, None),
        ("GET", f"v2/gh/o/r/{s['query'][:0]}HEAD?token={s['query']}", ada, None),
    ]
    answers = []
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        for method, path, headers, body in nobody + known:
            async with session.request(
                method, service.url + path, headers=headers, json=body, allow_redirects=False
            ) as answer:
                answers.append(f"{answer.status} {await answer.text()}")
    return answers


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "form"), [("fake", "text"), ("binderhub", "json")])
async def test_no_secret_is_logged_or_answered_or_seen_among_the_processes(
    hub: FakeHub, tmp_path: Path, backend: str, form: str
) -> None:
    proxy = NosyProxy()
    async with proxy.running():
        config = config_for(hub, tmp_path, proxy, backend)
        async with running_service(tmp_path, config, "--debug", f"--log-format={form}") as service:
            answers = await _ask(service, hub)
            async with aiohttp.ClientSession() as session:
                asking = asyncio.create_task(
                    session.post(
                        service.url + "api/v1/environments",
                        headers={"Authorization": "Bearer ada-token"},
                        json={"url": "http://git.example.org/org/repo"},
                    )
                )
                async with asyncio.timeout(30):
                    await proxy.held.wait()
                arguments = service.arguments()
                proxy.go_on.set()
                answers.append(await (await asking).text())
            service.process.terminate()
            assert await service.process.wait() == 0
        log = service.log.read_text()
    # git was there, and the proxy had the password
    assert "ls-remote" in arguments
    assert any("Proxy-Authorization: Basic" in head for head in proxy.heard)
    assert "git.example.org" in log
    for name, secret in planted().items():
        assert secret not in log, f"{name} is logged: {_line_with(secret, log)}"
        assert secret not in arguments, f"{name} is an argument"
        for answer in answers:
            # What somebody sent in a link to a page comes back to nobody else.
            assert secret not in answer or name == "query", f"{name} is answered: {answer[:500]}"


def _line_with(secret: str, log: str) -> str:
    return next(line for line in log.splitlines() if secret in line)


async def test_lines_are_json_with_the_ids_of_request_and_build(
    hub: FakeHub, tmp_path: Path, git_repo: GitRepo
) -> None:
    config = config_for(hub, tmp_path, NosyProxy(), "fake")
    config += 'c.Git.proxy = ""\nc.Git.private_hosts = ["127.0.0.1"]\n'
    async with (
        running_service(tmp_path, config, "--log-format=json") as service,
        aiohttp.ClientSession() as session,
    ):
        headers = {"Authorization": "Bearer ada-token", "X-Request-ID": "from-in-front-1"}
        async with session.post(
            service.url + "api/v1/environments", headers=headers, json={"url": git_repo.url}
        ) as answer:
            assert answer.headers["X-Request-ID"] == "from-in-front-1"
            build_id = (await answer.json())["latest"]["id"]
        async with session.get(
            service.url + f"api/v1/builds/{build_id}/events", headers=headers
        ) as stream:
            await stream.read()
        bad = {**headers, "X-Request-ID": "a b\tc<script>"}
        async with session.get(service.url + "health", headers=bad) as answer:
            assert len(answer.headers["X-Request-ID"]) == 16
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    about = [line for line in lines if line.get("build") == build_id]
    assert any("begins" in line["message"] for line in about)
    assert all("request" not in line for line in about)
    asked = [line for line in lines if line.get("request") == "from-in-front-1"]
    assert any("POST /services/binder/api/v1/environments" in line["message"] for line in asked)


async def test_an_error_page_says_the_request(hub: FakeHub, service_url: str) -> None:
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer ada-token", "X-Request-ID": "shown-to-a-person"}
        async with session.get(service_url + "environments/none", headers=headers) as answer:
            assert answer.status == 404
            assert "shown-to-a-person" in await answer.text()


@pytest.mark.postgres
async def test_a_service_whose_database_another_took_over_ends(
    hub: FakeHub, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.new_url()
    config = config_for(hub, tmp_path, NosyProxy(), "fake")
    config += f"c.JupyterHubBinder.database_url = {url!r}\n"
    async with running_service(tmp_path, config) as service:
        async with asyncio.timeout(30):
            other = await _take_over(postgres_server, url)
        try:
            # The first who needs the database finds out. /health may answer from its memory.
            headers = {"Authorization": "Bearer ada-token"}
            async with aiohttp.ClientSession(headers=headers) as session:
                with contextlib.suppress(aiohttp.ClientError):
                    await session.get(f"{service.url}api/v1/environments")
            async with asyncio.timeout(30):
                assert await service.process.wait() == 1
        finally:
            await other.close()
        log = service.log.read_text()
    assert "another jupyterhub-binder service has taken over" in log
    assert postgres_server.password not in log


async def _take_over(server: PostgresServer, url: str) -> Store:
    """Open the database of a service, which may be quicker and take it back."""
    while True:
        server.end_sessions(url)
        with contextlib.suppress(ConfigurationError):
            return await Store.open(url)


async def test_a_registrys_password_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    password = "reg-s3cret-0012"
    encoded = base64.b64encode(f"me:{password}".encode()).decode()
    proxy = NosyProxy()
    async with proxy.running():
        host = f"127.0.0.1:{proxy.port}"
        auths = {"auths": {host: {"auth": encoded}}}
        (tmp_path / "config.json").write_text(json.dumps(auths))
        registry = Registry(url=f"http://{host}", docker_config=str(tmp_path))
        with caplog.at_level(logging.DEBUG):
            await registry.start()
            try:
                said = await registry.health()
            finally:
                await registry.stop()
    text = "\n".join(PersonFormatter().format(record) for record in caplog.records) + str(said)
    assert password not in text
    assert encoded not in text
