"""Following builds and launches on a terminal, and finding what a person named.

`cli` has the commands; this has what they show while something is under way.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import click
from rich.console import Console
from rich.text import Text

from jupyterhub_binder.client import ApiError, BinderClient, Json
from jupyterhub_binder.slugs import is_id
from jupyterhub_binder.sse import ServerEvent
from jupyterhub_binder.terminal import coloured, duration, plain

FAILED, USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, CANCELLED, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
"""The command line's exit statuses, besides 0."""


class Failure(Exception):
    """Ends a command with a sentence and an exit status."""

    def __init__(self, message: str, exit_code: int = FAILED, *, code: str = "failed") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code


# --- Finding what a person named --------------------------------------------------------------


async def find_environment(client: BinderClient, name: str, *, deleted: bool = False) -> Json:
    """Return the environment that has this id or, if only one has, this name.

    With `deleted` one that was deleted, and can be restored.
    """
    if is_id(name) and not deleted:
        try:
            return await client.environment(name)
        except ApiError as error:
            if error.http_status != 404:
                raise
    search = "" if deleted else name  # of those there are few, and any may have the id
    listed = await client.environments(search=search, deleted=deleted)
    found = [each for each in listed if name in (each["name"], each["id"])]
    if not found:
        which = "deleted environment" if deleted else "environment"
        raise Failure(f"You have no {which} {name!r}.", NOT_FOUND, code="not_found")
    if len(found) > 1:
        ids = ", ".join(item["id"] for item in found)
        raise Failure(f"Several environments are called {name!r}; use an id: {ids}.", USAGE)
    return found[0]


async def find_build(client: BinderClient, name: str) -> str:
    """Return the id of this build, or of this environment's newest build."""
    if is_id(name):
        try:
            return (await client.build(name))["id"]
        except ApiError as error:
            if error.http_status != 404:
                raise
    environment = await find_environment(client, name)
    if not environment["latest"]:
        raise Failure(f"{environment['name']} has no build yet.", NOT_FOUND, code="not_found")
    return environment["latest"]["id"]


# --- Following --------------------------------------------------------------------------------


class Reporter:
    """Is told what happens; this one says nothing."""

    def build(self, build: Json) -> None:
        """Take in a build's new state."""

    def line(self, event: Json) -> None:
        """Take in a line of the log."""

    def launch(self, launch: Json) -> None:
        """Take in a launch's new state."""

    def end(self) -> None:
        """Clear away what only showed progress."""


async def follow_build(
    client: BinderClient,
    build_id: str,
    reporter: Reporter,
    *,
    after: int = 0,
    until: int | None = None,
) -> Json:
    """Tell the reporter of a build until it ends, or until a line; return its last state."""
    build: Json = {}
    async for event in _closing(client.watch_build(build_id, after=after), reporter):
        data = event.json()
        if event.event in ("build", "end"):
            build = data
            reporter.build(data)
        elif event.event == "message":
            reporter.line(data)
            if until is not None and data["seq"] >= until:
                break
    return build


async def follow_launch(client: BinderClient, launch: Json, reporter: Reporter) -> Json:
    """Tell the reporter of a launch until it is finished; return its last state."""
    if launch["state"] in ("ready", "failed", "cancelled"):
        return launch
    async for event in _closing(client.watch_launch(launch["id"]), reporter):
        if event.event in ("launch", "end"):
            launch = event.json()
            reporter.launch(launch)
    return launch


async def _closing(
    events: AsyncIterator[ServerEvent], reporter: Reporter
) -> AsyncIterator[ServerEvent]:
    try:
        async with aclosing(events) as open_events:  # pyright: ignore[reportArgumentType]
            async for event in open_events:
                yield event
    finally:
        reporter.end()


def reporter_for(console: Console) -> Reporter:
    """Return what shows progress on this console, live if it is a terminal's."""
    return _Spinner(console) if console.is_terminal else _PlainProgress(console)


class LogPrinter(Reporter):
    """The log itself on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def line(self, event: Json) -> None:
        """Print a line; one that only showed progress is left out."""
        if self._as_json:
            click.echo(json.dumps(event))
        elif not event["message"].endswith("\r"):
            click.echo(coloured(event["message"]))


class _PlainProgress(Reporter):
    """Log and phases as lines on standard error, for a file or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""

    def build(self, build: Json) -> None:
        self._say(f"-- {_phase(build)}")

    def line(self, event: Json) -> None:
        if not event["message"].endswith("\r"):
            click.echo(coloured(event["message"]), err=True)

    def launch(self, launch: Json) -> None:
        self._say(f"-- {launch.get('message') or launch['state']}")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._console.print(Text(plain(text)))


class _Spinner(Reporter):
    """The log above, and one line below that says how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = self._console.status("", spinner="dots")
        self._status.start()

    def build(self, build: Json) -> None:
        elapsed, expected = build.get("elapsed_seconds"), build.get("expected_seconds")
        clock = f" {duration(elapsed)}"
        if elapsed and expected and elapsed <= expected:
            clock += f" of about {duration(expected)}"
        self._show(_phase(build) + clock)

    def line(self, event: Json) -> None:
        if event["message"].endswith("\r"):
            self._show(event["message"])
        else:
            self._console.print(Text.from_ansi(coloured(event["message"])))

    def launch(self, launch: Json) -> None:
        self._show(f"{launch['progress']:3} %  {launch.get('message') or launch['state']}")

    def _show(self, text: str) -> None:
        self._status.update(Text(plain(text)[: max(20, self._console.width - 4)]))

    def end(self) -> None:
        self._status.stop()


_PHASES = {
    "waiting": "Waiting",
    "fetching": "Fetching the repository",
    "building": "Building",
    "pushing": "Storing the image",
    "built": "Built",
    "failed": "Failed",
}


def _phase(build: Json) -> str:
    if build.get("queue_position"):
        return f"Waiting, number {build['queue_position']} in the queue"
    if build["state"] == "cancelled":
        return "Cancelled"
    return _PHASES.get(build["phase"]) or str(build["phase"])
