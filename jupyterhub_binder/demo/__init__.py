"""The demo: a complete hub on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import click
import platformdirs

from jupyterhub_binder.client.client import BinderClient, Json
from jupyterhub_binder.client.follow import Reporter, follow_build
from jupyterhub_binder.demo.check import check_all
from jupyterhub_binder.demo.containers import AUTO, CONTAINERS, FOLDERS, Containers, choose
from jupyterhub_binder.demo.hub import DemoHub
from jupyterhub_binder.demo.person import Person
from jupyterhub_binder.demo.state import ADMIN, PERSON, DemoError, DemoState
from jupyterhub_binder.errors import BinderError

BUILD_SECONDS = 1200
"""Includes downloads on a slow connection."""

_PARENT_LOOK_SECONDS = 1.0


def run_demo(
    *,
    state: Path | None = None,
    port: int = 0,
    check: bool = False,
    backend: str = AUTO,
    base_image: str = "",
) -> int:
    """Run the demo until Ctrl-C, or the check; return the exit status."""
    folder = state or platformdirs.user_data_path("jupyterhub-binder-demo")
    try:
        with DemoState.open(folder) as opened:
            return asyncio.run(_run(opened, port, check, backend, base_image))
    except (DemoError, BinderError) as error:
        click.echo(f"Error: {error}", err=True)
        click.echo(f"Logs:  {folder.resolve() / 'logs'}", err=True)
        return 1
    except (asyncio.CancelledError, KeyboardInterrupt):
        click.echo("Stopped.")
        return 1 if check else 0


async def _run(state: DemoState, port: int, check: bool, backend: str, base_image: str) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores one on purpose
            loop.add_signal_handler(number, task.cancel)
    watch = asyncio.create_task(_watch_parent(task))
    try:
        containers = await choose(backend, name=state.name, base_image=base_image)
        begins = containers is not None and not state.has_begun(CONTAINERS)
        state = state.using(FOLDERS if containers is None else CONTAINERS)
        if containers is not None and begins:
            await containers.remove_homes()  # from a state folder that was removed
        async with _hub(state, port, containers) as hub:
            await (check_all(state, hub) if check else _show(state, hub))
    finally:
        watch.cancel()
    return 0


@asynccontextmanager
async def _hub(state: DemoState, port: int, containers: Containers | None):
    hub = DemoHub(state, port, containers=containers)
    try:
        begun = time.monotonic()
        click.echo(f"Starting JupyterHub with jupyterhub-binder in {state.folder}")
        await hub.start()
        click.echo(
            f"ok      {time.monotonic() - begun:6.1f} s  start the hub, its proxy and the service"
        )
        yield hub
    finally:
        # Finish this even after a second Ctrl-C, so that no process is left.
        stopping = asyncio.ensure_future(hub.stop())
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)


async def _watch_parent(task: asyncio.Task[object]) -> None:
    """Stop with the parent process, unless SIGHUP is ignored (nohup)."""
    parent = os.getppid()
    if parent == 1 or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_PARENT_LOOK_SECONDS)
    task.cancel()


async def _show(state: DemoState, hub: DemoHub) -> None:
    async with Person(hub.url, PERSON, state.password) as person:
        token = await person.make_token("first build of the demo")
        async with BinderClient(hub.url, token) as client:
            await _build_example(state, client)
        await person.revoke_token()
    click.echo(_welcome(state, hub))
    await hub.wait()
    raise DemoError("The hub stopped unexpectedly.")


async def _build_example(state: DemoState, client: BinderClient) -> None:
    found = await client.environments()
    mine = [item for item in found if item["repo"] == state.example_url]
    if mine and mine[0]["state"] == "ready":
        return
    click.echo("Building the example, an environment of the repository daylight ...")
    begun = time.monotonic()
    environment = await (
        client.rebuild(mine[0]["id"]) if mine else client.create({"url": state.example_url})
    )
    if environment["state"] == "ready":
        click.echo("It is already built.")
        return
    log = state.logs / "build.log"
    with log.open("w", encoding="utf-8") as file:
        async with asyncio.timeout(BUILD_SECONDS):
            build = await follow_build(client, environment["latest"]["id"], _Steps(file))
    if build["state"] != "built":
        reason = (build.get("reason") or {}).get("message", "no reason given")
        raise DemoError(f"The build of the example failed: {reason}\nIts log is {log}")
    click.echo(f"Built in {time.monotonic() - begun:.0f} s.")


class _Steps(Reporter):
    """Prints a line for each step, with the time when it begins; the log goes to a file."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._begun = time.monotonic()
        self._said = ""

    def build(self, build: Json) -> None:
        step = build["step"] or build["phase"]
        if step != self._said and build["state"] in ("pending", "running"):
            self._said = step
            click.echo(f"        {time.monotonic() - self._begun:6.1f} s  {step}")

    def line(self, event: Json) -> None:
        self._log.write(event["message"].rstrip("\r") + "\n")


def _welcome(state: DemoState, hub: DemoHub) -> str:
    bold = (lambda text: f"\x1b[1m{text}\x1b[0m") if sys.stdout.isatty() else str
    return f"""
JupyterHub with jupyterhub-binder is running.

  Open       {bold(hub.url + "services/binder/")}
  User name  {bold(PERSON)}   (any other name works too, as another person)
  Password   {bold(state.password)}
  Admin      {ADMIN}; the password is in {state.folder / "admin-password"}

  Example    {state.example_url}
  Your own   file://{state.repositories}/NAME, if you put a Git repository there
  Servers    {_where_servers_run(hub)}
  State      {state.folder}   (delete it to start from scratch)
  Log        {hub.log_file}

Press Ctrl-C to stop the hub and all its servers.
"""


def _where_servers_run(hub: DemoHub) -> str:
    if hub.containers is None:
        return "processes on this machine"
    name = hub.containers.settings.name
    return f"Docker containers; names of images and home volumes start with {name}"
