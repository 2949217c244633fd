"""What the commands of a hub share: its address, the token, results and errors on a terminal.

Which commands there are, and what they do, is not decided here.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyterhub_binder.client import ApiError, BinderClient, Unreachable
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.follow import (
    FAILED,
    INTERRUPTED,
    NOT_ALLOWED,
    NOT_FOUND,
    UNREACHABLE,
    USAGE,
    Failure,
)
from jupyterhub_binder.terminal import plain

T = TypeVar("T")

_HINTS = {
    "server_running": "--restart stops it first; --server-name NAME starts another beside it.",
}
"""What the terminal's way out of an error is, by its code."""


@dataclass
class Session:
    """One command's way out: to the hub, and to the person."""

    hub: str
    token: str
    as_json: bool = False
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    err: Console = field(
        default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True)
    )

    def run(self, work: Callable[[BinderClient], Awaitable[T]]) -> T:
        """Do the work with an open client; end the process as documented when it fails."""
        try:
            return asyncio.run(self._with_client(work))
        except (Failure, BinderError) as error:
            self._explain(error)
            raise SystemExit(_exit_code(error)) from None
        except KeyboardInterrupt:
            self.say("Interrupted. What was begun goes on.")
            raise SystemExit(INTERRUPTED) from None

    async def _with_client(self, work: Callable[[BinderClient], Awaitable[T]]) -> T:
        async with BinderClient(self.hub, self.token) as client:
            return await work(client)

    def _explain(self, error: Failure | BinderError) -> None:
        code = error.code if isinstance(error, Failure) else error.error_code
        if self.as_json:
            click.echo(json.dumps({"error": {"code": code, "message": str(error)}}), err=True)
        else:
            self.err.print(Text.assemble(("Error: ", "bold red"), plain(error)))
            if code in _HINTS:
                self.err.print(_HINTS[code])

    def say(self, text: str, style: str = "") -> None:
        """Tell the person something that is not the result."""
        self.err.print(Text(plain(text), style=style))

    def result(self, data: Any, text: str) -> None:
        """Print the result: as JSON where that was asked for, else as text."""
        if self.as_json:
            click.echo(json.dumps(data))
        else:
            self.out.print(Text(plain(text)))

    def rows(
        self,
        data: Any,
        rows: Sequence[Sequence[object]],
        table: Callable[[], Table],
        nothing: str,
    ) -> None:
        """Print a list: as JSON, as a table for a person, or tab-separated for a pipe."""
        if self.as_json:
            self.result(data, "")
        elif not rows:
            self.say(nothing)
        elif self.out.is_terminal:
            self.out.print(table(), soft_wrap=False)
        else:
            for row in rows:
                click.echo("\t".join(plain(cell).replace("\t", " ") for cell in row))


def _exit_code(error: Failure | BinderError) -> int:
    if isinstance(error, Failure):
        return error.exit_code
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, ApiError):
        known = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND}
        return known.get(error.http_status, UNREACHABLE if error.http_status >= 502 else FAILED)
    return USAGE


def read_token(path: str | None) -> str:
    """Return the token of a file, of standard input, of the environment, or as typed."""
    if path == "-":
        return sys.stdin.readline().strip()
    if path:
        return _read_token_file(Path(path))
    names = ("JUPYTERHUB_BINDER_TOKEN", "JUPYTERHUB_API_TOKEN")
    if token := next((os.environ[name] for name in names if os.environ.get(name)), ""):
        return token
    if sys.stdin.isatty():
        return click.prompt("Token (from the hub's page Token)", hide_input=True, err=True)
    raise click.UsageError(
        "No token: set JUPYTERHUB_BINDER_TOKEN, or name a file that holds it with --token-file. "
        "The hub's page Token makes one."
    )


def _read_token_file(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"The token's file cannot be read: {error}") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH) and stat.S_ISREG(mode):
        click.echo(f"Others may read {path}: chmod 600 {path}", err=True)
    return token


def hub_command(function: Callable[..., None]) -> Any:
    """Give a command the options that reach a hub, and a Session as its first argument."""

    @click.option(
        "--hub",
        envvar="JUPYTERHUB_BINDER_HUB",
        required=True,
        show_envvar=True,
        metavar="URL",
        help="The hub's address, or any page of it.",
    )
    @click.option(
        "--token-file",
        metavar="FILE",
        help="A file that holds the token, - for standard input. A token is never an argument: "
        "others could see it in the list of processes.  "
        "[env: JUPYTERHUB_BINDER_TOKEN or JUPYTERHUB_API_TOKEN, the token itself]",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @wraps(function)
    def command(hub: str, token_file: str | None, as_json: bool, **options: Any) -> None:
        function(Session(hub, read_token(token_file), as_json), **options)

    return command
