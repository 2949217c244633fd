"""The progress of builds and launches in a terminal or a pipe."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.text import Text

from jupyterhub_binder.client.client import Json
from jupyterhub_binder.client.follow import Reporter
from jupyterhub_binder.model import BuildState
from jupyterhub_binder.model.words import BUILD_WORDS, PHASE_WORDS
from jupyterhub_binder.utils.terminal import coloured, duration, plain


def reporter_for(console: Console) -> Reporter:
    """Return a live reporter for a terminal."""
    return _Spinner(console) if console.is_terminal else _PlainProgress(console)


class LogPrinter(Reporter):
    """Prints the log on standard output."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def line(self, event: Json) -> None:
        """Print a line, unless it only showed progress."""
        if self._as_json:
            click.echo(json.dumps(event))
        elif not event["message"].endswith("\r"):
            click.echo(coloured(event["message"]))


class _PlainProgress(Reporter):
    """Prints progress lines on standard error."""

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
    """Shows the log above a status line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = self._console.status("", spinner="dots")
        self._status.start()

    def build(self, build: Json) -> None:
        elapsed, expected = build.get("elapsed_seconds"), build.get("expected_seconds")
        clock = f" {duration(elapsed)}"
        if elapsed and expected:
            late = elapsed > expected
            clock += f"{', longer than usual:' if late else ' of'} about {duration(expected)}"
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


def _phase(build: Json) -> str:
    if build.get("queue_position"):
        return f"Waiting, number {build['queue_position']} in the queue"
    if build["state"] == "cancelled":
        return BUILD_WORDS[BuildState.CANCELLED]
    known = {str(phase): words for phase, words in PHASE_WORDS.items()}
    said: str = build.get("step") or known.get(build["phase"]) or str(build["phase"])
    return said[:1].upper() + said[1:]
