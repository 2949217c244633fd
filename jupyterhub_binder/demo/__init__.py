"""The demonstration: a whole hub with binder on this machine, for a person or as a check.

`state` has its folder, `hub` its processes, `person` what a browser would do, `check` the whole
job step by step, `containers` what a machine with Docker offers. This module puts them together
and talks to whoever started it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import click
import platformdirs
from rich.console import Console

from jupyterhub_binder.client import BinderClient, Json
from jupyterhub_binder.demo.check import check_all
from jupyterhub_binder.demo.containers import AUTO, CONTAINERS, FOLDERS, Containers, choose
from jupyterhub_binder.demo.hub import DemoHub
from jupyterhub_binder.demo.person import Person
from jupyterhub_binder.demo.state import ADMIN, PERSON, DemoError, DemoState
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.follow import follow_build, reporter_for

BUILD_SECONDS = 1200
"""How long the example may take to build, downloads on a slow line included."""

_PARENT_LOOK_SECONDS = 1.0


def run_demo(
    *,
    state: Path | None = None,
    port: int = 0,
    check: bool = False,
    backend: str = AUTO,
    base_image: str = "",
) -> int:
    """Run the demonstration until Ctrl-C, or check it all; return the exit status."""
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
            await containers.remove_homes()  # of a folder that was removed, to begin anew
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
        click.echo(f"Starting JupyterHub with binder; its state is in {state.folder}")
        await hub.start()
        click.echo(
            f"ok      {time.monotonic() - begun:6.1f} s  start the hub, its proxy and binder"
        )
        yield hub
    finally:
        # A second Ctrl-C must not leave anything behind: what is begun here is finished.
        stopping = asyncio.ensure_future(hub.stop())
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)


async def _watch_parent(task: asyncio.Task[object]) -> None:
    """Stop when whoever started this is gone, unless it was told to outlive them."""
    parent = os.getppid()
    if parent == 1 or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    while os.getppid() == parent:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_PARENT_LOOK_SECONDS)
    task.cancel()


async def _show(state: DemoState, hub: DemoHub) -> None:
    async with Person(hub.url, PERSON, state.password) as person:
        token = await person.make_token("the demonstration's first build")
        async with BinderClient(hub.url, token) as client:
            await _build_example(state, client)
        await person.revoke_token()
    click.echo(_welcome(state, hub))
    await hub.wait()
    raise DemoError("The hub ended by itself.")


async def _build_example(state: DemoState, client: BinderClient) -> None:
    found = await client.environments()
    mine = [item for item in found if item["repo"] == state.example_url]
    if mine and mine[0]["state"] == "ready":
        return
    click.echo("Building the example, an environment for a repository called daylight ...")
    begun = time.monotonic()
    environment = await (
        client.rebuild(mine[0]["id"]) if mine else client.create({"url": state.example_url})
    )
    if environment["state"] == "ready":
        click.echo("It was built before: nothing has to be built.")
        return
    build = await _follow(client, environment)
    if build["state"] != "built":
        reason = (build.get("reason") or {}).get("message", "no reason was given")
        raise DemoError(f"The example could not be built: {reason}")
    click.echo(f"Built in {time.monotonic() - begun:.0f} s.")


async def _follow(client: BinderClient, environment: Json) -> Json:
    reporter = reporter_for(Console(stderr=True, highlight=False, soft_wrap=True))
    async with asyncio.timeout(BUILD_SECONDS):
        return await follow_build(client, environment["latest"]["id"], reporter)


def _welcome(state: DemoState, hub: DemoHub) -> str:
    bold = (lambda text: f"\x1b[1m{text}\x1b[0m") if sys.stdout.isatty() else str
    return f"""
JupyterHub with binder is running.

  Open       {bold(hub.url + "services/binder/")}
  User name  {bold(PERSON)}   (any other name is another person)
  Password   {bold(state.password)}
  Admin      {ADMIN}, whose password is in {state.folder / "admin-password"}

  Example    {state.example_url}
  Your own   file://{state.repositories}/NAME, once that is a git repository
  Servers    {_where_servers_run(hub)}
  State      {state.folder}   (remove it to begin anew)
  Log        {hub.log_file}

Ctrl-C stops it, with every server in it.
"""


def _where_servers_run(hub: DemoHub) -> str:
    if hub.containers is None:
        return "processes on this machine"
    name = hub.containers.settings.name
    return f"Docker containers; images, and volumes for homes, are called {name}..."
