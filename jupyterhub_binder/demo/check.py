"""The demo's check, through the REST API and the hub only."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import secrets
import time
from collections.abc import Awaitable
from typing import TypeVar

import click

from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.client.follow import Reporter, follow_build, follow_launch
from jupyterhub_binder.demo.containers import Containers
from jupyterhub_binder.demo.hub import DemoHub
from jupyterhub_binder.demo.person import Person
from jupyterhub_binder.demo.state import CHECKER, DemoError, DemoState
from jupyterhub_binder.errors import BinderError

T = TypeVar("T")

PACKAGE = "astral"
"""Only the example's environment has it."""

FILE = "cities.csv"
NOTEBOOK = "daylight.ipynb"
STEP_SECONDS = 1200

_CELL = f"""
import json, pathlib, socket, sys, {PACKAGE}
found = pathlib.Path("{FILE}").exists()
print(json.dumps({{"prefix": sys.prefix, "host": socket.gethostname(), "found": found}}))
"""


async def check_all(state: DemoState, hub: DemoHub) -> None:
    """Run and print all steps. Raises DemoError."""
    async with Person(hub.url, CHECKER, state.password) as person:
        token = await _step("log in and create a token", person.make_token("check"))
        async with BinderClient(hub.url, token) as client:
            await _Check(state, client, person, hub.containers).run()
        await person.revoke_token()


async def _step(what: str, work: Awaitable[T]) -> T:
    """Run and time one step. Raises DemoError."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(STEP_SECONDS):
            result = await work
    except TimeoutError:
        raise DemoError(f"Failed to {what}: not finished after {STEP_SECONDS} s.") from None
    except (DemoError, BinderError) as error:
        click.echo(f"FAILED  {time.monotonic() - begun:6.1f} s  {what}")
        raise DemoError(f"Failed to {what}: {error}") from error
    click.echo(f"ok      {time.monotonic() - begun:6.1f} s  {what}")
    return result


class _Check:
    def __init__(
        self,
        state: DemoState,
        client: BinderClient,
        person: Person,
        containers: Containers | None,
    ) -> None:
        self._state = state
        self._containers = containers
        self._client = client
        self._person = person
        self._mark = f"Nowhere {secrets.token_hex(4)},Nowhere,0.0,0.0\n"

    async def run(self) -> None:
        await _step("clean up after an earlier check", self._tidy())
        environment = await _step("create an environment from the example", self._create())
        built = environment["state"] == "ready"
        await _step("build it (already built)" if built else "build it", self._build(environment))
        await _step("launch a server in it", self._launch(environment))
        await _step(
            f"import {PACKAGE}, which the hub does not have, in a kernel", self._cell(environment)
        )
        file = f"{environment['directory']}/{FILE}"
        await _step("find the repository's file in the home folder and edit it", self._edit(file))
        await _step("stop the server", self._stop())
        await _step("launch it again", self._launch(environment))
        await _step("see that the edit is still there", self._see(file))
        await _step("stop the server and delete the environment", self._tidy())

    async def _tidy(self) -> None:
        if await self._person.server_is_running():
            await self._stop()
        for environment in await self._client.environments():
            await self._client.delete(environment["id"])

    async def _create(self) -> Json:
        return await self._client.create({"url": self._state.example_url, "path": NOTEBOOK})

    async def _build(self, environment: Json) -> None:
        reporter = _Lines()
        build = await follow_build(self._client, environment["latest"]["id"], reporter)
        if build["state"] != "built":
            reason = (build.get("reason") or {}).get("message") or build["state"]
            raise DemoError("\n".join([reason, "The end of its log:", *reporter.lines[-20:]]))

    async def _launch(self, environment: Json) -> None:
        launch = await self._client.launch(environment["id"], {})
        launch = await follow_launch(self._client, launch, Reporter())
        if launch["state"] != "ready":
            raise DemoError((launch.get("reason") or {}).get("message") or launch["state"])

    async def _cell(self, environment: Json) -> None:
        if importlib.util.find_spec(PACKAGE):
            raise DemoError(f"the hub's own Python has {PACKAGE} too, so this check proves nothing")
        printed = await self._person.run_cell(_CELL, folder=environment["directory"])
        seen = json.loads(printed)
        if not await self._is_environments(seen):
            where = f"{seen['prefix']} on {seen['host']}"
            raise DemoError(f"the kernel runs in {where}, not in the environment")
        if not seen["found"]:
            raise DemoError(f"the kernel does not find {FILE} next to the notebook")

    async def _is_environments(self, seen: Json) -> bool:
        if self._containers is not None:
            return await self._containers.is_running(seen["host"])
        return seen["prefix"].startswith(str(self._state.environments))

    async def _edit(self, file: str) -> None:
        text = await self._person.read_file(file)
        if not text.startswith("city,"):
            raise DemoError(f"{file} does not have the repository's content")
        await self._person.write_file(file, text + self._mark)

    async def _see(self, file: str) -> None:
        if self._mark not in await self._person.read_file(file):
            raise DemoError(f"{file} has lost the edit")

    async def _stop(self) -> None:
        await self._person.stop_server()
        while await self._person.server_is_running():  # noqa: ASYNC110 - a hub far away
            await asyncio.sleep(0.1)


class _Lines(Reporter):
    """Keeps the log to explain a failure."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, event: Json) -> None:
        self.lines.append(event["message"])
