"""A real hub with its proxy and the service, and what a person does in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyterhub_binder.demo.hub import free_ports

DOMAIN = "hub.localhost"
"""Of a hub with subdomains."""

_START_SECONDS = 90
_BUILD_SECONDS = 60
_CONFIG = """
import json, os
from pathlib import Path
from jupyterhub_binder.hubconfig import configure

given = json.loads(os.environ["BROWSER_TEST_HUB"])
folder = Path(given["folder"])
c = get_config()
c.JupyterHub.bind_url = given["bind_url"]
c.JupyterHub.subdomain_host = given["subdomain_host"]
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{given['ports'][1]}/"
c.JupyterHub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(folder / "cookie_secret")
c.JupyterHub.cleanup_servers = True
c.JupyterHub.default_url = given["base_url"] + "hub/home"
c.JupyterHub.proxy_class = "traefik_file"
c.TraefikProxy.traefik_api_url = f"http://127.0.0.1:{given['ports'][2]}"
c.TraefikProxy.traefik_api_username = "hub"
c.TraefikProxy.traefik_api_password = given["secret"]
c.TraefikFileProviderProxy.static_config_file = str(folder / "traefik.toml")
c.TraefikFileProviderProxy.dynamic_config_file = str(folder / "rules.toml")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"admin"}
c.SimpleLocalProcessSpawner.home_dir_template = str(folder / "homes" / "{username}")
c.Spawner.args = ["--allow-root"] if os.getuid() == 0 else []
configure(
    c,
    backend=given["backend"],
    state_dir=folder / "state",
    spawner_class="simple",
    port=given["ports"][3],
    service_config=given["service_config"],
)
"""


@dataclass
class LiveHub:
    """A hub that runs, and the folder of repositories that its service may fetch.

    `url` is the hub's address in a browser, and `binder` that of the service's pages.
    """

    url: str
    binder: str
    folder: Path
    process: subprocess.Popen[bytes]
    _people: Iterator[int] = field(default_factory=itertools.count)

    def new_person(self) -> str:
        """Return a name that nobody has had."""
        return f"person{next(self._people)}"

    def make_repository(self, name: str, files: dict[str, str] | None = None) -> str:
        """Commit files to a repository, made if need be; return its address."""
        path = self.folder / "repositories" / name
        if not path.exists():
            path.mkdir(parents=True)
            _git(path, "init", "--quiet", "--initial-branch=main")
        for file, text in (files or {"requirements.txt": "six==1.17.0\n"}).items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text)
        _git(path, "add", "--all")
        _git(path, "commit", "--quiet", "--allow-empty", "--message", "Fix <b>plots</b>")
        return f"file://{path}"

    @property
    def log(self) -> str:
        """What hub and service have said."""
        return (self.folder / "hub.log").read_text(errors="replace")


def _git(folder: Path, *args: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *args], check=True, capture_output=True)


def start_hub(
    folder: Path,
    *,
    backend: str = "fake",
    service_config: dict[str, Any] | None = None,
    more_config: str = "",
    base_url: str = "/",
    subdomains: bool = False,
) -> LiveHub:
    """Start a hub and wait until its service answers; `more_config` is Python, read last."""
    ports = free_ports(4)
    bind_url = f"http://127.0.0.1:{ports[0]}{base_url}"
    url, binder = bind_url, f"{bind_url}services/binder/"
    if subdomains:
        # Browsers know names below localhost without asking anybody.
        url = f"http://{DOMAIN}:{ports[0]}{base_url}"
        binder = f"http://binder--service.{DOMAIN}:{ports[0]}{base_url}services/binder/"
    (folder / "repositories").mkdir()
    (folder / "homes").mkdir()
    (folder / "jupyterhub_config.py").write_text(f"{_CONFIG}\n{more_config}")
    given = {
        "folder": str(folder),
        "bind_url": bind_url,
        "base_url": base_url,
        "subdomain_host": f"http://{DOMAIN}:{ports[0]}" if subdomains else "",
        "ports": ports,
        "secret": secrets.token_hex(8),
        "backend": backend,
        "service_config": {
            "Git": {
                "protocols": ["https", "file"],
                "file_roots": [str(folder / "repositories")],
            },
            **(service_config or {}),
        },
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "JPY_"))}
    env["BROWSER_TEST_HUB"] = json.dumps(given)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", "jupyterhub_config.py"],
            cwd=folder,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    hub = LiveHub(url, binder, folder, process)
    try:
        _wait_until_it_answers(hub)
    except BaseException:
        stop_hub(hub)
        raise
    return hub


def _wait_until_it_answers(hub: LiveHub) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (_answers(f"{hub.url}hub/health") and _answers(f"{hub.binder}health")):
        if hub.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the hub did not start:\n{hub.log[-4000:]}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    # The machine's resolver may not know names below localhost.
    host = urlsplit(url).netloc
    request = urllib.request.Request(
        url.replace(host, f"127.0.0.1:{host.rpartition(':')[2]}"), headers={"Host": host}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def stop_hub(hub: LiveHub) -> None:
    """End the hub, its proxy, the service and every server."""
    hub.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        hub.process.wait(timeout=60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(hub.process.pid, signal.SIGKILL)
    hub.process.wait(timeout=60)


OpenPage = Callable[..., Awaitable[Any]]


async def sign_in(page: Any, hub: LiveHub, name: str) -> None:
    """Log in at the hub."""
    await page.goto(f"{hub.url}hub/login")
    await page.fill("#username_input", name)
    await page.fill("#password_input", "any")
    await page.click("#login_submit")
    await page.wait_for_url("**/hub/home", wait_until="commit")


CALL = """async ([method, path, body]) => {
  const { api, xsrf } = document.getElementById("binder").dataset;
  const headers = { "X-XSRFToken": xsrf, "Content-Type": "application/json" };
  const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text ? JSON.parse(text) : null;
}"""


async def call(page: Any, method: str, path: str, body: Any = None) -> Any:
    """Call the REST API as the person of an open page."""
    return await page.evaluate(CALL, [method, path, body])


async def finish_build(page: Any, build_id: str) -> Any:
    """Wait for a build's end; return it."""
    async with asyncio.timeout(_BUILD_SECONDS):
        while True:
            build = await call(page, "GET", f"builds/{build_id}")
            if build["finished"]:
                return build
            await page.wait_for_timeout(100)


async def make_built(page: Any, url: str, name: str) -> Any:
    """Make an environment through the REST API, and wait until its build has ended."""
    made = await call(page, "POST", "environments", {"url": url, "name": name})
    await finish_build(page, made["latest"]["id"])
    return made
